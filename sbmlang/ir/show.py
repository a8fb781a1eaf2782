"""A model as text that reads like its equations, and as data for ``sbm show``.

The text is deterministic, so that it serves as a golden test of every pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sbmlang.ir.diagram import dot, svg
from sbmlang.ir.equations import Equation, equations, named_draws
from sbmlang.ir.facts import Balance, Engine, Fact, Facts
from sbmlang.ir.latex import latex
from sbmlang.ir.model import (
    Argument,
    Censoring,
    Definition,
    Dim,
    Law,
    Model,
    Observation,
    Ode,
    Parameter,
    Quantity,
    Root,
    Sde,
    Simulator,
    State,
    Time,
    Window,
)
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Expr
from sbmlang.source import Span

__all__ = ["dot", "expression", "latex", "law", "report", "svg", "text"]


def law(value: Law) -> str:
    """A probability law as ``Normal(mu=S, sigma=0.1)``."""
    return f"{value.family}({', '.join(f'{k}={_argument(v)}' for k, v in value.args.items())})"


def _argument(value: Argument) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_argument, value))}]"
    return expression(value)


def text(model: Model) -> str:
    """The whole model, one line per quantity, in the order the model has them."""
    blocks = [
        [f"model {model.name}" + _doc(model.doc), _time(model), *map(_dim, model.dims.values())],
        [*map(_parameter, model.parameters)],
        [f"{', '.join(j.members)} ~ {law(j.law)}" for j in model.joints],
        [f"data {_head(c)}{_doc(c.doc)}" for c in model.covariates],
        [f"forcing {_head(f)} from data ({f.interpolation}){_doc(f.doc)}" for f in model.forcings],
        [line for s in model.simulators for line in _simulator(s)],
        [line for d in model.definitions for line in _definition(d)],
        [*map(_state, model.states)],
        [*_draws(model), *(_equation(e, model.time) for e in equations(model))],
        [line for o in model.observations for line in _observation(o)],
        [f"report {_head(r)} = {expression(r.expr)}{_doc(r.doc)}" for r in model.reports],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _doc(doc: str) -> str:
    return f'  "{doc}"' if doc else ""


def _name(q: Quantity) -> str:
    return q.name + (f"[{', '.join(q.dims)}]" if q.dims else "")


def _head(q: Quantity) -> str:
    unit = str(q.unit)
    return _name(q) + (f" [{unit}]" if unit != "1" else "")


def _time(model: Model) -> str:
    time = model.time
    until = f" to {time.stop:g}" if time.stop is not None else ""
    step = f" step {time.step:g}" if time.step is not None else ""
    if isinstance(model.dynamics, Sde):
        step += f" scheme {time.scheme or 'euler'}"
    if not isinstance(model.dynamics, Ode):
        step += f" forcing at {time.forcing_at}"
    return f"time {time.name} [{time.unit}] from {time.start:g}{until}{step}"


def _dim(dim: Dim) -> str:
    if dim.labels is not None:
        members = "{" + ", ".join(dim.labels) + "}"
    elif dim.size is not None:
        members = f"{dim.first}..{dim.first + dim.size - 1}"
    else:
        return f"index {dim.name} from data"
    return f"index {dim.name} = {members}{' cyclic' if dim.cyclic else ''}"


def _range(lower: object, upper: object) -> str:
    """Bounds as the language writes them; nothing when there are none."""
    match lower, upper:
        case None, None:
            return ""
        case low, None:
            return f" >= {low}"
        case None, high:
            return f" <= {high}"
        case low, high:
            return f" in ({low}, {high})"


def _end(value: Expr | None) -> str | None:
    return None if value is None else expression(value)


def _parameter(p: Parameter) -> str:
    prior = f" ~ {law(p.law)}" if p.law else f" ~ jointly in {p.group}"
    kind = "start" if p.role == "init" else "param"
    return f"{kind} {_head(p)}{_range(_end(p.lower), _end(p.upper))}{prior}{_doc(p.doc)}"


def _definition(d: Definition | Root) -> Iterator[str]:
    if isinstance(d, Root):
        yield f"root {', '.join(d.names)} of, {d.stage}:"
        yield from (f"    0 = {expression(e)}" for e in d.residuals)
        return
    stage = f"  # {d.stage}" if d.stage is not None else ""
    yield f"{d.kind} {_head(d)} = {expression(d.expr)}{stage}{_doc(d.doc)}"


def _state(s: State) -> str:
    bounds = _range(*(None if b is None else f"{b:g}" for b in (s.lower, s.upper)))
    bounds += " enforced" if s.enforced else ""
    if s.values is not None:
        bounds = f" in {{1..{s.values}}}"
    return f"{s.kind} {_head(s)}{bounds}, starts {_start(s)}{_doc(s.doc)}"


def _start(s: State) -> str:
    return f"at {expression(s.init)}" if s.start is None else f"~ {law(s.start)}"


def _draws(model: Model) -> Iterator[str]:
    yield from (f"draw {_head(d)} ~ {law(d.law)}{_doc(d.doc)}" for d in named_draws(model))


def _equation(e: Equation, time: Time) -> str:
    name = _name(e.state)
    match e.kind:
        case "rate":
            return f"d {name}/d{time.name} = {_right(e.right)}"
        case "differential":
            drift = f"({_right(e.right)}) d{time.name}"
            terms = [*([] if e.right == 0 else [drift]), *(_noise(*n) for n in e.noise)]
            return f"d {name} = {' + '.join(terms) or '0'}"
        case "next":
            relation = "~" if isinstance(e.right, Law) else "="
            return f"{name} at {time.name} + {time.step or 1:g} {relation} {_right(e.right)}"


def _noise(coefficient: Expr, increment: Expr) -> str:
    if coefficient == 1:
        return expression(increment)
    shown = expression(coefficient)
    return f"({shown})*{expression(increment)}" if coefficient.is_Add else f"{shown}*{expression(increment)}"


def _right(value: Expr | Law) -> str:
    return law(value) if isinstance(value, Law) else expression(value)


def _censoring(o: Observation) -> str:
    match o.censoring:
        case None:
            return ""
        case Censoring(kind="rounded", limit=limit):
            return f" rounded to {expression(limit)}"
        case Censoring(kind=kind, limit=limit):
            return f" censored {kind} {expression(limit)}"


def _simulator(s: Simulator) -> Iterator[str]:
    outputs = ", ".join(map(_head, s.outputs))
    random = " random" if s.random else ""
    yield f'simulator {s.name} from {s.kind} "{s.source}": {", ".join(s.inputs)} -> {outputs}{random}{_doc(s.doc)}'
    if s.density is not None:
        yield f"    density {expression(s.density)}"


def _observation(o: Observation) -> Iterator[str]:
    relation = f"= {expression(o.exactly)}" if o.exactly is not None else f"~ {law(o.law)}"
    yield f"observe {_head(o)} {relation}{_censoring(o)}{_doc(o.doc)}"
    yield from (f"    {_window(w)}" for w in o.windows)


def _window(w: Window) -> str:
    length = f" {expression(w.length)}" if w.length is not None else ""
    return f"window {w.name} = {w.kind} of {expression(w.expr)}, {w.span_kind}{length}"


def report(model: Model, facts: Facts) -> dict[str, Any]:
    """What ``sbm show --format json`` prints: counts, quantities, structure with reasons, balance."""
    time = model.time
    return {
        "name": model.name,
        "doc": model.doc,
        "counts": {
            "states": len([s for s in model.states if s.kind == "state"]),
            "sinks": len([s for s in model.states if s.kind == "sink"]),
            "accumulators": len([s for s in model.states if s.kind == "accumulator"]),
            "fluxes": len(model.fluxes),
            "parameters": len(model.parameters),
            "observations": len(model.observations),
            "forcings": len(model.forcings),
            "simulators": len(model.simulators),
        },
        "time": {"name": time.name, "unit": str(time.unit), "start": time.start, "stop": time.stop,
                 "step": time.step, "scheme": time.scheme, "forcing_at": time.forcing_at},
        "dims": {d.name: d.size for d in model.dims.values()},
        "parameters": [
            {**_about(p), "prior": law(p.law) if p.law else None, "joint": p.group,
             "lower": _end(p.lower), "upper": _end(p.upper), "role": p.role}
            for p in model.parameters
        ],
        "simulators": [*map(_about_simulator, model.simulators)],
        "definitions": [
            {**_about(d), "kind": d.kind, "expr": expression(d.expr), "computed": str(d.stage)}
            for d in model.definitions if isinstance(d, Definition)
        ],
        "states": [
            {**_about(e.state), "kind": e.state.kind, "lower": e.state.lower, "upper": e.state.upper,
             "values": e.state.values, "start": law(e.state.start) if e.state.start else expression(e.state.init),
             **_change(e)}
            for e in equations(model)
        ],
        "draws": [{**_about(d), "law": law(d.law)} for d in named_draws(model)],
        "observations": [
            {**_about(o), "column": o.column, "law": law(o.law), "censored": _censoring(o).strip()}
            for o in model.observations
        ],
        "reports": [{**_about(r), "expr": expression(r.expr)} for r in model.reports],
        "computed": {name: str(stage) for name, stage in facts.stages.items()},
        "structure": {name: _fact(f) for name, f in structure(facts).items()},
        "separable": list(facts.separable),
        "jump_times": [float(x) for x in facts.jump_times],
        "balance": [_balance(b) for b in facts.balances],
        "engines": _engines(model, facts),
    }  # fmt: skip


def _change(e: Equation) -> dict[str, str]:
    key = "next" if e.kind == "next" else "drift"
    return {key: _right(e.right)} | ({"noise": " + ".join(_noise(*n) for n in e.noise)} if e.noise else {})


def _engines(model: Model, facts: Facts) -> list[dict[str, Any]]:
    """The ways to treat the states, the chosen one first; one way only where nothing is random."""
    if facts.likelihood is not None:
        return _ways(model, facts.likelihood)
    if not model.is_stochastic:
        return [{"name": "deterministic", "kind": "", "chosen": True, "integrated_out": [],
                 "holds": True, "reason": _deterministic(model)}]  # fmt: skip
    ordered = sorted(facts.engines, key=lambda e: e is not facts.engine)
    return [
        {"name": e.name, "kind": e.kind, "chosen": e is facts.engine,
         "integrated_out": _integrated_out(model, e), **_fact(e.fits)}
        for e in ordered
    ]  # fmt: skip


def _about_simulator(s: Simulator) -> dict[str, Any]:
    return {"name": s.name, "doc": s.doc, "kind": s.kind, "source": s.source, "inputs": list(s.inputs),
            "outputs": [_about(o) for o in s.outputs], "random": s.random,
            "density": None if s.density is None else expression(s.density), **_place(s.span)}  # fmt: skip


def _ways(model: Model, likelihood: Fact) -> list[dict[str, Any]]:
    """What can be done with a model whose outputs come from outside the file, the best first."""
    random = next((s for s in model.simulators if s.random), None)
    amortized = "a network learns the posterior from simulated or tabulated runs: sbm amortize"
    emulated = (
        Fact(True, "a function learned from runs stands in for the simulator: sbm emulate, then NUTS on it")
        if random is None
        else Fact(
            False,
            f"{random.name} is random, and an emulator gives one value for a parameter set",
            span=random.span,
        )
    )
    ways = [("likelihood", likelihood), ("amortized", Fact(True, amortized)), ("emulated", emulated)]
    return [
        {"name": name, "kind": "", "chosen": fact.holds and not any(w for _, w in ways[:k]), "integrated_out": [],
         **_fact(fact)}
        for k, (name, fact) in enumerate(ways)
    ]  # fmt: skip


def _integrated_out(model: Model, engine: Engine) -> list[str]:
    """States that the likelihood of an engine no longer contains; ``sampled`` keeps all."""
    if engine.name == "sampled" or not engine.fits:
        return []
    return [s.name for s in model.states if s.kind == "state"]


def _deterministic(model: Model) -> str:
    if not model.states:
        return (
            "there are no states: observations follow from parameters and time; NUTS runs on the parameters"
        )
    kind = "an ODE" if isinstance(model.dynamics, Ode) else "a map"
    return (
        f"the states are deterministic ({kind}): the path follows from the parameters, "
        "no state is integrated out; NUTS runs on the parameters"
    )


def structure(facts: Facts) -> Mapping[str, Fact]:
    """The yes-or-no facts by their names in the report; ``stiff`` only when it is known."""
    found = {
        "linear drift": facts.linear_drift,
        "linear observations": facts.linear_observations,
        "Gaussian observations": facts.gaussian_observations,
        "constant coefficients": facts.constant_coefficients,
        "piecewise constant coefficients": facts.piecewise_constant,
        "bounded": facts.bounded,
    }
    found = found if facts.stiff is None else {**found, "stiff": facts.stiff}
    return found if facts.step_error is None else {**found, "small step error": facts.step_error}


def _about(q: Quantity) -> dict[str, Any]:
    return {"name": q.name, "unit": str(q.unit), "dims": list(q.dims), "doc": q.doc, **_place(q.span)}


def _place(span: Span | None) -> dict[str, Any]:
    return {} if span is None else {"line": span.source.position(span.start)[0]}


def _fact(fact: Fact) -> dict[str, Any]:
    expr = {} if fact.expr is None else {"expr": expression(fact.expr)}
    return {"holds": fact.holds, "reason": fact.reason, **expr, **_place(fact.span)}


def _balance(b: Balance) -> dict[str, Any]:
    return {"flux": b.flux, "proven": b.proven, "created": expression(b.created), "condition": b.condition,
            "always_loses": b.always_loses, **_place(b.span)}  # fmt: skip

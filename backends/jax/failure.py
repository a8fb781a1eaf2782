"""Why a path cannot be solved: which draw, which member, which time, which state, which term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import sympy as sp
from scipy.integrate import solve_ivp

from sbmlang.errors import Diagnostic, SbmError, error

from .generate import Generator
from .printer import JaxPrinter

if TYPE_CHECKING:
    from .program import JaxProgram


def explain(
    program: JaxProgram, params: Mapping[str, Any], data: Any, *, draw: int | None = None, others: int = 0
) -> SbmError | None:
    """E720 for the first member whose path fails at these parameters, or None when all can be solved."""
    f = program.functions
    c = f.values({n: jnp.asarray(v, float) for n, v in params.items()}, data)
    _, ok = f.path(c, data)
    if bool(ok):
        return None
    generator = Generator(program.model, program.facts, program.settings)
    for position in product(*(range(len(data["members"][d])) for d in generator.batch)):
        found = _member(program, generator, c, data, dict(zip(generator.batch, position, strict=True)))
        if found is not None:
            return SbmError(_diagnostic(program, found, params, draw, others))
    return SbmError(error("E720", "the path cannot be solved within the solver's step limit",
                          help=("raise max_steps, or use solver='implicit' if the model is stiff",)))  # fmt: skip


def _member(
    program: JaxProgram, generator: Generator, c: Mapping[str, Any], data: Any, position: Mapping[str, int]
) -> dict[str, Any] | None:
    """Follows one member with scipy until something is not finite or the steps collapse."""

    def own(name: str, value: Any, lead: int = 0) -> Any:
        dims = generator._dims_of(name)
        picks = (slice(None),) * lead + tuple(position.get(d, slice(None)) for d in dims)
        return np.asarray(value)[picks] if dims else value

    forcings = {x.name for x in program.model.forcings}
    p = {n: own(n, c[n]) for n in generator.theta}
    inputs: dict[str, Any] = {}
    for n in generator.inputs:
        if n in forcings:
            series = data["forcings"][n]
            inputs[n] = replace(
                series,
                value=own(n, series.value, 1),
                slope=None if series.slope is None else own(n, series.slope, 1),
            )
        elif n in program.model.dims:
            inputs[n] = position[n] + program.model.dims[n].first
        else:
            inputs[n] = own(n, c[n])
    x0 = np.asarray(program.functions.initial(p, inputs), float)
    drift = _drift(program)
    t0, t1 = program.model.time.start, float(np.asarray(data["grid"])[-1])
    state = {"t": t0, "x": x0}

    def rhs(t: float, x: Any) -> Any:
        value = np.asarray(drift(t, x, p, inputs), float)
        if np.isfinite(value).all() and np.isfinite(x).all():
            state.update(t=t, x=np.asarray(x))
        return value

    with np.errstate(all="ignore"):
        if np.isfinite(x0).all() and np.isfinite(rhs(t0, x0)).all():
            result = solve_ivp(rhs, (t0, t1), x0, method="LSODA", rtol=1e-6, atol=1e-8)
            if result.success and np.isfinite(result.y).all():
                return None
            state.update(t=float(result.t[-1]), x=result.y[:, -1])
    return {
        "t": state["t"],
        "x": state["x"],
        "p": p,
        "inputs": inputs,
        "position": position,
        "drift": drift,
        "generator": generator,
    }


def _drift(program: JaxProgram) -> Any:
    """The drift as a function, also where the program itself uses matrix exponentials."""
    if hasattr(program.functions, "drift"):
        return program.functions.drift
    namespace = dict(vars(program.functions))
    other = Generator(program.model, program.facts, replace(program.settings, method="explicit"))
    function = other.dynamics()[0]
    exec(str(function), namespace)
    return namespace["drift"]


def _diagnostic(
    program: JaxProgram, found: dict[str, Any], params: Mapping[str, Any], draw: int | None, others: int
) -> Diagnostic:
    generator: Generator = found["generator"]
    x, t = found["x"], found["t"]
    slope = np.asarray(found["drift"](t, x, found["p"], found["inputs"]), float)
    with np.errstate(all="ignore"):
        badness = np.where(np.isfinite(slope) & np.isfinite(x), np.abs(slope) / (np.abs(x) + 1e-8), np.inf)
    worst = int(np.argmax(badness))
    _, name, _, start, _ = next(place for place in generator.layout.places() if place[3] <= worst < place[4])
    member = "".join(f", {d} {i}" for d, i in found["position"].items())
    which = "" if draw is None else f" of draw {draw}"
    more = f" (and {others} more draws)" if others else ""
    label = name if generator.layout.is_flat else f"{name}, component {worst - start}"
    term = _term(program, generator, name, found)
    span = next(s.span for s in program.model.states if s.name == name)
    values = ", ".join(f"{n} = {float(np.ravel(v)[0]):.4g}" for n, v in list(found["p"].items())[:8])
    return error(
        "E720",
        f"the path{which}{more} cannot be solved beyond {program.model.time.name} = {t:.6g} {program.model.time.unit}{member}: "
        f"{label} = {x[worst]:.4g} changes at {slope[worst]:.4g}" + (f", mostly by {term}" if term else ""),
        *([span] if span else []),
        help=(f"there {values}", "tighten the priors that allow this, or check the equation of the state named"),
    )  # fmt: skip


def _term(program: JaxProgram, generator: Generator, name: str, found: dict[str, Any]) -> str:
    """The largest (or first not finite) additive term of a state's drift, in the names of the model."""
    drift = program.model.dynamics.drift[name]
    terms = sp.Add.make_args(drift)
    sizes = []
    for term in terms:
        lines, env = generator._at_time([term], generator._member())
        code = JaxPrinter(env, generator.layout.axes[generator.layout.names.index(name)]).doprint(term)
        body = [*generator.layout.unpack(generator.python), *lines, f"out = {code}"]
        scope = {
            **vars(program.functions),
            "jnp": jnp,
            "x": found["x"],
            "t": found["t"],
            "p": found["p"],
            "inputs": found["inputs"],
        }
        exec(
            "from jax.scipy import special\nfrom sbmlang.backends.jax.forcing import interpolate\n"
            + "\n".join(body),
            scope,
        )
        value = np.asarray(scope["out"], float)
        sizes.append(np.inf if not np.isfinite(value).all() else float(np.max(np.abs(value))))
    return str(terms[int(np.argmax(sizes))])

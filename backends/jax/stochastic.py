"""Random paths of a program: the bounds they must keep, and why one stops being finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, assert_never

import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp
from jax import lax

from sbmlang.data.dataset import Dataset
from sbmlang.emit.printer import Value
from sbmlang.errors import Diagnostic, NotYet, SbmError, error
from sbmlang.ir import Map, Model, Ode, Ref, Sde, State, bases
from sbmlang.ir.notation import expression

from .failure import _input, _own, _scope
from .generate import Generator
from .innovations import Drawn
from .printer import JaxPrinter

if TYPE_CHECKING:
    from sbmlang.emit.program.treatment import Treatment

    from .program import JaxProgram

Numbers = Mapping[str, np.ndarray]


def explain_step(
    program: JaxProgram, params: Mapping[str, Any], data: Dataset, key: Any, *, draw: int = 0, others: int = 0
) -> SbmError | None:
    """E762 for the first step of the path drawn with ``key`` whose result is not finite; None if all are."""
    arrays = program.arrays(data)
    writer = Generator(program.model, program.facts, program.settings)
    c = program.functions.values({n: jnp.asarray(v, float) for n, v in params.items()}, arrays)
    lead = tuple(data.sizes[d] for d in writer.batch)
    keys = jax.random.split(key, lead) if lead else key

    def member(p: Any, inputs: Any, key: Any) -> Any:
        return _whole(program, p, inputs, arrays["steps"], key), _scalars(p)

    path, theta = program.functions.members(member, c, arrays, keys)
    for at in product(*map(range, lead)):
        values = np.asarray(path[at])
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            where = dict(zip(writer.batch, at, strict=True))
            own = {n: np.asarray(v)[at] for n, v in theta.items()}
            found = _diagnostic(
                program, writer, data, c, values, int(bad[0]), where, own, keys[at] if lead else key
            )
            which = f" of draw {draw}" + (f" (and {others} more draws)" if others else "")
            return SbmError(_about(found, which))
    return None


def require_bounds(model: Model, chosen: Treatment) -> None:
    """Raises ``NotYet`` E716 where an engine cannot keep the path inside enforced bounds."""
    state = next((s for s in model.states if s.enforced), None)
    if state is not None and chosen.engine.name != "sampled":
        raise NotYet(
            error("E716", f"the engine '{chosen.engine.name}' cannot restrict the path to the bounds of '{state.name}'",
                  *([state.span] if state.span else []),
                  help=("take states='sampled', which can",
                        "or leave 'enforced' away: the results then report how often the path leaves its bounds"))
        )  # fmt: skip


def _scalars(p: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {n: jnp.ravel(jnp.asarray(v, float))[0] for n, v in p.items()}


def _whole(program: JaxProgram, p: Any, inputs: Any, steps: Any, key: Any) -> jax.Array:
    """The path after every step of one member, drawn as ``stepping.walk`` draws it: (step + 1, state)."""
    f = program.functions
    x0 = f.start(Drawn(jax.random.fold_in(key, 0)), p, inputs)

    def one(x: jax.Array, at: Any) -> tuple[jax.Array, jax.Array]:
        i, t, h = at
        x = f.step(t, h, x, Drawn(jax.random.fold_in(key, i + 1)), p, inputs)
        return x, x

    time, width = jnp.asarray(steps["time"]), jnp.asarray(steps["width"])
    return jnp.concatenate([x0[None], lax.scan(one, x0, (jnp.arange(len(time)), time, width))[1]])


def _about(found: Diagnostic, which: str) -> Diagnostic:
    return Diagnostic(found.code, found.message.format(which=which), found.labels, found.help, found.place)


def _diagnostic(
    program: JaxProgram,
    writer: Generator,
    data: Dataset,
    c: Any,
    values: np.ndarray,
    bad: int,
    member: Mapping[str, int],
    theta: Numbers,
    key: Any,
) -> Diagnostic:
    model, time = program.model, program.model.time
    steps = program.arrays(data)["steps"]
    ends = time.start + np.concatenate([[0.0], np.cumsum(np.asarray(steps["width"]))])
    component = int(np.flatnonzero(~np.isfinite(values[bad]))[0])
    _, name, axes, first, _ = next(p for p in writer.layout.places() if p[3] <= component < p[4])
    state = model.state(name)
    label = f"{name} (component {component - first + 1})" if axes else name
    where = "".join(f", {d} {data.labels[d][i]}" for d, i in member.items())
    shown = ", ".join(f"{n} = {float(v):.4g}" for n, v in list(theta.items())[:8])
    helps = [f"there {shown}"] if shown else []
    span = [state.span] if state.span else []
    if bad == 0:
        message = f"the path{{which}} has no finite start{where}: {label} = {values[0][component]:g}"
        return error("E762", message, *span, help=(*helps, f"check init {name}"))
    before = values[bad - 1]
    term, crossed = _culprit(program, writer, c, data, before, bad - 1, member, state, component - first, key)
    message = (
        f"the path{{which}} is not finite after the step from {time.name} = {ends[bad - 1]:.6g} to {ends[bad]:.6g} "
        f"{time.unit}{where}: {label} = {before[component]:.4g} becomes {values[bad][component]:g}, "
        f"by the term {term}"
    )
    help = (
        crossed or "check the equation of the state, shorten the step, or tighten the priors that allow this"
    )
    return error("E762", message, *span, help=(*helps, help))


def _culprit(
    program: JaxProgram,
    writer: Generator,
    c: Any,
    data: Dataset,
    x: np.ndarray,
    step: int,
    member: Mapping[str, int],
    state: State,
    place: int,
    key: Any,
) -> tuple[str, str]:
    """The term that is not finite (or the largest), and the remark that a state in it is beyond its bound."""
    arrays = program.arrays(data)
    p = {n: _own(writer, n, c[n], member) for n in writer.theta}
    inputs = {n: _input(program, writer, n, c, arrays, member) for n in writer.inputs}
    t = float(np.asarray(arrays["steps"]["time"])[step])
    terms = list(_terms(program, state.name))
    axes = writer.layout.axes[writer.layout.names.index(state.name)]
    drawn = _drawn(
        program, writer, t, float(np.asarray(arrays["steps"]["width"])[step]), x, p, inputs, key, step
    )
    sizes = []
    for _, expr in terms:
        lines, env = writer._at_time([expr], writer._member())
        known = [*writer.layout.unpack(writer.python), *drawn[0]]
        for name, own in drawn[1].items():
            env = env.having(**{name: own})
        code = JaxPrinter(env, axes).doprint(expr)
        scope = _scope(program) | {"x": jnp.asarray(x), "t": t, "p": p, "inputs": inputs, **drawn[2]}
        exec("\n".join([*known, *lines, f"out = {code}"]), scope)
        value = np.broadcast_to(
            np.asarray(scope["out"], float), [program.model.dims[a].size or 1 for a in axes]
        )
        value = np.ravel(value)[place]
        sizes.append(abs(value) if np.isfinite(value) else np.inf)
    shown, worst = terms[int(np.argmax(sizes))]
    return shown, _beyond(program, writer, worst, x)


def _drawn(
    program: JaxProgram,
    writer: Generator,
    t: float,
    h: float,
    x: np.ndarray,
    p: Any,
    inputs: Any,
    key: Any,
    step: int,
) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """The random numbers of a step under their names: code lines, places and values."""
    values: list[jax.Array] = []
    source = Drawn(jax.random.fold_in(key, step + 1))

    def draw(law: Any) -> jax.Array:
        values.append(source(law))
        return values[-1]

    program.functions.step(t, h, jnp.asarray(x), draw, p, inputs)
    match program.model.dynamics:
        case Sde():
            layout = writer.wieners
            names = {n: Value(writer.python(n), a) for n, a in zip(layout.names, layout.axes, strict=True)}
            return layout.unpack(writer.python, "w"), names, {"w": np.sqrt(h) * values[0][: _size(layout)]}
        case Map(draws=draws):
            python = {d.name: writer.python(d.name) for d in draws}
            batch = frozenset(writer.batch)
            names = {d.name: Value(python[d.name], tuple(a for a in d.dims if a not in batch)) for d in draws}
            return [], names, {python[d.name]: v for d, v in zip(draws, values, strict=True)}
        case Ode():
            raise TypeError("an ordinary differential equation has no steps")
        case other:
            assert_never(other)


def _size(layout: Any) -> int:
    return sum(layout.size(k) for k in range(len(layout.names)))


def _terms(program: JaxProgram, name: str) -> Iterator[tuple[str, sp.Expr]]:
    """The additive terms of what changes a state, in words and as expressions."""
    match program.model.dynamics:
        case Sde(drift=drift, diffusion=diffusion, wieners=wieners):
            owners = {w.name for w in wieners if w.owner}
            for term in sp.Add.make_args(sp.expand(drift[name])):
                yield expression(term), term
            for term in sp.Add.make_args(sp.expand(diffusion.get(name, sp.S.Zero))):
                if term != 0:
                    plain = term.xreplace({r: sp.S.One for r in term.atoms(Ref) if r.base in owners})
                    yield f"{expression(plain)} of its noise", term
        case Map(update=update, draws=draws):
            for term in sp.Add.make_args(sp.expand(update[name])):
                law = next((d for d in draws if term == Ref(d.name, getattr(term, "index", ()))), None)
                if law is not None:
                    arguments = ", ".join(
                        f"{k}={expression(e)}" for k, e in law.law.args.items() if isinstance(e, sp.Expr)
                    )
                    yield f"{law.law.family}({arguments})", term
                else:
                    yield expression(term), term
        case Ode():
            raise TypeError("an ordinary differential equation has no steps")


def _beyond(program: JaxProgram, writer: Generator, term: sp.Expr, x: np.ndarray) -> str:
    """A remark where a state of the term has left its declared bounds."""
    for _, name, _, start, stop in writer.layout.places():
        state = program.model.state(name)
        low, high = np.min(x[start:stop], initial=np.inf), np.max(x[start:stop], initial=-np.inf)
        if name not in bases(term):
            continue
        if state.lower is not None and low < state.lower:
            return _crossed(name, low, f">= {state.lower:g}")
        if state.upper is not None and high > state.upper:
            return _crossed(name, high, f"<= {state.upper:g}")
    return ""


def _crossed(name: str, value: float, bound: str) -> str:
    return (
        f"{name} = {value:.4g} has left its bound {bound}: a discrete step can cross it; shorten the step, or let the "
        f"noise vanish there faster (noise {name} = s*{name} instead of a square root)"
    )

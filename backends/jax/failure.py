"""Why a path cannot be solved: which draw, which member, which time, which state, which term."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp
from scipy.integrate import solve_ivp

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.ir.notation import expression

from .generate import Generator
from .printer import JaxPrinter

if TYPE_CHECKING:
    from .program import JaxProgram


@dataclass(frozen=True)
class Stuck:
    """Where a member's path ends: the last time and states reached, and what the drift depends on there."""

    member: Mapping[str, int]
    t: float
    x: np.ndarray
    p: Mapping[str, Any]
    inputs: Mapping[str, Any]
    slope: np.ndarray


def explain(
    program: JaxProgram, params: Mapping[str, Any], data: Dataset, *, draw: int | None = None, others: int = 0
) -> SbmError | None:
    """E720 for the first member whose path fails at these parameters, or None when all can be solved."""
    arrays = program.arrays(data)
    c = program.functions.values({n: jnp.asarray(v, float) for n, v in params.items()}, arrays)
    _, ok = program.functions.path(c, arrays)
    if bool(ok):
        return None
    writer = Generator(program.model, program.facts, replace(program.settings, method="explicit"))
    drift = _drift(program, writer)
    for position in product(*(range(data.sizes[d]) for d in writer.batch)):
        member = dict(zip(writer.batch, position, strict=True))
        stuck = _follow(program, writer, drift, c, arrays, member)
        if stuck is not None:
            return SbmError(_diagnostic(program, writer, stuck, data, draw, others))
    return SbmError(
        error("E721", f"the path cannot be solved in {program.settings.max_steps} steps of the {program.solver} method",
              help="raise max_steps, or use the implicit solver if the model is stiff")
    )  # fmt: skip


_EVALUATIONS = 20_000  # of the drift, after which a state is taken to run away


class _RunsAway(Exception):
    """Near a pole LSODA halves its steps without end."""


def _follow(
    program: JaxProgram,
    writer: Generator,
    drift: Callable[..., Any],
    c: Any,
    arrays: Any,
    member: Mapping[str, int],
) -> Stuck | None:
    """One member followed by another solver (LSODA) until something is not finite; None if it gets through."""
    p = {n: _own(writer, n, c[n], member) for n in writer.theta}
    inputs = {n: _input(program, writer, n, c, arrays, member) for n in writer.inputs}
    x0 = np.asarray(program.functions.initial(p, inputs), float)
    t0, t1 = program.model.time.start, float(np.asarray(arrays["grid"])[-1])
    last = [t0, x0]
    left = _EVALUATIONS

    def rhs(t: float, x: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _RunsAway
        value = np.asarray(drift(t, jnp.asarray(x), p, inputs), float)
        if t >= last[0] and np.isfinite(value).all():
            last[:] = [t, np.array(x)]
        return value

    with np.errstate(all="ignore"):
        if np.isfinite(x0).all() and np.isfinite(rhs(t0, x0)).all():
            try:
                result = solve_ivp(rhs, (t0, t1), x0, method="LSODA", rtol=1e-6, atol=1e-8)
                if result.success and np.isfinite(result.y).all():
                    return None
            except _RunsAway:
                pass
        left = 1
        return Stuck(member, last[0], last[1], p, inputs, rhs(last[0], last[1]))


def _own(writer: Generator, name: str, value: Any, member: Mapping[str, int], lead: int = 0) -> Any:
    """The member's part of a value; ``lead`` axes come before the dims."""
    dims = writer._dims_of(name)
    picks = (slice(None),) * lead + tuple(member.get(d, slice(None)) for d in dims)
    return np.asarray(value)[picks] if dims else value


def _input(
    program: JaxProgram, writer: Generator, name: str, c: Any, arrays: Any, member: Mapping[str, int]
) -> Any:
    if name in arrays["forcings"]:
        series = arrays["forcings"][name]
        slope = None if series.slope is None else _own(writer, name, series.slope, member, 1)
        return replace(series, value=_own(writer, name, series.value, member, 1), slope=slope)
    if name in program.model.dims:
        return member[name] + program.model.dims[name].first
    return _own(writer, name, c[name], member)


def _drift(program: JaxProgram, writer: Generator) -> Callable[..., Any]:
    """The drift as a function, also where the program itself uses matrix exponentials."""
    if not hasattr(program.functions, "drift"):
        scope = _scope(program)
        exec(str(writer.dynamics()[0]), scope)
        return jax.jit(scope["drift"])
    return jax.jit(program.functions.drift)


def _scope(program: JaxProgram) -> dict[str, Any]:
    """The names that code of any solver may use, whichever the program imports."""
    from jax.scipy import special

    from .forcing import interpolate
    from .indexing import shifted

    return {**vars(program.functions), "special": special, "interpolate": interpolate, "shifted": shifted}


def _diagnostic(
    program: JaxProgram, writer: Generator, stuck: Stuck, data: Dataset, draw: int | None, others: int
) -> Diagnostic:
    with np.errstate(all="ignore"):
        speed = np.abs(stuck.slope) / (np.abs(stuck.x) + 1e-8)
    worst = int(np.argmax(np.where(np.isfinite(speed), speed, np.inf)))
    _, name, axes, start, _ = next(p for p in writer.layout.places() if p[3] <= worst < p[4])
    state = program.model.state(name)
    where = "".join(f", {d} {data.labels[d][i]}" for d, i in stuck.member.items())
    which = "" if draw is None else f" of draw {draw}" + (f" (and {others} more draws)" if others else "")
    label = f"{name} (component {worst - start + 1})" if axes else name
    values = ", ".join(f"{n} = {float(np.ravel(v)[0]):.4g}" for n, v in list(stuck.p.items())[:8])
    time = program.model.time
    return error(
        "E720",
        f"the path{which} cannot be solved beyond {time.name} = {stuck.t:.5g} {time.unit}{where}: "
        f"{label} = {stuck.x[worst]:.4g} changes by {stuck.slope[worst]:.4g} per {time.unit}, "
        f"mostly by the term {_term(program, writer, name, stuck)}",
        *([state.span] if state.span else []),
        help=(f"there {values}", "tighten the priors that allow this, or check the equation of the state"),
    )  # fmt: skip


def _term(program: JaxProgram, writer: Generator, name: str, stuck: Stuck) -> str:
    """The largest (or first not finite) additive term of a state's drift, in the names of the model."""
    terms = sp.Add.make_args(sp.expand(program.model.dynamics.drift[name]))
    axes = writer.layout.axes[writer.layout.names.index(name)]
    sizes = []
    for term in terms:
        lines, env = writer._at_time([term], writer._member())
        code = JaxPrinter(env, axes).doprint(term)
        scope = _scope(program) | {"x": stuck.x, "t": stuck.t, "p": stuck.p, "inputs": stuck.inputs}
        exec("\n".join([*writer.layout.unpack(writer.python), *lines, f"out = {code}"]), scope)
        value = np.asarray(scope["out"], float)
        sizes.append(float(np.abs(value).max()) if np.isfinite(value).all() else np.inf)
    return expression(terms[int(np.argmax(sizes))])

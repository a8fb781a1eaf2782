"""Paths of ordinary differential equations with error control (diffrax)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

PyTree = Any
Drift = Callable[[Any, jax.Array, PyTree, PyTree], jax.Array]


class Path(NamedTuple):
    """A path on its grid: ``values`` (time, state), NaN everywhere unless ``ok``.

    ``reached`` is the last time the solver got to, ``steps`` how many steps it tried.
    """

    values: jax.Array
    ok: jax.Array
    reached: jax.Array
    steps: jax.Array


def solve(
    drift: Drift,
    x0: jax.Array,
    p: PyTree,
    inputs: PyTree,
    t0: Any,
    grid: jax.Array,
    *,
    stiff: bool,
    rtol: float = 1e-8,
    atol: Any = 1e-10,
    jacobian: Drift | None = None,
    jumps: jax.Array | None = None,
    max_steps: int = 20_000,
    adjoint: Literal["forward", "reverse"] = "forward",
) -> Path:
    """The path of dx/dt = drift(t, x, p, inputs) from x(t0) = x0 (state,), at the sorted times ``grid``.

    Explicit Runge-Kutta (Tsitouras 5(4)), or for ``stiff`` problems the L-stable ESDIRK Kvaerno 5(4)
    with Newton steps by ``jacobian`` (state, state) where given, else by automatic differentiation; a
    local error below ``atol + rtol*|x|`` per state, in the states' own units. A grid time equal to t0
    gives x0 exactly. ``jumps`` (sorted) are times at which the drift jumps: steps end just before and
    start just after them. The path is differentiable in x0 and p: forwards only (cheapest inside
    ``forward_mode``), or in reverse with checkpoints.

    A path that cannot be followed (blow-up, too many steps, a drift that is not finite) has ``ok`` False
    and NaN values; nothing is raised, so that a sampler can reject it.

    Tsitouras (2011), Computers & Mathematics with Applications 62, 770-775; Kvaerno (2004), BIT Numerical
    Mathematics 44, 489-502; Kidger (2021), On Neural Differential Equations, thesis, Oxford (diffrax).
    """
    t0, grid = jnp.asarray(t0, float), jnp.asarray(grid, float)
    times = jnp.maximum(grid, t0)
    field = drift if jacobian is None or not stiff else with_jacobian(drift, jacobian)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, args: field(t, x, *args)),
        diffrax.Kvaerno5() if stiff else diffrax.Tsit5(),
        t0=t0,
        t1=times[-1],
        dt0=None,
        y0=x0,
        args=(p, inputs),
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=_controller(rtol, atol, jumps),
        adjoint=diffrax.ForwardMode() if adjoint == "forward" else diffrax.RecursiveCheckpointAdjoint(),
        max_steps=max_steps,
        throw=False,
    )
    path, end = solution.ys
    values = jnp.where((grid <= t0)[:, None], x0, path)
    ok = (solution.result == diffrax.RESULTS.successful) & jnp.isfinite(values).all()
    reached = jnp.where(jnp.isfinite(end).all(), solution.ts[1][0], t0)
    return Path(jnp.where(ok, values, jnp.nan), ok, reached, solution.stats["num_steps"])


class _Controller(diffrax.PIDController):
    """Gives up when a rejected step shrinks to the rounding of t, as it does where a path blows up."""

    def adapt_step_size(self, *args: Any, **named: Any) -> Any:
        keep, start, end, jumped, state, result = super().adapt_step_size(*args, **named)
        moves = end - start > 8 * jnp.finfo(float).eps * jnp.abs(start)
        result = diffrax.RESULTS.where(keep | moves, result, diffrax.RESULTS.dt_min_reached)
        return keep, start, end, jumped, state, result


def _controller(
    rtol: float, atol: Any, jumps: jax.Array | None
) -> diffrax.AbstractStepSizeController[Any, Any]:
    controller = _Controller(rtol=rtol, atol=atol)
    if jumps is None or len(jumps) == 0:
        return controller
    return diffrax.ClipStepSizeController(controller, jump_ts=jnp.asarray(jumps, float))


def with_jacobian(drift: Drift, jacobian: Drift) -> Drift:
    """The same drift, whose derivative in x is ``jacobian(t, x, p, inputs)`` (state, state).

    Derivatives in t, p and inputs stay automatic.
    """
    wrapped = jax.custom_jvp(drift)

    def derivative(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
        t, x, p, inputs = primals
        dt, dx, dp, dinputs = tangents
        rest = (dt, dp, dinputs)
        if all(map(_is_zero, jax.tree.leaves(rest, is_leaf=_is_zero))):
            value = drift(t, x, p, inputs)
            moved = jnp.zeros_like(value)
        else:
            value, moved = jax.jvp(
                lambda t, p, inputs: drift(t, x, p, inputs),
                (t, p, inputs),
                jax.tree.map(_instantiate, rest, is_leaf=_is_zero),
            )
        return value, moved if _is_zero(dx) else moved + jacobian(t, x, p, inputs) @ dx

    wrapped.defjvp(derivative, symbolic_zeros=True)
    return wrapped


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiate(tangent: Any) -> Any:
    return jnp.zeros(tangent.shape, tangent.dtype) if _is_zero(tangent) else tangent

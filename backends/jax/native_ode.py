"""Paths of differential equations by a native kernel, as a differentiable function of JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from sbmlang.errors import InternalError, SbmError, did_you_mean, error
from sbmlang.kernels.dynamics import OdeSystem
from sbmlang.kernels.ode import Method, Signature, reverse_source, signature, source
from sbmlang.kernels.paths import FEW, LINES, Adjoint, PathKernel, path_kernel, run, sweeps_back

from .forcing import Points
from .marginal import KERNELS


def native_path(writer: Any, kernel: str, adjoint: Adjoint) -> tuple[NativePath | None, str]:
    """The kernel for the path of a program being written (a ``PathWriter``), or None; and why.

    ``kernel``: "auto" takes it where the general solver is used and every expression has a scalar form, "native"
    insists, "jax" does without; ``adjoint`` as ``attach`` takes it. Raises ``SbmError`` E753 for another word, E780 where "native" is not possible.
    """
    if kernel not in KERNELS:
        raise SbmError(
            error("E753", f"there is no kernel '{kernel}'",
                  help=did_you_mean(kernel, KERNELS) or f"kernels: {', '.join(KERNELS)}")
        )  # fmt: skip
    if kernel == "jax":
        return None, "it was asked for"
    found = _found(writer, adjoint, LINES if kernel == "auto" else None)
    if isinstance(found, str):
        if kernel == "native":
            raise SbmError(error("E780", f"there is no native kernel for this path: {found}",
                                 help="leave it at kernel='auto'"))  # fmt: skip
        return None, found
    return found, "every equation has a scalar form"


def _found(writer: Any, adjoint: Adjoint, most: int | None) -> NativePath | str:
    """The kernel, or why there is none; ``most`` lines of code, if that is not None."""
    from .native import attachment

    if jax.default_backend() != "cpu":
        return "it runs on processors only"
    found = path_kernel(writer, most)
    if isinstance(found, str):
        return found
    if attachment() == "none":
        return "native kernels cannot be called here"
    return NativePath(found, attach(found.dynamics, found.method, found.adjoint(adjoint)))


@dataclass(frozen=True)
class NativePath:
    """A path kernel with the names of what it takes.

    Called with ``p`` and ``inputs`` of one member (name -> value, forcings as ``Points``) and the ``grid``
    (time,) it gives the states at the grid (time, state), NaN where the path cannot be followed. First
    derivatives with respect to ``p``, forward and reverse, come from sensitivities computed together with the
    values. ``vmap`` over any arguments but the grid and the times of forcings makes one call.
    """

    kernel: PathKernel
    path: Callable[..., jax.Array]

    def __call__(self, p: Mapping[str, Any], inputs: Mapping[str, Any], grid: jax.Array) -> jax.Array:
        series: list[Any] = []
        for name in self.kernel.forcings:
            points: Points = inputs[name]
            count = len(points.time)
            series += [points.time, jnp.reshape(points.value, (count, -1))]
            series += [] if points.slope is None else [jnp.reshape(points.slope, (count, -1))]
        return self.path(
            _flat(p[n] for n in self.kernel.theta), _flat(inputs[n] for n in self.kernel.known), grid,
            jnp.array(self.kernel.options), jnp.array(self.kernel.jumps), *series,
        )  # fmt: skip


def _flat(values: Any) -> jax.Array:
    """One vector; a zero where there is nothing, as empty buffers have no address."""
    parts = [jnp.ravel(jnp.asarray(v, float)) for v in values]
    return jnp.concatenate(parts) if parts else jnp.zeros(1)


def attach(dynamics: OdeSystem, method: Method, adjoint: Adjoint = "auto") -> Callable[..., jax.Array]:
    """``path(theta, known, grid, options, jumps, *forcings)`` of one member (see ``kernels.ode.source``), values
    (time, state), by a native kernel that is compiled at its first use.

    ``adjoint``: "forward" carries sensitivities along with the path, and can be differentiated once forward or
    in reverse; "reverse" sweeps back over the steps (explicit method, reverse mode only); "auto" takes what costs
    less.
    """
    if not dynamics.theta:
        values = _values(dynamics, method, sensitivities=False)
        return lambda *given: values(*given)[0]
    return _swept(dynamics) if sweeps_back(dynamics, method, adjoint) else _carried(dynamics, method)


def _carried(dynamics: OdeSystem, method: Method) -> Callable[..., jax.Array]:
    """The path with its sensitivities."""
    both = _values(dynamics, method, sensitivities=True)
    # One kernel for values and for derivatives is compiled sooner; many sensitivities take their time.
    few = len(dynamics.theta) <= FEW
    alone = both if few else _values(dynamics, method, sensitivities=False)

    @jax.custom_jvp
    def path(*given: jax.Array) -> jax.Array:
        values: jax.Array = alone(*given)[0]
        return values

    @path.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        values, _, slopes = both(*primals)
        return values, slopes @ tangents[0]

    return path


def _swept(dynamics: OdeSystem) -> Callable[..., jax.Array]:
    """The path whose gradients come from a second call that sweeps back over it."""
    alone = _values(dynamics, "explicit", sensitivities=False)
    back = _callable(partial(reverse_source, dynamics), signature(dynamics, reverse=True))

    @jax.custom_vjp
    def path(*given: jax.Array) -> jax.Array:
        values: jax.Array = alone(*given)[0]
        return values

    def forward(*given: jax.Array) -> tuple[jax.Array, Any]:
        return path(*given), given

    def backward(given: Any, cotangent: jax.Array) -> tuple[Any, ...]:
        gradient, _ = back(*given, cotangent, shapes=[(len(dynamics.theta),), (3,)])
        return (gradient, *(None for _ in given[1:]))

    path.defvjp(forward, backward)
    return path


def _values(dynamics: OdeSystem, method: Method, sensitivities: bool) -> Callable[..., Any]:
    """``(path, report)`` or ``(path, report, slopes)`` of one member."""
    call = _callable(partial(source, dynamics, method, sensitivities=sensitivities), signature(dynamics))

    def values(*given: jax.Array) -> Any:
        shape = (given[2].shape[0], len(dynamics.states))
        return call(*given, shapes=[shape, (3,)] + [(*shape, len(dynamics.theta))] * sensitivities)

    return values


def _callable(text: Callable[[], str], signature: Signature) -> Callable[..., Any]:
    """The kernel ``text()``, compiled at its first use, as a JAX function of the arrays of one member."""

    @cache
    def module() -> ModuleType:
        from sbmlang.kernels.cache import load

        return load(text())

    def in_python(shapes: Sequence[tuple[int, ...]], *arrays: Any) -> Any:
        return run(module().run, signature, arrays, shapes)

    def call(*arrays: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
        from . import native

        given = [jnp.asarray(a, float) for a in arrays]
        if any(g.dtype != jnp.float64 for g in given):
            raise InternalError("native kernels work on float64: jax_enable_x64 must be set")
        results = tuple(jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes)
        if native.attachment() == "ffi":
            target = native._target(module())
            return jax.ffi.ffi_call(target, results, vmap_method="expand_dims")(*given)
        return jax.pure_callback(partial(in_python, shapes), results, *given, vmap_method="expand_dims")

    return call

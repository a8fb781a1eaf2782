"""Paths of differential equations by a native kernel, as a differentiable function of JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from itertools import product
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.errors import InternalError, SbmError, did_you_mean, error
from sbmlang.ir import Along, Definition, Index, Member, Model, Ref, Stage
from sbmlang.kernels.dynamics import Forcing, OdeSystem
from sbmlang.kernels.ode import Method, Signature, reverse_source, signature, source
from sbmlang.passes.scalarise import scalarise

from .forcing import Points
from .marginal import KERNELS

Adjoint = Literal["auto", "forward", "reverse"]

MANY = 250
"""States times parameters beyond which a sweep back costs less than sensitivities (measured on chains of 5 to 60
states with a parameter each: 56 us forward and 125 in reverse at 10 x 11, 270 and 131 at 20 x 21)."""

LOG = 20_000_000
"""Numbers that a sweep back may keep of a path."""

FEW = 15
"""Parameters up to which sensitivities cost about as much as the path itself."""


LINES = 4_000
"""Of code, up to which kernels are taken by themselves; these take about 40 seconds to compile, once."""


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
    if not (writer.states and writer.has_steps):
        return "it is for the solvers 'explicit' and 'implicit'"
    if jax.default_backend() != "cpu":
        return "it runs on processors only"
    if find_spec("numba") is None:
        return "numba is not installed"
    from .native import attachment

    if attachment() == "none":
        return "native kernels cannot be called here"
    method: Method = writer.settings.method
    try:
        dynamics = system(writer)
        lines = source(dynamics, method, sensitivities=bool(dynamics.theta)).count("\n")
    except (InternalError, SbmError) as reason:
        return f"an equation has no scalar form ({reason})"
    if most is not None and lines > most:
        return f"its {lines} lines of code would take minutes to compile"
    forcings = {f.name for f in writer.model.forcings}
    settings = writer.settings
    if adjoint == "auto" and settings.max_steps * len(dynamics.states) > LOG:
        adjoint = "forward"
    return NativePath(
        theta=tuple(writer.theta),
        known=tuple(n for n in writer.inputs if n not in forcings),
        forcings=tuple(n for n in writer.inputs if n in forcings),
        options=(writer.model.time.start, settings.rtol, settings.atol, float(settings.max_steps)),
        jumps=tuple(sorted(float(t) for t in writer.facts.jump_times)),
        path=attach(dynamics, method, adjoint),
    )


def system(writer: Any) -> OdeSystem:
    """The dynamics of one member of the batch.

    ``theta``, ``known`` and forcings are in the order of ``writer.theta`` and ``writer.inputs``, members of
    dims that are not mapped over one after the other. Raises ``InternalError`` where an expression has no
    scalar form.
    """
    model: Model = writer.model
    coupled = set(writer.known) - set(writer.batch)
    inits = {s.name: writer._inlined(s.init, Stage.PARAMETERS) for s in model.states}
    started = model.replace(states=tuple(replace(s, init=inits[s.name]) for s in model.states))
    scalars = scalarise(started, coupled)
    late = {
        d.name
        for d in model.definitions
        if isinstance(d, Definition) and writer.stage(d.name) > Stage.PARAMETERS
    }
    needed = writer._path_names()
    kinds = {f.name: f.interpolation for f in model.forcings}
    return OdeSystem(
        time=Ref(model.time.name),
        states=scalars.states,
        definitions=tuple((r, e) for r, e in scalars.definitions if r.base in late & needed),
        drift=scalars.drift,
        init=scalars.init,
        theta=_members(writer, writer.theta),
        known=_members(writer, [n for n in writer.inputs if n not in kinds]),
        forcings=tuple(Forcing(kinds[n], _members(writer, [n])) for n in writer.inputs if n in kinds),
    )


def _members(writer: Any, names: Sequence[str]) -> tuple[Ref, ...]:
    """Every scalar of the named values, the index along mapped dims left free."""
    found: list[Ref] = []
    for name in names:
        axes: list[list[Index]] = [
            [Along(d)] if d in writer.batch else [Member(d, k) for k in range(writer.known[d])]
            for d in writer._dims_of(name)
        ]
        found += [Ref(name, index) for index in product(*axes)]
    return tuple(found)


@dataclass(frozen=True)
class NativePath:
    """A path kernel with the names of what it takes.

    Called with ``p`` and ``inputs`` of one member (name -> value, forcings as ``Points``) and the ``grid``
    (time,) it gives the states at the grid (time, state), NaN where the path cannot be followed. First
    derivatives with respect to ``p``, forward and reverse, come from sensitivities computed together with the
    values. ``vmap`` over any arguments but the grid and the times of forcings makes one call.
    """

    theta: tuple[str, ...]
    known: tuple[str, ...]
    forcings: tuple[str, ...]
    options: tuple[float, ...]
    jumps: tuple[float, ...]
    path: Callable[..., jax.Array]

    def __call__(self, p: Mapping[str, Any], inputs: Mapping[str, Any], grid: jax.Array) -> jax.Array:
        series: list[Any] = []
        for name in self.forcings:
            points: Points = inputs[name]
            count = len(points.time)
            series += [points.time, jnp.reshape(points.value, (count, -1))]
            series += [] if points.slope is None else [jnp.reshape(points.slope, (count, -1))]
        return self.path(
            _flat(p[n] for n in self.theta), _flat(inputs[n] for n in self.known), grid,
            jnp.array(self.options), jnp.array(self.jumps), *series,
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
    states, parameters = len(dynamics.states), len(dynamics.theta)
    reverse = adjoint == "reverse" or (adjoint == "auto" and states * parameters > MANY)
    if not parameters:
        values = _values(dynamics, method, sensitivities=False)
        return lambda *given: values(*given)[0]
    return _swept(dynamics) if reverse and method == "explicit" else _carried(dynamics, method)


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
        return _run(module().run, signature, arrays, shapes)

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


def _run(run: Any, signature: Signature, arrays: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Any:
    """The kernel on numpy arrays, each with leading dims of a map that are 1 where it does not change."""
    tails = [d or 1 for d in signature.dims]
    leads = [np.shape(a)[: np.ndim(a) - tail] for a, tail in zip(arrays, tails, strict=True)]
    lead = np.broadcast_shapes(*leads)
    at = np.stack([_rows(leads[k], lead) for k in signature.rows], axis=-1)
    inputs = [
        np.reshape(a, (-1, *np.shape(a)[np.ndim(a) - d :]) if d else -1)
        for a, d in zip(arrays, signature.dims, strict=True)
    ]
    out = [np.empty((len(at), *shape)) for shape in shapes]
    run(at, *inputs, *out)
    return tuple(o.reshape(*lead, *shape) for o, shape in zip(out, shapes, strict=True))


def _rows(lead: tuple[int, ...], whole: tuple[int, ...]) -> Any:
    own = np.arange(int(np.prod(lead))).reshape(lead)
    return np.broadcast_to(own, whole).ravel().astype(np.int64)

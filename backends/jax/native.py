"""Native kernels as differentiable functions of JAX.

The first kernel of a process is preceded by a test: a small handler with known answers goes to XLA. If that
does not work, kernels are called through Python (``jax.pure_callback``), and if that does not either, there
are none; a warning (W741, W742) says so.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from hashlib import sha256
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.errors import Diagnostic, InternalError, error
from sbmlang.kernels.cache import load
from sbmlang.kernels.ffi import PROBE
from sbmlang.kernels.kernel import Kernel

jax.config.update("jax_enable_x64", True)

Shapes = Sequence[jax.ShapeDtypeStruct]
Attachment = Literal["ffi", "callback", "none"]


def attach(kernel: Kernel) -> Callable[[jax.Array, Sequence[Any]], jax.Array]:
    """``log_likelihood(theta, tables)`` by a native kernel.

    ``theta`` (b, P) and ``tables`` as ``Kernel`` describes them, the result is (b,), -inf where the recursion
    fails. Its derivative by ``theta`` (first order, forward and reverse) comes from one call for value and
    gradient; ``vmap`` over ``theta`` makes one call. Raises ``InternalError`` where ``attachment()`` is "none".
    """

    def both(theta: jax.Array, tables: Sequence[Any]) -> tuple[jax.Array, ...]:
        rows, count = theta.shape
        shapes = [_shape((rows,)), _shape((rows, count)), _shape((rows, 2), jnp.int64)]
        return _caller(kernel.module("value_and_grad"), "value_and_grad")(shapes, (theta,), *tables)

    # Values alone come from the same kernel: compiling a second one takes longer than it saves.
    @jax.custom_jvp
    def log_likelihood(theta: jax.Array, tables: Sequence[Any]) -> jax.Array:
        return both(theta, tables)[0]

    @log_likelihood.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        total, gradient, _ = both(*primals)
        return total, (gradient * tangents[0]).sum(-1)

    return log_likelihood


def attach_posterior(kernel: Kernel) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    """``posterior(theta, numbers, tables, rows)`` of a traced kernel: log densities (b,), predictions of the
    ``rows`` (set, row, 3) and draws of the states (b, grid, entry); see ``Kernel.posterior``.

    ``tables`` are the kernel's and ``posterior_tables``. ``vmap`` over ``theta`` and ``numbers`` makes one call.
    """

    def posterior(theta: jax.Array, numbers: jax.Array, tables: Sequence[Any], rows: int) -> Any:
        count, members = len(theta), tables[len(kernel.scan.events) + 2].shape[0] - 1
        shapes = [
            _shape((count,)), _shape((count // members, rows, 3)), _shape(numbers.shape),
            _shape((count, 2), jnp.int64),
        ]  # fmt: skip
        call = _caller(kernel.module("posterior"), "posterior")
        return call(shapes, (theta, numbers), *tables)[:3]

    return posterior


def _shape(shape: tuple[int, ...], dtype: Any = jnp.float64) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _caller(module: ModuleType, function: str) -> Callable[..., tuple[jax.Array, ...]]:
    """``call(shapes, rows, *tables)`` of a kernel: ``rows`` are arrays with an axis b, as all results have, and a
    map over them makes one call. The kernel takes the first of them before the tables, the others after."""

    def call(shapes: Shapes, rows: tuple[Any, ...], *tables: Any) -> tuple[jax.Array, ...]:
        @jax.custom_batching.custom_vmap
        def once(rows: tuple[Any, ...], tables: tuple[Any, ...]) -> tuple[jax.Array, ...]:
            return _call(module, function, shapes, rows[0], *tables, *rows[1:])

        @once.def_vmap
        def mapped(size: int, batched: Any, rows: Any, tables: Any) -> Any:
            if any(jax.tree.leaves(batched[1])):
                results = _one_by_one(partial(call, shapes), batched, rows, tables)
            else:
                wide = [_shape((size * s.shape[0], *s.shape[1:]), s.dtype) for s in shapes]
                flat = [_flat(a, size, moves) for a, moves in zip(rows, batched[0], strict=True)]
                called = call(wide, tuple(flat), *tables)
                results = tuple(r.reshape(size, *s.shape) for r, s in zip(called, shapes, strict=True))
            return results, (True,) * len(shapes)

        results: tuple[jax.Array, ...] = once(rows, tables)
        return results

    return call


def _flat(array: jax.Array, size: int, moves: bool) -> jax.Array:
    """A mapped array with the map's axis taken into its first one; one that stays, repeated."""
    whole = array if moves else jnp.broadcast_to(array, (size, *array.shape))
    return whole.reshape(size * whole.shape[1], *whole.shape[2:])


def _one_by_one(call: Callable[..., Any], batched: Any, rows: Any, tables: Any) -> Any:
    """A map over tables, which differ in what they mean: one call after the other."""
    flat, places = [*rows, *tables], [*batched[0], *batched[1]]
    moving = [a for a, moves in zip(flat, places, strict=True) if moves]

    def one(items: Sequence[Any]) -> Any:
        rest = iter(items)
        given = [next(rest) if moves else a for a, moves in zip(flat, places, strict=True)]
        return call(tuple(given[: len(rows)]), *given[len(rows) :])

    return jax.lax.map(one, moving)


def _call(module: ModuleType, function: str, shapes: Shapes, *given: Any) -> tuple[jax.Array, ...]:
    match attachment():
        case "ffi":
            return _through_ffi(module, shapes, *given)
        case "callback":
            return _through_python(getattr(module, function), shapes, *given)
        case "none":
            raise InternalError("native kernels cannot be called here")


def _through_ffi(module: ModuleType, shapes: Shapes, *given: Any) -> tuple[jax.Array, ...]:
    return tuple(jax.ffi.ffi_call(_target(module), tuple(shapes))(*given))


@cache
def _target(module: ModuleType) -> str:
    """The name under which XLA knows the module's handler."""
    name = f"sbmlang.{sha256(module.__name__.encode()).hexdigest()[:24]}"
    pointer = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(module.handler.address)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(pointer), platform="cpu")
    return name


def _through_python(function: Callable[..., None], shapes: Shapes, *given: Any) -> tuple[jax.Array, ...]:
    def call(*arrays: Any) -> tuple[Any, ...]:
        results = tuple(np.empty(s.shape, s.dtype) for s in shapes)
        function(*(np.require(a, None, ["C", "W"]) for a in arrays), *results)
        return results

    return tuple(jax.pure_callback(call, tuple(shapes), *given, vmap_method="sequential"))


@cache
def attachment() -> Attachment:
    """How kernels are called in this process, found out once by calling one with known answers."""
    direct = _problem(lambda shapes, *given: _through_ffi(load(PROBE), shapes, *given))
    if not direct:
        return "ffi"
    indirect = _problem(lambda shapes, *given: _through_python(load(PROBE).probe, shapes, *given))
    if not indirect:
        _warn(error("W741", f"native kernels are called through Python ({direct})",
                    help="each evaluation takes some 100 microseconds more; update jax and numba"))  # fmt: skip
        return "callback"
    _warn(error("W742", f"native kernels cannot be called from JAX ({direct}; {indirect})",
                help="models run in plain JAX, 25 times slower or so; update jax and numba"))  # fmt: skip
    return "none"


def _problem(call: Callable[..., tuple[jax.Array, ...]]) -> str:
    """What is wrong with a way to call the probe; "" if it gives the known answers."""
    x, k = np.array([[0.5, -2.0], [3.0, 0.25]]), np.array([7, -3])
    shapes = [_shape((2,)), _shape((2, 2), jnp.int64)]
    try:
        with jax.ensure_compile_time_eval():
            y, n = jax.jit(lambda *given: call(shapes, *given))(x, k)
            right = np.allclose(y, k + x @ [1, 2]) and np.array_equal(n, k[:, None] * [2, 2])
    except Exception as problem:  # whatever it is, there may be another way
        return f"{type(problem).__name__}: {problem}"
    return "" if right else "wrong answers"


def _warn(diagnostic: Diagnostic) -> None:
    warnings.warn(str(diagnostic), stacklevel=3)

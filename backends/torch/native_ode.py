"""Paths of differential equations by a native kernel, as a differentiable function of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.errors import SbmError, error
from sbmlang.kernels.ode import reverse_source, signature, source
from sbmlang.kernels.paths import FEW, LINES, PathKernel, path_kernel, run, sweeps_back

from . import leads
from .forcing import Points
from .generate import Generator


def native_path(writer: Generator, kernel: str) -> tuple[NativePath | None, str]:
    """The kernel for the path of a program being written, or None; and why.

    ``kernel``: "auto" takes it where the general solver is used, every expression has a scalar form, and numbers
    are float64 on the processor; "native" insists, "torch" does without. Raises ``SbmError`` E780 where "native" is
    not possible, E792 where the path is stiff and torch's solver would have to follow it.
    """
    plain = writer.dtype == "float64" and writer.device == "cpu"
    if kernel == "torch":
        found: PathKernel | str = "it was asked for"
    elif kernel == "auto" and not plain:
        found = f"numbers are {writer.dtype} on {writer.device}"
    else:
        found = path_kernel(writer, LINES if kernel == "auto" else None)
    if isinstance(found, PathKernel):
        return NativePath(found), "every equation has a scalar form"
    if kernel == "native":
        raise SbmError(error("E780", f"there is no native kernel for this path: {found}",
                             help="leave it at kernel='auto'"))  # fmt: skip
    if writer.states and writer.settings.method == "implicit":
        raise SbmError(
            error("E792", f"torch has no solver with error control for stiff equations, and no native kernel solves them here: {found}",
                  help=("kernel='native' with float64 on the processor solves them", "solver='explicit' tries it with many short steps"))
        )  # fmt: skip
    return None, found


@dataclass(frozen=True)
class NativePath:
    """A path kernel as a function of one member.

    Called with ``p`` and ``inputs`` (name -> value, forcings as ``Points``) and the ``grid`` (time,) it gives the
    states at the grid (time, state), NaN where the path cannot be followed. First derivatives with respect to ``p``
    come from sensitivities computed together with the values, or from a sweep back where those cost more. A map over
    any arguments but the grid and the times of forcings makes one call.
    """

    kernel: PathKernel

    def __call__(self, p: Mapping[str, Any], inputs: Mapping[str, Any], grid: Tensor) -> Tensor:
        series: list[Tensor] = []
        for name in self.kernel.forcings:
            points: Points = inputs[name]
            count = len(points.time)
            series += [points.time, points.value.reshape(count, -1)]
            series += [] if points.slope is None else [points.slope.reshape(count, -1)]
        vector = grid.new_tensor
        path, _ = _Path.apply(
            self, torch.is_grad_enabled(), _flat((p[n] for n in self.kernel.theta), grid),
            _flat((inputs[n] for n in self.kernel.known), grid), grid, vector(self.kernel.options),
            vector(self.kernel.jumps), *series,
        )  # fmt: skip
        return path

    @property
    def sweeps(self) -> bool:
        return sweeps_back(self.kernel.dynamics, self.kernel.method, self.kernel.adjoint("auto"))

    @property
    def carries(self) -> bool:
        """Whether sensitivities come with the path."""
        return bool(self.kernel.theta) and not self.sweeps

    def values(self, arrays: list[np.ndarray], with_slopes: bool) -> tuple[np.ndarray, np.ndarray]:
        """The path (..., time, state) and its derivatives by theta (..., time, state, parameter), or nothing."""
        few = len(self.kernel.dynamics.theta) <= FEW
        carried = self.carries and (with_slopes or few)  # one kernel for both is compiled sooner
        module = self._carried if carried else self._alone
        dynamics = self.kernel.dynamics
        shape = (len(arrays[2].ravel()), len(dynamics.states))
        shapes = [shape, (3,)] + [(*shape, len(dynamics.theta))] * carried
        path, _, *slopes = run(module.run, signature(dynamics), arrays, shapes)
        return path, slopes[0] if slopes and with_slopes else np.zeros(0)

    def swept(self, arrays: list[np.ndarray], cotangent: np.ndarray) -> np.ndarray:
        """The derivative (..., parameter) by theta of something whose derivative by the path is given."""
        shapes = [(len(self.kernel.dynamics.theta),), (3,)]
        found = run(
            self._back.run, signature(self.kernel.dynamics, reverse=True), [*arrays, cotangent], shapes
        )
        gradient: np.ndarray = found[0]
        return gradient

    @cached_property
    def _carried(self) -> Any:
        return _loaded(source(self.kernel.dynamics, self.kernel.method, sensitivities=True))

    @cached_property
    def _alone(self) -> Any:
        return _loaded(source(self.kernel.dynamics, self.kernel.method, sensitivities=False))

    @cached_property
    def _back(self) -> Any:
        return _loaded(reverse_source(self.kernel.dynamics))


def _loaded(text: str) -> Any:
    from sbmlang.kernels.cache import load

    return load(text)


class _Path(torch.autograd.Function):
    """The path (..., time, state) and its slopes, of arrays with the same number of leading axes (size 1: shared)."""

    @staticmethod
    def forward(native: NativePath, with_slopes: bool, *given: Tensor) -> tuple[Tensor, Tensor]:
        found = native.values([_double(x) for x in given], with_slopes and native.carries)
        path, slopes = (torch.as_tensor(x).to(given[0]) for x in found)
        return path, slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.native = inputs[0]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], *inputs[2:])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor, _: Tensor) -> tuple[Any, ...]:
        slopes, theta, *rest = ctx.saved_tensors
        if ctx.native.carries:
            gradient = torch.einsum("...ts,...tsp->...p", cotangent, slopes)
        else:
            arrays = [_double(x) for x in (theta, *rest)]
            gradient = torch.as_tensor(ctx.native.swept(arrays, _double(cotangent))).to(theta)
        return None, None, gradient.sum_to_size(theta.shape), *(None for _ in rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, native: NativePath, with_slopes: bool, *given: Tensor) -> Any:
        path, slopes = _Path.apply(native, with_slopes, *leads.unfolded(given, in_dims[2:]))
        return (path, slopes), (0, 0 if slopes.ndim > 1 else None)


def _flat(values: Iterable[Any], like: Tensor) -> Tensor:
    """One vector; a zero where there is nothing, as empty buffers have no address."""
    parts = [torch.ravel(torch.as_tensor(v).to(like)) for v in values]
    return torch.cat(parts) if parts else like.new_zeros(1)


def _double(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().cpu().to(torch.float64).numpy())

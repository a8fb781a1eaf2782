"""The Gaussian at the mode of a log density, with the curvature there.

Tierney & Kadane (1986), JASA 81, 82-86. Among the prior's draws the densest are climbed from; the highest mode
found is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sbmlang.errors import SbmError, error
from sbmlang.protocols import ProgressCallback

from .affine import Gaussian
from .target import Target

if TYPE_CHECKING:
    from xarray import DataTree

    from sbmlang.data.dataset import Dataset

    from .program import TorchProgram

CLIMBS = 4  # starts from which the mode is looked for
_SLOPE = 1e-2  # in standard deviations: nearer to the mode than this is near enough
_WIDEST = 1e3  # standard deviation in the unconstrained space beyond which a direction counts as flat


def run_laplace(program: TorchProgram, data: Dataset, *, draws: int, chains: int, seed: int,
                progress: ProgressCallback | None = None, proposals: int | None = None,
                keep_states: bool | None = None) -> DataTree:  # fmt: skip
    """The Laplace approximation, ``draws * chains`` draws of it, corrected by importance weights where these allow.

    ``proposals``: draws that are weighted (default: four times as many as are wanted). Raises ``SbmError`` E797
    where there is no mode with the curvature of a maximum, E714 where no prior draw has a finite density.
    """
    from .approximate import Fit

    with Fit.begin(program, data, "laplace", draws, chains, seed, progress) as fit:
        fit.say("compile", 0, 1)
        starts = fit.starts()
        fit.meter.mark("train")
        found = find_mode(fit.target, starts)
        if found is None:
            raise no_mode()
        return fit.finished(found, {"proposals": proposals}, keep_states=keep_states)


def find_mode(target: Target, starts: np.ndarray, *, steps: int = 500) -> Gaussian | None:
    """The Gaussian at the highest mode reached from ``starts`` (n, D) by BFGS and then Newton.

    None where there is no such mode: the climb does not end (a hierarchical density that grows without bound as a
    spread goes to zero), or the curvature there is not that of a maximum.
    """
    options = {"maxiter": steps, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-6}
    climbed = [
        minimize(_negative(target), u, jac=True, method="L-BFGS-B", options=options) for u in starts[:CLIMBS]
    ]
    u = min(climbed, key=lambda end: float(end.fun)).x
    negative = _negative(target)
    for _ in range(8):
        covariance = _covariance(target, u)
        if covariance is None:
            return None
        root = np.linalg.cholesky(covariance)
        step = -covariance @ negative(u)[1]
        if np.linalg.norm(np.linalg.solve(root, step)) < _SLOPE:
            return Gaussian(torch.from_numpy(u.copy()), torch.from_numpy(root))
        u = _shorter(negative, u, step)
    return None


def _negative(target: Target) -> Any:
    """Minus the log density with its gradient, of one vector, as scipy takes it."""

    worst = -np.inf

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal worst
        value, slope = target.value_and_grad(torch.from_numpy(np.array(u))[None])
        if not torch.isfinite(value[0]):
            return worst, np.zeros_like(u)  # a huge number would mislead the line search's interpolation
        worst = max(worst, -float(value[0]))
        return -float(value[0]), -slope[0].numpy().astype(float)

    return negative


def _covariance(target: Target, u: np.ndarray, step: float = 1e-4) -> np.ndarray | None:
    """The inverse Hessian by central differences of gradients, all in one call; None where it is not that of a
    maximum."""
    around = np.concatenate([u + step * np.eye(len(u)), u - step * np.eye(len(u))])
    value, slope = target.value_and_grad(torch.from_numpy(around))
    if not torch.isfinite(value).all():
        return None
    ahead, behind = slope.numpy().reshape(2, len(u), len(u))
    hessian = (behind - ahead) / (2 * step)
    sizes, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    if not np.isfinite(sizes).all() or sizes[0] < _WIDEST**-2:
        return None
    covariance: np.ndarray = (axes / sizes) @ axes.T
    return covariance


def _shorter(negative: Any, u: np.ndarray, step: np.ndarray) -> np.ndarray:
    """``u + step``, or a shorter step that goes down."""
    here = negative(u)[0]
    for k in range(20):
        if negative(u + step * 0.5**k)[0] < here:
            return u + step * 0.5**k
    return u


def best_of(target: Target, candidates: Tensor) -> np.ndarray:
    """Candidates (n, D) with a finite log density, the densest first. Raises ``SbmError`` E714 where there is none."""
    values = target.values(candidates)
    order = values.argsort(descending=True)[: int(torch.isfinite(values).sum())]
    if not len(order):
        raise SbmError(
            error("E714", f"the posterior density is not finite at any of {len(candidates)} draws from the prior",
                  help=("look at the prior draws: sbm simulate, sbm priors",
                        "usual causes: a value outside its law's support, or a path that cannot be solved"))
        )  # fmt: skip
    return candidates[order].double().numpy()


def no_mode() -> SbmError:
    return SbmError(
        error("E797", "the log density has no mode with the curvature of a maximum, so there is no Laplace approximation",
              help=("a spread that may go to zero, or a parameter that neither data nor prior inform, is the usual reason",
                    "method='pathfinder' and method='flow' do without; so does method='nuts' of the jax backend"))
    )  # fmt: skip

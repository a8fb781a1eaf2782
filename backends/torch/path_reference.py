"""Where paths and parameters are likely: the reference that structured approximations are built around.

Paths: the mode given the parameters, by Gauss-Newton steps each of which is one linear smoother (``path_linear``), cut
short where a whole step would not go up. Parameters: the mode of the Laplace approximation of the marginal density

    log p(theta, rows) ~ log p(theta, y, rows) - log q(y | theta)      at the mean y of q(. | theta),

and its curvature there.

Tierney & Kadane (1986), J. Amer. Statist. Assoc. 81, 82-86; Rue, Martino & Chopin (2009), J. R. Statist. Soc. B 71,
319-392.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sbmlang.errors import SbmError, error

from .affine import Gaussian
from .path_coordinates import BEND, inside, places, states
from .path_joint import JointPath, Parameters
from .path_linear import Corrections, LinearPath

ROUNDS = 8  # of a path's mode and then a parameters' mode
STEPS = 40  # of Gauss-Newton for a path
CLIMB = 40  # of quasi-Newton for parameters in one round
NEAR = 1e-3  # standard deviations of the prior between two rounds: the mode is found
WIDEST = 3.0  # prior standard deviations that the base may have in any direction


class Reference(NamedTuple):
    """``joint`` with coordinates that suit the path, the ``path`` (state, member, time) in these, and the Gaussian
    ``base`` of the parameters there. ``gradients`` counts evaluations."""

    joint: JointPath
    path: Tensor
    base: Gaussian
    gradients: int


def reference(joint: JointPath, seed: int = 0) -> Reference:
    """The mode of parameters and path, from the middle of the prior.

    Raises ``SbmError`` E784 where no path has a finite density there.
    """
    centre, spread = _prior(joint, seed)
    u, gradients = centre, 0
    joint, path = _first_path(joint, u)
    for _ in range(ROUNDS):
        path = path_mode(joint, u, path)
        before = u
        u, more = _climb(joint, path, u, spread)
        gradients += more
        if bool(((u - before).abs() < NEAR * spread).all()):
            break
    path = path_mode(joint, u, path)
    root = _root(joint, path, u, spread)
    return Reference(joint, path, Gaussian(u.double(), root), gradients + 2 * len(u))


def no_corrections(joint: JointPath) -> Corrections:
    path = joint.path
    zeros = path.tensor(np.zeros(path.size))
    return Corrections(
        zeros, path.tensor(np.zeros(len(path.form.emissions))), zeros[:, None].expand(-1, path.steps)
    )


def evidence(joint: JointPath, path: Tensor, u: Tensor) -> Tensor:
    """The Laplace approximation of log p(theta, rows) at u (draw, D), with the linear model around ``path``."""
    at = joint.parameters(u)
    y, log_q = mean_path(joint, path, at)
    return joint.log_density(at, y) - log_q


def mean_path(joint: JointPath, path: Tensor, at: Parameters) -> tuple[Tensor, Tensor]:
    """The mean (state, draw, member, time) of the linear model's path given the rows, and its log density there."""
    linear = LinearPath(joint.path, path)
    law = linear.law(at.theta, no_corrections(joint))
    still = path.new_zeros(law.shape)
    return linear.placed(law.draw(still), at.theta), law.log_density(still).sum(-1)


# --- paths -----------------------------------------------------------------------------------------------


def path_mode(joint: JointPath, u: Tensor, path: Tensor) -> Tensor:
    """The likeliest path (state, member, time) for parameters u (D,), from ``path``."""
    with torch.no_grad():
        at = joint.parameters(u[None])
        here = float(joint.log_density(at, path[:, None]))
        for _ in range(STEPS):
            aim, _ = mean_path(joint, path, at)
            found = _shorter(joint, at, path, aim[:, 0] - path, here)
            if found is None:
                return path
            path, there = found
            if np.isfinite(here) and there - here < 1e-9 * (1 + abs(here)):
                return path
            here = there
    return path


def _shorter(
    joint: JointPath, at: Parameters, path: Tensor, step: Tensor, here: float
) -> tuple[Tensor, float] | None:
    """The path after a whole step or a part of it that goes up; None where none does."""
    for k in range(12):
        new = path + step * 0.5**k
        there = float(joint.log_density(at, new[:, None]))
        if np.isfinite(there) and (there > here or not np.isfinite(here)):
            return new, there
    return None


def _first_path(joint: JointPath, u: Tensor) -> tuple[JointPath, Tensor]:
    """A path that stays where it starts, and coordinates that bend only far below it."""
    with torch.no_grad():
        at = joint.parameters(u[None])
        x = inside(joint.path.maps, joint.path.start(at.theta).mean[:, 0])
        sizes = x.abs().mean(-1).sqrt()
        bent = tuple(
            replace(m, bend=max(BEND * float(r), 1e-6)) if m.kind == "root" else m
            for m, r in zip(joint.path.maps, sizes, strict=True)
        )
        joint = joint.mapped_by(bent)
        y = places(bent, x)[..., None].expand(-1, -1, joint.path.steps + 1).clone()
        y = path_mode(joint, u, y)
        if not bool(torch.isfinite(joint.log_density(at, y[:, None])).all()):
            raise _no_path()
        return _straightened(joint, y)


def _straightened(joint: JointPath, y: Tensor) -> tuple[JointPath, Tensor]:
    """The same path in coordinates whose bends lie below all of it."""
    x = states(joint.path.maps, y)
    bent = tuple(
        replace(m, bend=max(BEND * float(torch.sqrt(v.median())), 1e-6)) if m.kind == "root" else m
        for m, v in zip(joint.path.maps, x, strict=True)
    )
    return joint.mapped_by(bent), places(bent, x)


def _no_path() -> SbmError:
    return SbmError(
        error("E784", "no path has a finite density at the middle of the prior",
              help=("states with a bound or with noise that needs them positive may start beyond it: see the start laws",
                    "sbm simulate shows what paths the model makes"))
    )  # fmt: skip


# --- parameters ------------------------------------------------------------------------------------------


def _prior(joint: JointPath, seed: int) -> tuple[Tensor, Tensor]:
    """Median and standard deviation (D,) of the prior in the unconstrained space."""
    draws = joint.program.prior_draws(joint.dataset, 500, seed)
    u = joint.program.unconstrain(draws, joint.dataset)
    half = (torch.quantile(u, 0.84, dim=0) - torch.quantile(u, 0.16, dim=0)) / 2
    return u.median(0).values, half


def _climb(joint: JointPath, path: Tensor, u: Tensor, spread: Tensor) -> tuple[Tensor, int]:
    """Towards the mode of the evidence from u (D,), in units of the prior."""
    count = 0

    def negative(v: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        at = (u + spread * torch.as_tensor(v, dtype=u.dtype, device=u.device)).requires_grad_()
        value = evidence(joint, path, at[None])[0]
        (slope,) = torch.autograd.grad(value, at)
        if not (torch.isfinite(value) and torch.isfinite(slope).all()):
            return 1e300, np.zeros_like(v)
        return -float(value.detach()), -(slope * spread).cpu().numpy().astype(float)

    options = {"maxiter": CLIMB, "maxcor": 20, "ftol": 1e-10}
    found = minimize(negative, np.zeros(len(u)), jac=True, method="L-BFGS-B", options=options).x
    return u + spread * torch.as_tensor(found, dtype=u.dtype, device=u.device), count


def _root(joint: JointPath, path: Tensor, u: Tensor, spread: Tensor) -> Tensor:
    """The Cholesky factor (D, D) of the covariance that the curvature at u tells, no wider than the prior allows."""
    size, step = len(u), 1e-3
    moves = torch.cat([torch.eye(size), -torch.eye(size)]).to(u) * step * spread
    at = (u + moves).requires_grad_()
    (slopes,) = torch.autograd.grad(evidence(joint, path, at).sum(), at)
    hessian = -(slopes[:size] - slopes[size:]) * spread / (2 * step)
    sizes, axes = torch.linalg.eigh((hessian + hessian.T).double() / 2)
    covariance = (axes / sizes.clamp(min=WIDEST**-2)) @ axes.T
    return torch.linalg.cholesky(covariance * spread.double()[:, None] * spread.double())

"""``method="flow-matching"``: a velocity field trained on straight ways from noise to data.

x(t) = (1 - t) e + t z with noise e, velocity z - e; an ODE from t = 0 to 1 gives draws. Times lie denser near the data
(t = 1 - (1 - u)^2), where posteriors are narrow and velocities turn.

Lipman, Chen, Ben-Hamu, Nickel & Le (2023), arXiv:2210.02747; Wildberger et al. (2023), arXiv:2305.17161 (in
simulation-based inference, with skewed times).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .generative import Generative, stratified
from .transport import carried_adaptively

CLOCK = math.pi / 8  # of the network, by log sigma, sigma = (1 - t)/t being noise over data
LARGEST, SMALLEST = 80.0, 0.002  # sigma that the network is told; beyond, it is told these
TOLERANCE = 1e-5


class FlowMatching(Generative):
    """The law at t = 1. ``solver``: "heun" takes ``levels`` fixed steps, any other name is torchdiffeq's
    ("dopri5", ...), whose steps follow a tolerance of 1e-5."""

    def __init__(self, dimension: int, context: int, *, seed: int = 0, width: int = 128, blocks: int = 4,
                 levels: int = 32, solver: str = "heun") -> None:  # fmt: skip
        super().__init__(
            dimension, context, seed=seed, width=width, blocks=blocks, levels=levels, solver=solver
        )
        self.solver = solver

    def loss(self, z: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        t = skewed(stratified(len(z), generator))
        noise = torch.randn(z.shape, generator=generator)
        x = (1 - t[:, None]) * noise + t[:, None] * z
        return (self.velocity(x, t, context) - (z - noise)).square().sum(-1)

    def velocity(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        log_sigma = ((1 - t) / t).clamp(SMALLEST, LARGEST).log()
        return self.network(x, CLOCK * log_sigma.expand(context.shape[:-1]), context)

    def times(self) -> Tensor:
        return skewed(torch.linspace(0, 1, self.levels + 1))

    def _carried(self, noise: Tensor, context: Tensor) -> Tensor:
        if self.solver == "heun":
            return super()._carried(noise, context)
        field = lambda x, t: self.velocity(x, t, context)  # noqa: E731
        return carried_adaptively(field, noise, self.times(), self.solver, TOLERANCE)


def skewed(u: Tensor) -> Tensor:
    """Times from even ones, denser towards 1."""
    return 1 - (1 - u).square()

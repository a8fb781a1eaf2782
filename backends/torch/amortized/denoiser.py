"""``method="diffusion"``: a conditional denoiser with the preconditioning of Karras et al. (2022), arXiv:2206.00364.

With data of variance 1 their network F stands in D(x, sigma) = x/(1 + sigma^2) + sigma/sqrt(1 + sigma^2) F, and their
weights make the loss of F a plain square. In x / sqrt(1 + sigma^2), at the angle phi = atan(sigma), this reads

    x(phi) = cos(phi) z + sin(phi) e,    F = sin(phi) z - cos(phi) e,    dx/dphi = -F,

so that the probability flow is the network itself, without a division by sigma, from N(0, I) at pi/2 to data at 0
(Lu & Song 2024, arXiv:2410.11081). azula's KarrasDenoiser and HeunSampler are the same in the other coordinates, which
a test holds; they end short of sigma = 0, draw their noise from torch's global generator and know no densities, which
is why they do not stand here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .generative import Generative, stratified

NOISE = (-1.2, 1.2)  # mean and sd of log sigma in training
EVEN = 0.2  # share of training with even angles
LARGEST, SMALLEST = 80.0, 0.002  # sigma that the network is told; beyond, it is told these
DENSER = 3  # power by which levels crowd towards the data; a quarter of the error of Karras' own levels on two_moons


class Denoiser(Generative):
    """The law whose denoiser is D; ``levels`` of noise are passed by Heun's rule, two evaluations each."""

    def __init__(self, dimension: int, context: int, *, seed: int = 0, width: int = 128, blocks: int = 4,
                 levels: int = 32) -> None:  # fmt: skip
        super().__init__(dimension, context, seed=seed, width=width, blocks=blocks, levels=levels)

    def loss(self, z: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        phi = levels_of_noise(len(z), generator)
        noise = torch.randn(z.shape, generator=generator)
        cos, sin = phi.cos()[:, None], phi.sin()[:, None]
        found = self.velocity(cos * z + sin * noise, phi, context)
        return (found - (cos * noise - sin * z)).square().sum(-1)

    def velocity(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        sigma = t.sin() / t.cos().clamp_min(1e-6)  # of single precision, pi/2 is beyond pi/2
        log_sigma = sigma.clamp(SMALLEST, LARGEST).log()
        return -self.network(x, math.pi / 8 * log_sigma.expand(context.shape[:-1]), context)

    def times(self) -> Tensor:
        return math.pi / 2 * torch.linspace(1, 0, self.levels + 1).pow(DENSER)


def levels_of_noise(count: int, generator: torch.Generator) -> Tensor:
    """Angles atan(sigma) (count,), one from each of ``count`` equal shares of their law: sigma is log-normal, and for
    the share ``EVEN`` the angle is uniform, so that the flow's first steps, almost all noise, are learnt too."""
    share = stratified(count, generator)
    mean, sd = NOISE
    inner = ((share - EVEN) / (1 - EVEN)).clamp(1e-6, 1 - 1e-6)
    return torch.where(
        share < EVEN, math.pi / 2 * share / EVEN, (mean + sd * torch.special.ndtri(inner)).exp().atan()
    )

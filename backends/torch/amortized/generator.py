"""A direct generator: a small network from noise to draws, learnt from labels by least squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from .conditional import Conditional


class Generator(Conditional):
    """G(noise), standardised by mean and sd of the labels. In training the context is the noise of each label.

    Its density is not known: G need not be one-to-one.
    """

    density_is_cheap: ClassVar[bool] = False

    def __init__(self, dimension: int, context: int, *, seed: int = 0, width: int = 64) -> None:
        super().__init__(dimension, context, seed=seed, width=width)
        self.register_buffer("location", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.straight = nn.Linear(dimension, dimension)
            self.bent = nn.Sequential(
                nn.Linear(dimension, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dimension)
            )  # fmt: skip

    def standardise(self, labels: Tensor) -> None:
        """Takes location and scale from labels (n, d)."""
        self.location.copy_(labels.mean(0))
        self.scale.copy_(labels.std(0).clamp_min(1e-9))

    def forward(self, noise: Tensor) -> Tensor:
        """z (..., d) of noise (..., d)."""
        return self.location + self.scale * (self.straight(noise) + self.bent(noise))

    def loss(self, z: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        return ((self(context) - z) / self.scale).square().sum(-1)

    @torch.no_grad()
    def sample(self, context: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draws; of the context only the number matters, the generator knows one observation."""
        found: Tensor = self(torch.randn(*context.shape[:-1], count, self.dimension, generator=generator))
        return found

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        raise NotImplementedError("a direct generator has no density")


class Noise(nn.Module):
    """Stands before the generator where features stand before other networks: noise is handed on as it is."""

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return inputs["noise"]

    def augment(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> Mapping[str, Tensor]:
        return inputs

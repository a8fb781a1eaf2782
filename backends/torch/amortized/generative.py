"""What denoisers and velocity fields have in common: a law of z that is noise carried along a learnt velocity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..affine import standard_normal
from .backbone import Backbone
from .conditional import Conditional
from .transport import carried, carried_with_volume

ROWS = 20_000  # draws that are carried together


class Generative(Conditional):
    """N(0, I) carried by ``velocity`` over ``times``; subclasses say what it is trained on and how time runs.

    Draws go towards the posterior of prior and likelihood as the simulations had them.
    """

    density_is_cheap: ClassVar[bool] = False

    def __init__(self, dimension: int, context: int, *, seed: int, width: int, blocks: int, levels: int,
                 **configuration: Any) -> None:  # fmt: skip
        super().__init__(
            dimension, context, seed=seed, width=width, blocks=blocks, levels=levels, **configuration
        )
        self.levels = levels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Backbone(dimension, context, width, blocks)

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """dx/dt (..., d) at x (..., d), t () or (...), context (..., c)."""

    @abstractmethod
    def times(self) -> Tensor:
        """(level,) from noise to data."""

    @torch.no_grad()
    def sample(self, context: Tensor, count: int, generator: torch.Generator) -> Tensor:
        contexts = context.reshape(-1, context.shape[-1])
        noise = torch.randn(len(contexts), count, self.dimension, generator=generator)
        z = torch.empty_like(noise)
        for which, draws in _pieces(len(contexts), count):
            z[which, draws] = self._carried(noise[which, draws], contexts[which][:, None])
        return z[0] if context.ndim == 1 else z

    def _carried(self, noise: Tensor, context: Tensor) -> Tensor:
        return carried(lambda x, t: self.velocity(x, t, context), noise, self.times())

    @torch.no_grad()
    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Exact up to the steps in time: each draw goes back to the noise that it came from.

        Costs (d + 1) times as much as a draw.
        """
        contexts = context.reshape(-1, context.shape[-1])
        given = z.to(contexts.dtype).reshape(len(contexts), -1, self.dimension)
        log_q = given.new_empty(given.shape[:-1])
        for which, draws in _pieces(len(contexts), given.shape[1]):
            here = contexts[which][:, None]
            noise, volume = carried_with_volume(
                lambda x, t, c=here: self.velocity(x, t, c), given[which, draws], self.times().flip(0)
            )
            log_q[which, draws] = standard_normal(noise) + volume
        return log_q.reshape(z.shape[:-1])


def _pieces(contexts: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Positions of contexts and draws, at most ``ROWS`` together."""
    several = max(1, ROWS // max(count, 1))
    for first in range(0, contexts, several):
        for draw in range(0, count, ROWS):
            yield slice(first, first + several), slice(draw, draw + ROWS)


def stratified(count: int, generator: torch.Generator) -> Tensor:
    """Uniform numbers (count,), one from each of ``count`` equal parts of [0, 1], in random order."""
    return (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count

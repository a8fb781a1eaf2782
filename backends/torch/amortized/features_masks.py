"""Random patterns of missing observations, so that a network learns to do without any of them.

One run in three is left whole. Of the others a random share of the rows is missing: single rows, a stretch of time, or
whole channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 1 / 3  # of the runs are left as they are
STRETCH, CHANNEL = 0.3, 0.2  # of the others lose a stretch of time, or a channel


def thinned(seen: Tensor, rank: Tensor, channel: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """``seen`` (n, row) with up to a share ``most`` of the rows taken away; a run keeps at least one row.

    ``rank`` (row,) in [0, 1] is each row's place in time, ``channel`` (row,) its channel.
    """
    n, rows = seen.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    share = most * uniform(n, 1)
    lost = uniform(n, rows) < share
    begin = uniform(n, 1) * (1 + share) - share
    stretch = (rank >= begin) & (rank < begin + share) & (uniform(n, 1) < STRETCH)
    channels = int(channel.max()) + 1 if rows else 0
    if channels > 1:
        gone = torch.randint(channels, (n, 1), generator=generator)
        stretch |= (channel == gone) & (uniform(n, 1) < CHANNEL * most)
    kept = seen & (~(lost | stretch) | (uniform(n, 1) < WHOLE))
    return torch.where(kept.any(1, keepdim=True), kept, seen)

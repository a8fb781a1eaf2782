"""Moments of exchangeable rows: all that a Gaussian likelihood needs of them, in few numbers.

Of each event its mean over the members, log sd at a quarter of its scale, mean/sd, and where events are few atanh of
the correlation of every two; the number of members seen, where some may be missing.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from .features_plates import Plate

PAIRS = 8  # events up to which correlations are told
TINY = 1e-12


def moments(plate: Plate, values: Tensor, seen: Tensor, *, counts: bool) -> Tensor:
    """Moments (n, k) of ``values`` (n, row), of which those ``seen`` (n, row) are there; 0 where nothing is.

    ``counts`` adds how many members each event has.
    """
    rows = torch.as_tensor(plate.rows, device=values.device)
    x, here = values[:, rows], seen[:, rows].to(values)
    count = here.sum(1)
    some = count.clamp_min(1)
    mean = (x * here).sum(1) / some
    apart = (x - mean[:, None]) * here
    variance = (apart**2).sum(1) / some
    sd = (variance + TINY * (1 + mean**2)).sqrt()
    parts = [mean, torch.where(count > 1, sd.log() / 4, 0.0)]
    if len(rows) > 2:  # the sd of two is too rough to divide by
        parts.append(torch.where(count > 1, mean / sd, 0.0))
    if _correlated(plate):
        parts += [_correlation(apart, here, i, j) for i, j in combinations(range(rows.shape[1]), 2)]
    return torch.cat([*parts, *([torch.log1p(count)] if counts else [])], dim=1)


def _correlated(plate: Plate) -> bool:
    """Whether correlations are told: whole members, at least three, with few events."""
    members, events = plate.rows.shape
    return plate.jointly and members > 2 and 1 < events <= PAIRS


def _correlation(apart: Tensor, here: Tensor, i: int, j: int) -> Tensor:
    both = here[..., i] * here[..., j]
    cross = (apart[..., i] * apart[..., j] * both).sum(1)
    size = ((apart[..., i] ** 2 * both).sum(1) * (apart[..., j] ** 2 * both).sum(1)).sqrt()
    found = torch.atanh((cross / size.clamp_min(TINY)).clamp(-0.999, 0.999))
    return torch.where(both.sum(1) > 2, found, 0.0)[:, None]


def permuted(plate: Plate, columns: Tensor, generator: torch.Generator) -> Tensor:
    """For each run the columns (n, row) in a random order of the plate's members: positions (n, row) to gather."""
    rows = torch.as_tensor(plate.rows, device=columns.device)
    members, events = rows.shape
    wide = 1 if plate.jointly else events
    noise = torch.rand(len(columns), members, wide, generator=generator)
    order = noise.argsort(dim=1).expand(-1, -1, events)
    moved = torch.gather(columns[:, rows.reshape(-1)].reshape(len(columns), members, events), 1, order)
    result = columns.clone()
    result[:, rows.reshape(-1)] = moved.reshape(len(columns), -1)
    return result

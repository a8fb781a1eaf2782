"""Training of a conditional network and the features in front of it, on simulated pairs.

AdamW with a rate that warms up and goes down as a cosine; the weights that are kept are running means of those
visited, scored on pairs held back, the best of them in the end.

Loshchilov & Hutter (2019), arXiv:1711.05101 (AdamW); Polyak & Juditsky (1992), SIAM J. Control Optim. 30, 838-855
(averaging); Izmailov et al. (2018), arXiv:1803.05407.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sbmlang.errors import SbmError, error

if TYPE_CHECKING:
    from .conditional import Conditional

Inputs = Mapping[str, Tensor]  # what ``Features.encode`` gives, the runs along the first axis
Ending = Literal["steps", "no gain", "time"]
ROWS = 4096  # of validation in one call


@dataclass(frozen=True)
class Settings:
    """How to train. ``time_limit`` is in seconds; the rate goes down with whichever of steps and time is nearer its
    end. ``repeats`` is how often a loss with random numbers in it is asked for each validation pair.
    """

    steps: int = 4000
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05  # share of the steps
    clip: float = 5.0  # of the gradient's norm
    averaging: float = 0.995
    validation: float = 0.1  # share of the pairs
    every: int = 200  # steps between two scores
    patience: int = 10  # scores without gain after which training ends
    repeats: int = 1
    time_limit: float = math.inf


@dataclass
class History:
    """What happened, score by score, in lists of equal length; ``best`` is the step whose weights were kept."""

    step: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)  # mean loss since the score before
    validation: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: int = 0
    ending: Ending = "steps"
    pairs: int = 0
    parameters: int = 0

    @property
    def loss(self) -> float:
        """Validation loss of the weights that were kept."""
        return min(self.validation, default=math.inf)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


Tell = Callable[[int, Settings, History], None]


def train(conditional: Conditional, features: nn.Module, z: Tensor, inputs: Inputs, settings: Settings,
          generator: torch.Generator, tell: Tell = lambda *_: None) -> History:  # fmt: skip
    """Fits ``conditional`` and ``features`` in place to z (n, d) given inputs (n, ...), both left in evaluation mode.

    ``features.augment(inputs, generator)`` is asked anew for every batch, and once for the pairs held back.
    ``tell(step, settings, history)`` is called after every tenth step.

    Raises ``SbmError`` E861: fewer than 20 pairs, or a loss that stays without a finite value.
    """
    held = max(1, round(settings.validation * len(z)))
    if len(z) < 20:
        raise SbmError(error("E861", f"{len(z)} simulations are too few to train a network on", help="give at least 20, better thousands"))  # fmt: skip
    order = torch.randperm(len(z), generator=generator)
    held_back, used = order[:held], order[held:]
    both = nn.ModuleDict({"features": features, "conditional": conditional})
    mean, best = deepcopy(both), deepcopy(both.state_dict())
    optimiser = torch.optim.AdamW(both.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)  # fmt: skip
    history = History(pairs=len(z), parameters=sum(w.numel() for w in both.parameters()))
    score_seed = int(torch.randint(2**31, (), generator=generator))
    begun, sums, finite = time.perf_counter(), 0.0, 0
    both.train()
    batches = _batches(used, settings.batch, generator)
    for step in range(1, settings.steps + 1):
        elapsed = time.perf_counter() - begun
        rows = next(batches)
        given = features.augment({n: x[rows] for n, x in inputs.items()}, generator)
        loss = conditional.loss(z[rows], features(given), generator).mean()
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(both.parameters(), settings.clip)
        for group in optimiser.param_groups:
            group["lr"] = _rate(settings, step, elapsed)
        if torch.isfinite(norm):
            optimiser.step()
            sums, finite = sums + float(loss.detach()), finite + 1
        _average(mean, both, min(settings.averaging, step / (step + 10)))
        last = step == settings.steps or elapsed >= settings.time_limit
        if last or step % settings.every == 0:
            value = _score(mean, z, inputs, held_back, settings, score_seed)
            history.step.append(step)
            history.training.append(sums / max(finite, 1))
            history.validation.append(value)
            history.seconds.append(time.perf_counter() - begun)
            sums, finite = 0.0, 0
            if value <= history.loss:
                best, history.best = deepcopy(mean.state_dict()), step
            if last or (step - history.best) >= settings.patience * settings.every:
                history.ending = "steps" if step == settings.steps else "time" if last else "no gain"
                break
        if step % 10 == 0:
            tell(step, settings, history)
    if not math.isfinite(history.loss):
        raise SbmError(error("E861", "training found no finite loss", help="a lower learning_rate= may help; look for infinite values in the simulations"))  # fmt: skip
    both.load_state_dict(best)
    both.eval().requires_grad_(False)
    return history


def _batches(used: Tensor, size: int, generator: torch.Generator) -> Any:
    """Positions of one batch after the other; each pair once before any comes again."""
    while True:
        shuffled = used[torch.randperm(len(used), generator=generator)]
        whole = len(shuffled) // size * size or len(shuffled)
        yield from shuffled[:whole].split(size)


def _rate(s: Settings, step: int, elapsed: float) -> float:
    done = min(max(step / s.steps, elapsed / s.time_limit), 1.0)
    warm = min(1.0, step / max(s.warmup * s.steps, 1.0))
    return s.learning_rate * warm * (1 + math.cos(math.pi * done)) / 2


@torch.no_grad()
def _average(mean: nn.Module, now: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(mean.parameters()), list(now.parameters()), 1 - keep)
    for kept, value in zip(mean.buffers(), now.buffers(), strict=True):
        kept.copy_(value)


@torch.no_grad()
def _score(mean: nn.ModuleDict, z: Tensor, inputs: Inputs, rows: Tensor, s: Settings, seed: int) -> float:
    """Mean loss over the pairs held back, rows hidden as in training, with the same random numbers each time."""
    mean.eval()
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for part in rows.repeat(s.repeats).split(ROWS):
        given = mean["features"].augment({n: x[part] for n, x in inputs.items()}, generator)
        loss = mean["conditional"].loss(z[part], mean["features"](given), generator)
        total += float(loss.double().sum())
    mean.train()
    return total / (len(rows) * s.repeats)

"""Training of an approximation q by maximising the evidence lower bound E_q[log p(u) - log q(u)].

Gradients are path derivatives ("sticking the landing"): with u = T(z), the mean over z of
(d log p/du - d log q/du) du/dweights, log q as a function of u alone. Its noise vanishes as q comes near p, and it
vanishes at q = p for every z. So half of the draws z are taken WIDER than standard normal, from where q would
otherwise learn too rarely: importance weights of the result are decided in its tails. Only the other half enter
the ELBO that is reported.

The learning rate warms up, goes down by a factor each time the ELBO stops rising, and training ends when it
stops rising at the smallest rate. The result is the running mean of the weights.

Roeder, Wu & Duvenaud (2017), arXiv:1703.09194 (path derivative); Kingma & Ba (2015), arXiv:1412.6980 (Adam);
Polyak & Juditsky (1992), SIAM J. Control Optim. 30, 838-855 (averaging).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sbmlang.errors import SbmError, error

from .affine import standard_normal
from .flow_network import Flow
from .target import Target

WIDE = 1.2  # standard deviation of the wider draws of z
Ending = Literal["plateau", "iterations", "time"]


@dataclass(frozen=True)
class Settings:
    """How to train. ``time_limit`` in seconds; rates fall by ``fall`` until ``falls`` times have passed."""

    iterations: int = 4000
    time_limit: float = math.inf
    batch: int = 32
    learning_rate: float = 3e-3
    warmup: int = 100
    window: int = 100  # iterations whose mean ELBO is compared with that of those before
    fall: float = 0.3
    falls: int = 3
    clip: float = 20.0  # of the gradient's norm
    averaging: float = 0.995
    last: float = 0.25  # share of iterations or time in which the rate goes down to zero, if they run out


@dataclass
class Trace:
    """What happened in each iteration, in lists of equal length."""

    elbo: list[float] = field(default_factory=list)
    elbo_se: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.elbo)

    def add(self, *values: float) -> None:
        for kept, value in zip(vars(self).values(), values, strict=True):
            kept.append(float(value))

    def mean_elbo(self, end: int, width: int) -> tuple[float, float]:
        """Mean of the ``width`` values before ``end`` and its standard error, those not finite left out."""
        values = torch.tensor(self.elbo[max(end - width, 0) : end], dtype=torch.float64)
        values = values[torch.isfinite(values)]
        if len(values) < 2:
            return -math.inf, math.inf
        return float(values.mean()), float(values.std() / math.sqrt(len(values)))


@dataclass
class Training:
    """A training that can be left and taken up: the weights, their running mean, and how far it is."""

    q: Flow
    settings: Settings
    generator: torch.Generator
    mean: Flow = field(init=False)
    optimiser: torch.optim.Adam = field(init=False)
    trace: Trace = field(default_factory=Trace)
    fallen: int = 0
    since: int = 0  # the iteration at which the rate fell last
    dropped: int = 0  # draws without a finite log density
    ending: Ending | None = None

    def __post_init__(self) -> None:
        self.mean = deepcopy(self.q)
        self.optimiser = torch.optim.Adam(self._weights(), lr=self.settings.learning_rate)

    def _weights(self) -> list[nn.Parameter]:
        return [w for w in self.q.parameters() if w.requires_grad]

    def state(self) -> dict[str, Any]:
        """All of it in plain values and tensors, for a checkpoint."""
        return {
            "q": self.q.state_dict(),
            "base": (self.q.base.mean, self.q.base.root),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "trace": vars(self.trace),
            "progress": {k: getattr(self, k) for k in ("fallen", "since", "dropped")},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes up where ``state`` was; the flow must be of the same family, size and base."""
        self.q.load_state_dict(state["q"])
        self.mean.load_state_dict(state["mean"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.trace = Trace(**state["trace"])
        for name, value in state["progress"].items():
            setattr(self, name, value)

    def run(self, target: Target, tell: Callable[[Training], None] = lambda _: None) -> Flow:
        """Trains until an end is reached and returns the mean q; ``tell`` is called after each iteration.

        Raises ``SbmError`` E798 when no draw of a whole window has a finite log density.
        """
        before = self.trace.seconds[-1] if self.trace.seconds else 0.0
        begun = time.perf_counter()
        while self.ending is None:
            self._step(target, before + time.perf_counter() - begun)
            self._watch()
            tell(self)
        return self.mean

    def _step(self, target: Target, elapsed: float) -> None:
        s, half = self.settings, self.settings.batch // 2
        rate = self._rate(elapsed)
        z = torch.randn(s.batch, self.q.dimension, generator=self.generator, dtype=torch.float64)
        z[half:] *= WIDE
        u, volume = self.q.push(z)
        value, slope = target.value_and_grad(u)
        usable = torch.isfinite(value)
        self.dropped += int((~usable).sum())
        own = torch.where(usable[:, None], path_gradient(self.q, u), 0.0)
        self.optimiser.zero_grad()
        u.backward((own - slope) / max(int(usable.sum()), 1))
        norm = nn.utils.clip_grad_norm_(self._weights(), s.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if torch.isfinite(norm):
            self.optimiser.step()
        self._average()
        bound = (value - standard_normal(z) + volume.detach())[:half][usable[:half]]
        mean = bound.mean() if len(bound) else torch.tensor(-math.inf)
        se = bound.std() / math.sqrt(len(bound)) if len(bound) > 1 else torch.tensor(math.inf)
        self.trace.add(mean, se, norm, rate, elapsed)

    def _rate(self, elapsed: float) -> float:
        s, done = self.settings, len(self.trace)
        left = 1 - max(done / s.iterations, elapsed / s.time_limit)
        warm, cool = min(1.0, (done + 1) / s.warmup), min(1.0, max(left, 0.0) / s.last)
        return s.learning_rate * warm * cool * s.fall**self.fallen

    def _average(self) -> None:
        """The running mean, over fewer iterations at the beginning."""
        done = len(self.trace)
        weight = 1 - min(self.settings.averaging, (done + 1) / (done + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.q.parameters()), weight)

    def _watch(self) -> None:
        s, done = self.settings, len(self.trace)
        if done >= s.iterations:
            self.ending = "iterations"
        elif self.trace.seconds[-1] >= s.time_limit:
            self.ending = "time"
        if self.ending or done % s.window or done - max(self.since, s.warmup) < 2 * s.window:
            return
        (now, se), (earlier, se_earlier) = (
            self.trace.mean_elbo(end, s.window) for end in (done, done - s.window)
        )
        if now == -math.inf:
            raise _no_density(s.window, s.batch)
        if now - earlier > 2 * math.hypot(se, se_earlier):
            return
        if self.fallen == s.falls:
            self.ending = "plateau"
        self.fallen, self.since = self.fallen + 1, done


def path_gradient(q: Flow, u: Tensor) -> Tensor:
    """d log q(u)/du (n, D) at u (n, D), nothing of it as a function of q's weights."""
    at = u.detach().requires_grad_()
    (slope,) = torch.autograd.grad(q.log_prob(at).sum(), at)
    return slope


def _no_density(window: int, batch: int) -> SbmError:
    return SbmError(
        error("E798", f"in {window} iterations none of {window * batch} draws of the approximation had a finite log density",
              help=("the posterior has no mass where the approximation is: another seed begins elsewhere",
                    "usual causes: a value outside its law's support, or a path that cannot be solved (sbm simulate shows)"))
    )  # fmt: skip

"""``method="dbuq"``: one observation, no trained score: weighted prior pairs, labels, a direct generator.

Prior draws are weighted by the declared likelihood of the observation at hand; ``labels`` carries noise to them by
the exact score of the weighted ensemble; ``generator`` learns the way from noise to draws. All of it knows no more of
the posterior than the weights are worth, which is told, and refused where it is too little.

Where the declared density cannot be evaluated, a Gaussian kernel on the features of simulations takes the place of
the likelihood: the posterior is then that of data blurred by the kernel's bandwidth, so wider than the model's.

Liu, Yang, Zhang & Zhang (2024), arXiv:2310.14458; Beaumont, Zhang & Balding (2002), Genetics 162, 2025-2035 (kernels).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results.cost import Meter
from sbmlang.runs import simulate_runs

from ..affine import standard_normal
from ..approximate import require_counts
from ..importance import Weighted, smoothed
from .apply import Answer, as_tree
from .coordinates import PriorCoordinates
from .correction import Corrected
from .features import Features
from .generator import Generator, Noise
from .labels import Ensemble
from .metropolis import moved
from .network import Amortized, provenance
from .posterior_target import PosteriorTarget, why_not
from .training import Settings, train

if TYPE_CHECKING:
    from xarray import DataTree

    from ..program import TorchProgram

LEAST = 50  # effective size of the weights: the sd of so many draws is known to 10 %
CLOSEST = 0.01  # share of the simulations that a kernel keeps, in effective size
CORRECTIONS = ("auto", "none", "metropolis")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Prior draws with their weights; ``bandwidth`` is that of the kernel, in standard deviations of the features, or
    None where ``target``, the declared density, gave the weights."""

    weighted: Weighted
    target: PosteriorTarget | None
    bandwidth: float | None = None
    reason: str = ""  # why there is no declared density

    @property
    def ensemble(self) -> Ensemble:
        return Ensemble.of(torch.as_tensor(self.weighted.u), torch.as_tensor(self.weighted.weight).log())

    @property
    def about(self) -> str:
        """In words."""
        by = (
            "the declared likelihood"
            if self.bandwidth is None
            else f"a kernel of bandwidth {self.bandwidth:.3g} sd of the features"
        )
        return f"{len(self.weighted.u)} prior pairs weighted by {by}, worth {self.weighted.effective:.0f}"

    def notes(self, data: Dataset) -> tuple[Diagnostic, ...]:
        """W875 where a kernel stands for the likelihood."""
        if self.bandwidth is None:
            return ()
        return (
            error("W875", f"draws are those of data blurred by {self.bandwidth:.3g} standard deviations of the features: {self.reason}",
                  help="the posterior is wider than the model's; more simulations= narrow the kernel, method='npe' needs none"),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class AtHand:
    """What stands for features: the pairs around one observation."""

    pairs: Pairs

    @property
    def description(self) -> tuple[str, ...]:
        return (self.pairs.about,)

    def notes(self, data: Dataset) -> tuple[Diagnostic, ...]:
        return self.pairs.notes(data)


def run_dbuq(
    program: TorchProgram,
    data: Dataset,
    *,
    draws: int,
    chains: int,
    seed: int,
    progress: ProgressCallback | None = None,
    simulations: int = 10_000,
    labels: int = 2000,
    levels: int = 40,
    steps: int = 2000,
    correct: str = "auto",
    keep_states: bool | None = None,
) -> DataTree:
    """``chains`` times ``draws`` draws of the generator, moved by short Metropolis chains where the density is known.

    ``simulations`` prior pairs get weights, ``labels`` noises are carried to them in ``levels`` steps, the generator
    is trained for ``steps``. ``correct``: "auto", "none" (the generator's draws) or "metropolis". The attributes
    ``pareto_k`` and ``effective_proposals`` and the group ``approximation`` are those of the weighted pairs.

    Raises ``SbmError``: E712 (counts), E713, E715 (nothing to infer), E866 (a correction that cannot be done), E875
    (weights worth too little).
    """
    require_counts(draws=(draws, 4), chains=(chains, 1), simulations=(simulations, 100), labels=(labels, 100),
                   levels=(levels, 2), steps=(steps, 1))  # fmt: skip
    _require_something(program, data, correct)
    count, generator = draws * chains, torch.Generator().manual_seed(seed)
    say = progress or (lambda _: None)
    with Meter() as meter:
        meter.mark("sample")
        say(Progress("sample", 0, 1, {}))
        pairs = weighed(program, data, simulations, seed, generator)
        if correct == "metropolis" and pairs.target is None:
            raise SbmError(error("E866", f"draws cannot be corrected: {pairs.reason}", help="correct='auto' says so in the results"))  # fmt: skip
        say(Progress("sample", 0, 1, {}, pairs.about))
        _require_worth(pairs)
        meter.mark("train")
        network = _network(program, data, pairs, labels, levels, steps, seed, generator, say)
        meter.mark("sample")
        found = _answer(network, data, pairs, count, correct, generator)
        meter.count("simulations", simulations + found.evaluations)
        meter.mark("predict")
        say(Progress("predict", 0, 1, {}))
        told = {"labels": labels, "levels": levels, "weights": pairs.about, "bandwidth": pairs.bandwidth,
                "effective": pairs.weighted.effective, "loss": min(network.provenance["history"]["validation"])}  # fmt: skip
        tree = as_tree(network, data, found, count, correct, seed, keep_states, meter, told)
    say(Progress("predict", 1, 1, {}))
    return tree


def weighed(program: TorchProgram, data: Dataset, simulations: int, seed: int, generator: torch.Generator) -> Pairs:  # fmt: skip
    """``simulations`` prior draws, weighted for ``data``."""
    coordinates = PriorCoordinates(program, data)
    if reason := why_not(program, coordinates, data):
        return _by_kernel(program, data, coordinates, simulations, seed, reason)
    target = PosteriorTarget(program, data, coordinates)
    z = torch.randn(simulations, coordinates.dimension, generator=generator, dtype=torch.float64)
    weighted = smoothed(z.numpy(), standard_normal(z).numpy(), target(z).numpy())
    return Pairs(weighted, target)


def _by_kernel(program: TorchProgram, data: Dataset, coordinates: PriorCoordinates, simulations: int, seed: int,
               reason: str) -> Pairs:  # fmt: skip
    runs = simulate_runs(program, data, simulations, seed)
    features = Features.derive(program.model, runs, embedding="columns", seed=seed)
    with torch.no_grad():
        apart = features(features.encode(runs)) - features(features.encode_data(data))
    z = coordinates.z(runs.parameters)
    inside = torch.isfinite(z).all(-1)
    distance, z = apart.double().square().sum(-1)[inside], z[inside]
    bandwidth = closest(distance, max(2 * LEAST, CLOSEST * simulations))
    log_q = standard_normal(z)
    weighted = smoothed(z.numpy(), log_q.numpy(), (log_q - distance / (2 * bandwidth**2)).numpy())
    return Pairs(weighted, None, bandwidth, reason)


def closest(distance: Tensor, worth: float) -> float:
    """The bandwidth at which Gaussian kernel weights of squared ``distance`` (n,) are ``worth`` so many draws."""
    low, high = 1e-6, 1e6
    for _ in range(100):
        middle = (low * high) ** 0.5
        weight = torch.softmax(-distance / (2 * middle**2), 0)
        low, high = (middle, high) if 1 / weight.square().sum() < worth else (low, middle)
    return high


def _network(program: TorchProgram, data: Dataset, pairs: Pairs, labels: int, levels: int, steps: int, seed: int,
             generator: torch.Generator, say: ProgressCallback) -> Amortized:  # fmt: skip
    clock, begun = time.perf_counter(), time.process_time()
    names = PriorCoordinates(program, data).names
    noise = torch.randn(labels, len(names), generator=generator, dtype=torch.float64)
    z = pairs.ensemble.labels(noise, levels).float()
    network = Generator(len(names), len(names), seed=seed)
    network.standardise(z)

    def tell(step: int, settings: Settings, _: Any) -> None:
        if step % 100 == 0:
            say(Progress("train", step, settings.steps, {}))

    history = train(network, Noise(), z, {"noise": noise.float()}, Settings(steps=steps), generator, tell)
    about = provenance(
        program, simulations=len(pairs.weighted.u), seed=seed, history=history.plain(), notes=[],
        seconds={"train": time.perf_counter() - clock, "cpu": time.process_time() - begun},
    )  # fmt: skip
    return Amortized(program, "dbuq", AtHand(pairs), network, names, about)  # type: ignore[arg-type]


def _answer(network: Amortized, data: Dataset, pairs: Pairs, count: int, correct: str,
            generator: torch.Generator) -> Answer:  # fmt: skip
    coordinates = network.coordinates(data)
    z = network.conditional.sample(torch.zeros(coordinates.dimension), count, generator).double()
    if pairs.target is None or correct == "none":
        return Answer(z, coordinates.params(z), None, pairs.reason or "as wished", 0)
    end = _moved(z, pairs, pairs.target, generator)
    evaluations = pairs.target.evaluations - len(pairs.weighted.u)
    return Answer(end.z, coordinates.params(end.z), end, "", evaluations)


def _moved(z: Tensor, pairs: Pairs, target: PosteriorTarget, generator: torch.Generator) -> Corrected:
    """The generator's draws after Metropolis chains; those without a density begin at members of the ensemble."""
    log_p = target(z)
    lost = ~torch.isfinite(log_p)
    members = pairs.weighted.resampled(len(z), int(torch.randint(2**31, (), generator=generator)))
    z = torch.where(lost[:, None], torch.as_tensor(pairs.weighted.u[members]), z)
    log_p = torch.where(lost, torch.as_tensor(pairs.weighted.log_p[members]), log_p)
    end = moved(z, log_p, target, generator)
    return Corrected(end.z, end.log_p, pairs.weighted, "metropolis", end.acceptance, end.steps, end.settled)


def _require_something(program: TorchProgram, data: Dataset, correct: str) -> None:
    if correct not in CORRECTIONS:
        raise SbmError(error("E866", f"method='dbuq' has no correction '{correct}'", help=f"corrections: {', '.join(CORRECTIONS)}"))  # fmt: skip
    if not program.parameters:
        raise SbmError(error("E715", "the model has no parameters to infer", help="sbm simulate runs it as it is"))  # fmt: skip
    if not any(len(c) for c in data.channels.values()):
        raise SbmError(error("E713", "there are no observations to infer from", help="give data with at least one value"))  # fmt: skip


def _require_worth(pairs: Pairs) -> None:
    """Raises ``SbmError`` E875 for weights that are worth fewer than ``LEAST`` draws."""
    w = pairs.weighted
    worth = w.effective if np.isfinite(w.log_p).any() else 0.0
    if worth < LEAST:
        raise SbmError(
            error("E875", f"the weights of {len(w.u)} prior pairs are worth {worth:.1f} draws, at least {LEAST} are needed",
                  help=("dbuq knows of the posterior only the prior draws that hit it, and too few do: the posterior is narrow, or has many dimensions",
                        f"about {_wanted(len(w.u), worth)} simulations= would do" if worth else "no prior draw has a finite density: sbm simulate shows whether the model can give such data",
                        "method='npe' with its correction needs no prior draws inside the posterior"))
        )  # fmt: skip


def _wanted(count: int, worth: float) -> str:
    """How many pairs are likely to be worth enough, as a round number."""
    return f"{float(f'{2 * count * LEAST / worth:.1g}'):,.0f}"

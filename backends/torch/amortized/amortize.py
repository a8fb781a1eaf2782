"""Simulations, features, training: from a program to a network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results.usual import Usual
from sbmlang.runs import Runs, simulate_runs

from .conditional import kind
from .coordinates import PriorCoordinates
from .features import Features
from .network import Amortized, provenance
from .training import History, Settings, train

if TYPE_CHECKING:
    from ..program import TorchProgram

FURTHEST = 6.0  # |z| of training; a value at the very end of its support has none
FAR = 5.0  # in Monte Carlo errors: means or sds of z that far from 0 and 1 are not those of the prior
DESIGNS = 50  # that are kept with a network
TRAINING = (
    "steps",
    "batch",
    "learning_rate",
    "weight_decay",
    "time_limit",
    "patience",
    "averaging",
    "validation",
)


def amortize(
    program: TorchProgram,
    *,
    method: str = "npe",
    simulations: int = 10_000,
    runs: Runs | None = None,
    designs: Dataset | Sequence[Dataset] | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    embedding: str = "auto",
    missing: str | float = "auto",
    network: Mapping[str, Any] | None = None,
    **training: Any,
) -> Amortized:
    """Trains a network on ``simulations`` of the program, or on given ``runs``.

    ``designs`` are data sets that tell where rows are and what forcings and covariates there are (default: the
    model's own times); their values are not used. ``embedding`` and ``missing`` as in ``Features.derive``; ``network``
    are options of the kind of network (npe: transforms, bins, hidden), ``training`` those of ``training.Settings``:
    steps, batch, learning_rate, weight_decay, time_limit, patience, averaging, validation.

    Raises ``SbmError``: E715 (nothing unknown), E795 (an option that is not there), E860 (method), E861 (training),
    E862 (runs outside the priors' support), and what simulation (E850 to E859) and features (E870 to E874) raise.
    """
    if not program.parameters:
        raise SbmError(error("E715", "the model has no parameters to infer", help="sbm simulate runs it as it is"))  # fmt: skip
    of = kind(method)
    for name in training:
        if name not in TRAINING:
            raise SbmError(error("E795", f"training has no option '{name}'", help=f"its options: {', '.join(TRAINING)}"))  # fmt: skip
    clock, begun = time.perf_counter(), time.process_time()
    if runs is None:
        runs = simulate_runs(program, designs, simulations, seed, progress=progress)
    simulated = time.perf_counter() - clock
    generator = torch.Generator().manual_seed(seed)
    coordinates = PriorCoordinates(program, runs.designs[0])
    z, notes = _coordinates(program, runs, coordinates.names)
    features = Features.derive(
        program.model, runs, embedding=embedding, missing=missing, seed=seed, program=program
    )
    if progress is not None:
        for line in features.description:
            progress(Progress("train", 0, 1, {}, line))
    conditional = of.make(coordinates.dimension, features.size, seed=seed, **dict(network or {}))
    settings = of.training(len(runs), **training)
    history = train(
        conditional,
        features,
        z.float(),
        features.settled(features.encode(runs)),
        settings,
        generator,
        _teller(progress),
    )
    about = provenance(
        program, simulations=len(runs), seed=seed, runs=_plain(runs.attrs), history=history.plain(),
        settings=_plain(vars(settings)), notes=[str(n) for n in notes],
        seconds={"simulate": simulated, "train": time.perf_counter() - clock - simulated,
                 "cpu": time.process_time() - begun},
    )  # fmt: skip
    usual = Usual.of(program.model, runs.designs, runs.design, runs.rows, seed)
    return Amortized(
        program,
        method,
        features,
        conditional,
        coordinates.names,
        about,
        _some(runs.designs),
        usual,
        tuple(notes),
    )


def _some(designs: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """So many of the designs, evenly."""
    picks = np.unique(np.linspace(0, len(designs) - 1, min(len(designs), DESIGNS)).round().astype(int))
    return tuple(designs[k] for k in picks)


def _coordinates(program: TorchProgram, runs: Runs, names: Sequence[str]) -> tuple[Tensor, list[Diagnostic]]:
    """z (run, d) of the runs' parameters, and what there is to say about them. Raises ``SbmError`` E862."""
    z = torch.zeros(len(runs), len(names), dtype=torch.float64)
    each = (
        range(len(runs.designs)) if program.model.covariates else (None,)
    )  # priors may depend on covariates
    for k in each:
        mine = np.flatnonzero(runs.design == k) if k is not None else np.arange(len(runs))
        if len(mine):
            own = PriorCoordinates(program, runs.designs[k or 0])
            z[torch.as_tensor(mine)] = own.z({n: v[mine] for n, v in runs.parameters.items()})
    outside = torch.isnan(z).any(-1)
    if outside.any():
        bad = [n for n, wrong in zip(names, torch.isnan(z).any(0).tolist(), strict=True) if wrong]
        raise SbmError(
            error("E862", f"{int(outside.sum())} of {len(runs)} runs have parameters outside the support of their prior: {', '.join(bad[:5])}",
                  help="the file's priors have to hold all runs: widen them, or leave those runs out")
        )  # fmt: skip
    z = torch.clip(z, -FURTHEST, FURTHEST)
    return z, _other_law(z, names)


def _other_law(z: Tensor, names: Sequence[str]) -> list[Diagnostic]:
    """W862 where runs are not draws of the priors: their coordinates are not standard normal."""
    n = len(z)
    mean, spread = z.mean(0) * n**0.5, (z.var(0) - 1) * (n / 2) ** 0.5
    off = [
        name
        for name, m, s in zip(names, mean.tolist(), spread.tolist(), strict=True)
        if max(abs(m), abs(s)) > FAR
    ]
    if not off:
        return []
    return [
        error("W862", f"the runs' {', '.join(off[:5])}{' ...' if len(off) > 5 else ''} are not draws of the declared priors",
              help=("a network learns the posterior under the law that the runs were drawn from",
                    "declare that law as the prior, or simulate with sbm simulate; correction by the declared density, where there is one, takes care of it"))
    ]  # fmt: skip


def _teller(progress: ProgressCallback | None) -> Any:
    last = 0.0

    def tell(step: int, settings: Settings, history: History) -> None:
        nonlocal last
        now = time.perf_counter()
        if progress is None or now - last < 0.25:
            return
        last = now
        losses = {"loss": history.training[-1], "validation": history.validation[-1]} if history.step else {}
        progress(Progress("train", step, settings.steps, losses))

    return tell


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that a file of weights may hold."""
    found = {}
    for name, value in values.items():
        simple = value.item() if isinstance(value, np.generic) else value
        found[name] = simple if isinstance(simple, bool | int | float | str | None) else str(simple)
    return found

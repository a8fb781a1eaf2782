"""``method="flow"``: variational inference over the parameters by a normalizing flow.

Laplace approximation (Pathfinder where there is none) -> flow on its scale -> training -> importance weights.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError, did_you_mean, error
from sbmlang.protocols import ProgressCallback

from . import checkpoint as checkpoints
from .affine import Gaussian
from .approximate import Fit, require_counts
from .flow_network import FAMILIES, Flow
from .laplace import find_mode
from .pathfinder import single_path
from .training import Settings, Training

if TYPE_CHECKING:
    from .program import TorchProgram

SAVE_EVERY = 30.0  # seconds between checkpoints
TELL_EVERY = 0.3  # seconds between news
STARTS = 4


def run_flow(
    program: TorchProgram,
    data: Dataset,
    *,
    draws: int,
    chains: int,
    seed: int,
    progress: ProgressCallback | None = None,
    family: str = "spline",
    transforms: int | None = None,
    hidden: tuple[int, ...] = (64, 64),
    bins: int = 8,
    iterations: int = 4000,
    time_limit: float = math.inf,
    batch: int = 32,
    learning_rate: float = 3e-3,
    proposals: int | None = None,
    keep_states: bool | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> xr.DataTree:
    """The posterior by a normalizing flow, ``draws * chains`` draws, corrected by importance weights where these allow.

    ``family``: "spline", "autoregressive", "full-rank", "mean-field" (see ``flow_network.Flow``, as for
    ``transforms``, ``hidden``, ``bins``). Training ends when the ELBO stops rising, at the latest after
    ``iterations`` of ``batch`` draws or ``time_limit`` seconds. ``proposals``: draws that are weighted (default:
    four times as many as are wanted). ``checkpoint`` is a file kept up to date while training; with ``resume``
    training goes on from it.

    Raises ``SbmError`` E712, E795 for options that make no sense, E796 for a checkpoint that does not fit, E798 where
    training finds no density, E714 where no prior draw has one. Rezende & Mohamed (2015), arXiv:1505.05770.
    """
    check_options(family, resume, checkpoint, time_limit, learning_rate)
    require_counts(iterations=(iterations, 10), batch=(batch, 4), bins=(bins, 2))
    settings = Settings(
        iterations=iterations, time_limit=time_limit, batch=batch, learning_rate=learning_rate
    )
    shape = {"transforms": transforms, "hidden": tuple(hidden), "bins": bins}
    with Fit.begin(program, data, "flow", draws, chains, seed, progress) as fit:
        fit.say("compile", 0, 1)
        identity = checkpoints.fingerprint(program, data, {"family": family, **shape, "batch": batch,
                                                           "learning_rate": learning_rate, "seed": seed})  # fmt: skip
        path = None if checkpoint is None else Path(checkpoint)
        kept = checkpoints.load(path, identity) if resume and path is not None else None
        base = _base(fit) if kept is None else Gaussian(*kept["base"])
        flow = Flow(base, family, seed=seed, **shape)  # type: ignore[arg-type]
        training = Training(flow, settings, fit.generator)
        if kept is not None:
            training.load(kept)
        fit.meter.mark("train")
        q = training.run(fit.target, _Watcher(fit, path, identity))
        if path is not None:
            checkpoints.save(path, training.state(), identity)
        options = {"family": family, **shape, **given(settings), "proposals": proposals, "resume": resume}
        return fit.finished(
            q, options, keep_states=keep_states, training=how_it_ended(training), trace=trace_of(training)
        )


def check_options(
    family: str, resume: bool, checkpoint: Any, time_limit: float, learning_rate: float
) -> None:
    if family not in FAMILIES:
        raise SbmError(
            error("E795", f"there is no family of approximations '{family}'",
                  help=did_you_mean(family, FAMILIES) or f"families: {', '.join(FAMILIES)}")
        )  # fmt: skip
    if resume and checkpoint is None:
        raise SbmError(
            error("E795", "resume says to go on with a training, but not with which", help="give its file: checkpoint='flow.pt'")
        )  # fmt: skip
    for name, value in (("time_limit", time_limit), ("learning_rate", learning_rate)):
        if not value > 0:
            raise SbmError(error("E795", f"{name} = {value!r} is not positive", help=f"leave {name} away"))


def _base(fit: Fit) -> Gaussian:
    """The Gaussian whose scale the flow works on: at the mode, else the best on a way there, else around the
    densest draw of the prior with its spread."""
    starts = fit.starts()
    found = find_mode(fit.target, starts)
    for start in starts[:STARTS] if found is None else ():
        found = found or single_path(fit.target, start, fit.generator)
    if found is not None:
        return found
    import torch

    spread = np.std(starts, axis=0) if len(starts) > 1 else np.ones(starts.shape[1])
    return Gaussian(torch.from_numpy(starts[0].copy()), torch.diag(torch.from_numpy(spread + 1e-6)))


class _Watcher:
    """Tells how training goes, and keeps its checkpoint up to date."""

    def __init__(self, fit: Fit, path: Path | None, identity: dict[str, str]) -> None:
        self._fit, self._path, self._identity = fit, path, identity
        self._told = self._saved = time.perf_counter()

    def __call__(self, training: Training) -> None:
        now = time.perf_counter()
        if self._path is not None and now - self._saved > SAVE_EVERY:
            checkpoints.save(self._path, training.state(), self._identity)
            self._saved = time.perf_counter()
        if now - self._told > TELL_EVERY or training.ending:
            self._told = now
            done, s = len(training.trace), training.settings
            elapsed = training.trace.seconds[-1]
            left = min(elapsed / done * (s.iterations - done), s.time_limit - elapsed)
            self._fit.say("train", done, s.iterations, ELBO=training.trace.mean_elbo(done, s.window)[0],
                          seconds_left_at_most=left)  # fmt: skip


def given(settings: Settings) -> dict[str, Any]:
    return {k: v for k, v in asdict(settings).items() if k != "time_limit" or math.isfinite(v)}


def how_it_ended(training: Training) -> dict[str, Any]:
    """How training ended: its last ELBO is of the weights in the last window, with less than half of the draws."""
    elbo, se = training.trace.mean_elbo(len(training.trace), training.settings.window)
    return {"ending": training.ending, "iterations": len(training.trace), "elbo": elbo, "elbo_se": se,
            "seconds": training.trace.seconds[-1], "dropped": training.dropped,
            "draws": len(training.trace) * training.settings.batch}  # fmt: skip


def trace_of(training: Training) -> xr.Dataset:
    columns = {name: ("iteration", np.array(values)) for name, values in vars(training.trace).items()}
    return xr.Dataset(columns, {"iteration": np.arange(1, len(training.trace) + 1)})

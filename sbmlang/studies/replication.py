"""One replication: a data set is fitted, and the true values are placed among the draws."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sbmlang.errors import SbmError
from sbmlang.results.scalars import Scalar, convergence, moves
from sbmlang.results.tree import attributes
from sbmlang.studies.quantities import LOG_LIKELIHOOD, Quantity, log_likelihoods, of_group
from sbmlang.studies.ranks import place
from sbmlang.studies.simulated import Replicate, seed_of

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset
    from sbmlang.protocols import Program

LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class Task:
    """What all replications share: the model, the engine with its options, the design.

    ``model`` is anything with ``compile(backend, **options)``; ``key`` names the study, so that a process compiles
    one program for all of its replications.
    """

    key: str
    model: Any
    design: Dataset
    backend: str
    compile: Mapping[str, Any]
    method: str
    options: Mapping[str, Any]  # of infer, with draws and chains
    ranked: int  # draws among which a true value is placed, at most
    seed: int

    def program(self) -> Program:
        """The program, compiled once in each process."""
        return _compiled(self)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.key == other.key


@lru_cache(maxsize=4)
def _compiled(task: Task) -> Program:
    program: Program = task.model.compile(task.backend, **task.compile)
    return program


@dataclass(frozen=True)
class Asked:
    """A scalar in one replication: truth, moments and the quantiles of its posterior, and where the truth lies.

    ``ess`` is the smaller of the bulk and tail effective sizes; the other fields as in ``ranks.Placed``.
    """

    unit: str
    role: str
    truth: float
    mean: float
    sd: float
    q025: float
    q05: float
    q25: float
    q75: float
    q95: float
    q975: float
    rank: int
    of: int
    u: float
    share: float
    ess: float


@dataclass(frozen=True)
class Record:
    """How a replication went. ``failure`` is empty for one that gave draws; a failed one asks nothing."""

    number: int
    seconds: float
    failure: str = ""
    divergences: int = 0
    r_hat: float = float("nan")
    pareto_k: float = float("nan")
    asked: Mapping[str, Asked] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Record:
        """The record that ``plain`` gave."""
        return Record(**{**plain, "asked": {k: Asked(**v) for k, v in plain["asked"].items()}})


def replicate(task: Task, one: Replicate) -> Record:
    """Fits one data set. Nothing that happens in it stops the study: a failure is a result."""
    clock = time.perf_counter()
    if one.failure:
        return Record(one.number, 0.0, one.failure)
    try:
        data = one.data(task.design)
        program = task.program()
        tree = program.infer(data, method=task.method, seed=seed_of(task.seed, 2, one.number), **task.options)
        found = _record(task, one, program, data, tree)
    except Exception as problem:
        return Record(one.number, time.perf_counter() - clock, _reason(problem))
    return Record(one.number, time.perf_counter() - clock, **found)


def _reason(problem: Exception) -> str:
    """What went wrong, short; with the place for what is no diagnostic."""
    if isinstance(problem, SbmError):
        return "; ".join(f"{d.code}: {d.message}" for d in problem.diagnostics)
    where = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__}: {problem} ({where.name}, line {where.lineno})"


def _record(task: Task, one: Replicate, program: Program, data: Dataset, tree: xr.DataTree) -> dict[str, Any]:
    items = [s for s in of_group(tree["posterior"].to_dataset()) if s.label in one.truth]
    truth = dict(one.truth)
    if found := log_likelihoods(program, one.params, data, tree):
        truth[LOG_LIKELIHOOD] = found[0]
        items.append(Scalar(LOG_LIKELIHOOD, LOG_LIKELIHOOD, "", "", "statistic", found[1]))
    broken = [s.label for s in items if not np.isfinite(s.draws).all()]
    if broken:
        return {"failure": f"draws of {', '.join(broken)} are not finite"}
    told = convergence(items)
    about = attributes(tree)
    independent = bool(about.get("independent_draws"))
    worth = _weights_worth(tree) if independent else np.fmin(told.ess_bulk, told.ess_tail)
    rng = np.random.default_rng([task.seed, 3, one.number])
    asked = {
        s.label: ask(s, truth[s.label], float(np.broadcast_to(worth, len(items))[i]), task.ranked, rng)
        for i, s in enumerate(items)
        if moves(s.draws)
    }
    stats = tree["sample_stats"].data_vars if "sample_stats" in tree.children else {}
    r_hat = [r for r, s in zip(told.r_hat, items, strict=True) if s.role == "parameter" and np.isfinite(r)]
    return {
        "divergences": int(stats["diverging"].sum()) if "diverging" in stats else 0,
        "r_hat": float(max(r_hat)) if r_hat and not independent else float("nan"),
        "pareto_k": float(about.get("pareto_k") or float("nan")),
        "asked": asked,
    }


def _weights_worth(tree: xr.DataTree) -> float:
    """How many independent draws the resampled draws of an approximation are worth; all where none were resampled."""
    draws = tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"]
    if attributes(tree).get("corrected") != "psis" or "approximation" not in tree.children:
        return float(draws)
    log_weight = np.asarray(tree["approximation"]["log_weight"].values, dtype=np.float64).ravel()
    weight = np.exp(log_weight - log_weight.max())
    return float(min(draws, weight.sum() ** 2 / (weight**2).sum()))


def ask(s: Scalar, truth: float, worth: float, most: int, rng: np.random.Generator) -> Asked:
    """A scalar's draws, worth so many independent ones, against its true value; see ``ranks.place``."""
    placed = place(truth, s.draws, worth, most, rng)
    q025, q05, q25, q75, q95, q975 = map(float, np.quantile(s.draws, (0.025, 0.05, 0.25, 0.75, 0.95, 0.975)))
    return Asked(
        s.unit, s.role, truth, float(s.draws.mean()), float(s.draws.std(ddof=1)), q025, q05, q25, q75, q95, q975,
        placed.rank, placed.of, placed.u, placed.share, worth,
    )  # fmt: skip


def quantities(records: list[Record]) -> list[Quantity]:
    """The scalars that any replication asked about, in order of appearance."""
    asked = (pair for r in records for pair in r.asked.items())
    return list({label: Quantity(label, a.unit, a.role) for label, a in asked}.values())

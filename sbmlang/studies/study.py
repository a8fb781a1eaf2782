"""A study: many data sets from the model, each fitted in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from sbmlang.data.empty import empty
from sbmlang.errors import SbmError, error
from sbmlang.protocols import Params, Program, Progress, ProgressCallback
from sbmlang.studies.folder import Folder, fingerprint, folder_of
from sbmlang.studies.parallel import run
from sbmlang.studies.replication import Record, Task
from sbmlang.studies.simulated import prior_spread, replicates, require_rows

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset

MARKOV = ("auto", "nuts", "pmmh", "smc")  # methods whose draws hang together


@dataclass(frozen=True, eq=False)
class Study:
    """The replications of a study, by number, and what was asked of each.

    ``prior_sd`` has the spread of each scalar parameter over its prior, by label.
    """

    program: Program
    design: Dataset
    records: tuple[Record, ...]
    settings: Mapping[str, Any]
    prior_sd: Mapping[str, float]

    @property
    def good(self) -> list[Record]:
        """The replications that gave draws."""
        return [r for r in self.records if not r.failure]


def study(
    kind: str,
    model: Any,
    design: Dataset | None = None,
    *,
    backend: str = "jax",
    method: str = "auto",
    replications: int = 200,
    draws: int | None = None,
    chains: int | None = None,
    ranked: int = 100,
    seed: int = 0,
    params: Params | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    output: str | Path | None = None,
    compile: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: ProgressCallback | None = None,
) -> Study:
    """Simulates and fits ``replications`` data sets on ``design`` (default: the model's own times).

    ``compile`` and ``options`` go to the backend and to ``infer``. With ``output`` finished replications are kept
    in a folder beside it, where a later call finds them. Raises ``SbmError`` E820 to E825.
    """
    if replications < 2:
        raise SbmError(
            error(
                "E825",
                f"replications = {replications} tell nothing",
                help="at least 2, for a verdict 100 or more",
            )
        )
    design = empty(model.ir, observe=True) if design is None else design
    require_rows(design)
    given = {n: np.asarray(v, dtype=np.float64) for n, v in (params or {}).items()}
    infer = {**_sizes(method, draws, chains), **(options or {})}
    settings = {
        "study": kind, "model_text": model.ir.text, "design": fingerprint(design), "backend": backend,
        "compile": dict(compile or {}), "method": method, "options": infer, "ranked": ranked, "seed": seed,
        "params": given,
    }  # fmt: skip
    folder = None if output is None else Folder(folder_of(Path(output)), settings)
    task = Task(uuid4().hex, model, design, backend, dict(compile or {}), method, infer, ranked, seed)
    program = task.program()
    program_progress = _Counter(progress, replications)
    done = {k: r for k, r in (folder.records() if folder else {}).items() if k < replications}
    program_progress.begin(len(done))
    missing = [k for k in range(replications) if k not in done]
    items = replicates(program, design, missing, seed, given or None)
    for record in run(task, items, workers=workers, scheduler=scheduler) if missing else ():
        if folder:
            folder.add(record)
        done[record.number] = record
        program_progress.add(record)
    records = tuple(done[k] for k in sorted(done))
    return Study(program, design, records, settings | {"replications": replications},
                 prior_spread(program, design, seed))  # fmt: skip


def _sizes(method: str, draws: int | None, chains: int | None) -> dict[str, int]:
    """Few draws are enough for a rank: chains of 2 x 250 after as many steps of warm-up, 500 independent ones."""
    if method in ("auto", "nuts"):
        return {"draws": draws or 250, "chains": chains or 2}
    if method in MARKOV:
        return {"draws": draws or 1000, "chains": chains or 2}
    return {"draws": draws or 500, "chains": chains or 1}


class _Counter:
    """Tells how many replications are done and how many of them failed."""

    def __init__(self, report: ProgressCallback | None, total: int):
        self._report, self._total, self._done, self._failed = report, total, 0, 0

    def begin(self, there: int) -> None:
        self._done = there
        self._say(f"{there} replications are there already" if there else "")

    def add(self, record: Record) -> None:
        self._done += 1
        self._failed += bool(record.failure)
        self._say(
            f"replication {record.number} failed: {record.failure}"
            if record.failure and self._failed <= 3
            else ""
        )

    def _say(self, message: str) -> None:
        if self._report is not None:
            self._report(Progress("replicate", self._done, self._total, {"failed": self._failed}, message))

"""Many simulations at once: in memory, or into a store that an interrupted run goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.data.empty import empty
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.runs.plan import SHARD, Plan, Shard, require_designs, simulate_shard
from sbmlang.runs.runs import Runs, in_a_row

TOLERATED = 0.1  # share of runs that may fail


def simulate_runs(
    source: Any,
    designs: Dataset | Sequence[Dataset] | None = None,
    draws: int = 1000,
    seed: int = 0,
    *,
    store: str | Path | None = None,
    backend: str = "torch",
    compile: Mapping[str, Any] | None = None,
    shard: int = SHARD,
    workers: int = 1,
    scheduler: str | None = None,
    tolerated: float = TOLERATED,
    progress: ProgressCallback | None = None,
) -> Runs:
    """Parameters from the prior and the observations they give, on one design or evenly on several.

    ``source`` is a program, or what ``sbmlang.load`` gives, compiled to ``backend`` with the options ``compile``.
    ``designs`` are data sets whose times, members, forcings and covariates are taken and whose values are not
    (default: the model's own times). Shard k of ``shard`` runs depends on the seed and k alone, so the result is the
    same for any number of ``workers`` (processes of this machine) or on a dask ``scheduler``.

    With ``store`` (a folder, by custom ``.zarr``) every finished shard is kept there, and the same call goes on with
    the missing ones; see ``sbmlang.open_runs``. Runs whose path cannot be followed are left out and counted
    (``attrs["failed"]``).

    Raises ``SbmError``: E850 (the store holds other runs), E851 (it cannot be used), E853 (more than the share
    ``tolerated`` of the runs fail), E854 (no zarr), E855 (designs that do not fit), E858 (a program and several
    processes, or a process that was lost), E823 and E824 (dask).
    """
    plan = planned(source, designs, draws, seed, backend=backend, compile=compile, shard=shard)
    if plan.is_compiled and (workers > 1 or scheduler is not None):
        raise SbmError(
            error("E858", "a compiled program cannot be sent to other processes",
                  help="give the model instead, as sbmlang.load gives it, with backend= and compile=")
        )  # fmt: skip
    if store is not None:
        from sbmlang.runs.store import Store

        kept = Store.of(Path(store), plan)
        _run(plan, kept.missing(), kept.add, kept.failed(), tolerated, progress, workers, scheduler)
        return kept.runs()
    found: dict[int, Shard] = {}
    _run(
        plan,
        range(plan.shards),
        lambda s: found.update({s.number: s}),
        0,
        tolerated,
        progress,
        workers,
        scheduler,
    )
    return _in_memory(plan, [found[k] for k in range(plan.shards)])


def planned(
    source: Any,
    designs: Dataset | Sequence[Dataset] | None,
    draws: int,
    seed: int,
    *,
    backend: str = "torch",
    compile: Mapping[str, Any] | None = None,
    shard: int = SHARD,
) -> Plan:
    """The plan of ``simulate_runs``. Raises ``SbmError`` E855; ``ValueError`` for a number that is not positive."""
    if min(draws, shard) < 1:
        raise ValueError(f"draws = {draws} and shard = {shard} have to be positive")
    model = source.model if hasattr(source, "predict") else source.ir
    given = (empty(model, observe=True),) if designs is None else designs
    several = (given,) if isinstance(given, Dataset) else tuple(given)
    require_designs(model, several)
    return Plan(source, several, draws, seed, backend, dict(compile or {}), shard)


def digest(text: str) -> str:
    """Sixteen characters that tell model texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def notes(runs: Runs) -> tuple[Diagnostic, ...]:
    """What there is to say about runs: W850 some failed, W852 designs without a run."""
    said = []
    failed, draws = int(runs.attrs.get("failed", 0)), int(runs.attrs.get("draws", len(runs)))
    if failed:
        said.append(
            error("W850", f"{failed} of {draws} runs ({failed / draws:.2g} of all) could not be followed and are left out",
                  help=("what is left is the prior without the parameters that fail; a network learns that one",
                        "a narrower prior, bounds on states, or another solver mend most failures"))
        )  # fmt: skip
    unused = len(runs.designs) - len(np.unique(runs.design))
    if unused:
        said.append(
            error("W852", f"{unused} of {len(runs.designs)} designs have no run",
                  help="give more draws; a few hundred for each design teach a network something")
        )  # fmt: skip
    return tuple(said)


def _run(
    plan: Plan,
    missing: Any,
    keep: Any,
    failed: int,
    tolerated: float,
    progress: ProgressCallback | None,
    workers: int,
    scheduler: str | None,
) -> None:
    """Simulates the missing shards and hands each to ``keep``. Raises ``SbmError`` E853, E858."""
    left = list(missing)
    done = plan.draws - sum(plan.runs_of(k).stop - plan.runs_of(k).start for k in left)
    _tell(progress, done, plan.draws, failed, f"{done} runs are there already" if done else "")
    _require_tolerable(failed, plan, tolerated)
    for shard in _made(plan, left, workers, scheduler):
        keep(shard)
        done += len(shard.ok)
        failed += int((~shard.ok).sum())
        _tell(progress, done, plan.draws, failed)
        _require_tolerable(failed, plan, tolerated)


def _made(plan: Plan, missing: list[int], workers: int, scheduler: str | None) -> Iterator[Shard]:
    if not missing:
        return
    if scheduler is None and workers <= 1:
        yield from (simulate_shard(plan, k) for k in missing)
        return
    from sbmlang.studies.parallel import client, spread

    with client(workers, scheduler) as connected:
        for number, problem, shard in spread(connected, simulate_shard, plan, missing):
            if shard is None:
                raise SbmError(_lost(number, problem))
            yield shard


def _lost(number: int, problem: BaseException | None) -> Diagnostic:
    if isinstance(problem, SbmError):
        return problem.diagnostics[0]
    return error(
        "E858", f"the process that simulated shard {number} was lost: {type(problem).__name__}: {problem}",
        help=("out of memory is the usual cause: fewer workers, or smaller shards (--shard)",
              "finished shards are kept in a store; the same command goes on with the others"),
    )  # fmt: skip


def _require_tolerable(failed: int, plan: Plan, tolerated: float) -> None:
    if failed > tolerated * plan.draws:
        raise SbmError(
            error("E853", f"{failed} of {plan.draws} runs could not be followed already, more than the share of {tolerated:g} that is tolerated",
                  help=("parameters that the prior allows make paths that leave the numbers: look at them with sbm simulate -o x.nc",
                        "a narrower prior, bounds on states, or another solver mend most failures",
                        "to go on without them: --tolerate SHARE (tolerated= in Python)"))
        )  # fmt: skip


def _tell(report: ProgressCallback | None, done: int, total: int, failed: int, message: str = "") -> None:
    if report is not None:
        report(Progress("simulate", done, total, {"failed": failed} if failed else {}, message))


def _in_memory(plan: Plan, shards: list[Shard]) -> Runs:
    ok = np.concatenate([s.ok for s in shards])
    everything = Runs(
        in_a_row([s.parameters for s in shards]), plan.designs, plan.design, in_a_row([s.rows for s in shards]),
        in_a_row([s.outputs for s in shards]),
        {"model_digest": digest(plan.model.text), "draws": plan.draws, "seed": plan.seed, "failed": int((~ok).sum())},
    )  # fmt: skip
    return everything if ok.all() else everything.take(ok)

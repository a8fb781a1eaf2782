"""Replications side by side, in processes of this machine or on a cluster that is there already (dask.distributed)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sbmlang.errors import SbmError, error
from sbmlang.studies.replication import Record, Task, replicate
from sbmlang.studies.simulated import Replicate

AHEAD = 4  # data sets given out per process before one comes back


def run(
    task: Task, items: Iterable[Replicate], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[Record]:
    """Records as they are finished, in any order.

    With one worker and no scheduler in this very process; otherwise every process compiles the program once.
    Raises ``SbmError`` E823 without dask, E824 for a scheduler that does not answer.
    """
    if scheduler is None and workers <= 1:
        yield from (replicate(task, one) for one in items)
        return
    with _client(workers, scheduler) as client:
        yield from _spread(client, task, items)


def _spread(client: Any, task: Task, items: Iterable[Replicate]) -> Iterator[Record]:
    """Keeps every process busy without making all data sets at once; one that kills its process is a failure."""
    import distributed

    as_completed: Any = distributed.as_completed  # dask's functions carry no types
    shared = client.scatter(task, broadcast=True)
    waiting = iter(items)
    size = max(1, sum(client.nthreads().values()))
    of: dict[str, int] = {}

    def submit(one: Replicate) -> Any:
        future = client.submit(replicate, shared, one, key=f"{task.key}-{one.number}", pure=False, retries=0)
        of[future.key] = one.number
        return future

    first = [submit(one) for _, one in zip(range(AHEAD * size), waiting, strict=False)]
    done = as_completed(first)
    for future in done:
        number, problem = of.pop(future.key), future.exception()
        yield Record(number, 0.0, f"{type(problem).__name__}: {problem}") if problem else future.result()
        for one in _up_to_one(waiting):
            done.add(submit(one))


def _up_to_one(items: Iterator[Replicate]) -> Iterator[Replicate]:
    for one in items:
        yield one
        return


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        import distributed
    except ModuleNotFoundError as missing:
        raise SbmError(
            error("E823", f"replications in several processes need the package '{missing.name}', which is not installed",
                  help=("pip install 'sbmlang[studies]'", "or leave --workers and --scheduler away: one process does"))
        ) from None  # fmt: skip
    Client: Any = distributed.Client
    LocalCluster: Any = distributed.LocalCluster
    if scheduler is not None:
        with _closing(lambda: Client(scheduler, timeout=10), scheduler) as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _closing(connect: Callable[[], Any], address: str) -> Iterator[Any]:
    try:
        client = connect()
    except (OSError, ValueError, TimeoutError) as fault:
        raise SbmError(
            error("E824", f"no dask scheduler answers at '{address}': {fault}",
                  help="expected an address like tcp://host:8786, as 'dask scheduler' prints it")
        ) from None  # fmt: skip
    try:
        yield client
    finally:
        client.close()

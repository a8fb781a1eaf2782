"""Replications side by side, in processes of this machine or on a cluster that is there already (dask.distributed)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from sbmlang.errors import SbmError, error
from sbmlang.studies.replication import Record, Task, replicate
from sbmlang.studies.simulated import Replicate

Shared = TypeVar("Shared")
One = TypeVar("One")
Done = TypeVar("Done")

AHEAD = 4  # data sets given out per process before one comes back


def run(
    task: Task, items: Iterable[Replicate], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[Record]:
    """Records as they are finished, in any order; a replication that kills its process is a failure.

    With one worker and no scheduler in this very process; otherwise every process compiles the program once.
    Raises ``SbmError`` E823 without dask, E824 for a scheduler that does not answer.
    """
    if scheduler is None and workers <= 1:
        yield from (replicate(task, one) for one in items)
        return
    with client(workers, scheduler) as connected:
        for one, problem, record in spread(connected, replicate, task, items):
            yield record or Record(one.number, 0.0, f"{type(problem).__name__}: {problem}")


def spread(
    client: Any, work: Callable[[Shared, One], Done], shared: Shared, items: Iterable[One]
) -> Iterator[tuple[One, BaseException | None, Done | None]]:
    """``work(shared, item)`` of every item as it is finished, in any order: the item, what went wrong, the result.

    Keeps every process busy without making all items at once.
    """
    import distributed

    as_completed: Any = distributed.as_completed  # dask's functions carry no types
    sent = client.scatter(shared, broadcast=True)
    waiting = iter(items)
    size = max(1, sum(client.nthreads().values()))
    of: dict[str, One] = {}

    def submit(one: One) -> Any:
        future = client.submit(work, sent, one, key=f"{work.__name__}-{uuid4().hex}", pure=False, retries=0)
        of[future.key] = one
        return future

    first = [submit(one) for _, one in zip(range(AHEAD * size), waiting, strict=False)]
    done = as_completed(first)
    for future in done:
        one, problem = of.pop(future.key), future.exception()
        yield one, problem, None if problem else future.result()
        for following in islice(waiting, 1):
            done.add(submit(following))


@contextmanager
def client(workers: int, scheduler: str | None) -> Iterator[Any]:
    """Processes of this machine, or those of a scheduler. Raises ``SbmError`` E823, E824."""
    try:
        import distributed
    except ModuleNotFoundError as missing:
        raise SbmError(
            error("E823", f"several processes need the package '{missing.name}', which is not installed",
                  help=("pip install 'sbmlang[studies]'", "or leave --workers and --scheduler away: one process does"))
        ) from None  # fmt: skip
    Client: Any = distributed.Client
    LocalCluster: Any = distributed.LocalCluster
    if scheduler is not None:
        with _closing(lambda: Client(scheduler, timeout=10), scheduler) as connected:
            yield connected
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


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

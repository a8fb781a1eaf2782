"""What the benchmark scripts share: timing a call, a sampler's run as a row, the tables, Stan in another Python."""

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from arviz_stats.base import array_stats

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One sampler's run. ``draws`` (parameter, chain, draw); times in seconds of wall clock, chains included."""

    name: str
    metric: str
    draws: np.ndarray
    compile: float
    warmup: float
    sampling: float
    leapfrogs: float  # after warm-up, all chains

    @property
    def ess(self) -> float:
        return float(min(array_stats.ess(d, method="bulk") for d in self.draws))

    @property
    def rhat(self) -> float:
        """NaN for a single chain."""
        return (
            float(max(array_stats.rhat(d) for d in self.draws)) if self.draws.shape[1] > 1 else float("nan")
        )

    def rate(self, compile: bool) -> float:
        """ESS a second of sampling, or of all there is to wait for."""
        return self.ess / (self.compile + self.warmup + self.sampling if compile else self.sampling)

    def leapfrog(self, side_by_side: int) -> float:
        """Seconds a leapfrog takes one chain when so many run at a time."""
        return self.sampling * side_by_side / self.leapfrogs


def seconds_per_call(function: Callable[..., Any], *arguments: Any, repeats: int, calls: int = 5) -> float:
    """Processor seconds: the least over ``repeats`` of the mean of ``calls`` calls, compiled before.

    Unlike time on the wall, it does not grow when other programs want the machine too.
    """

    def several() -> float:
        clock = time.process_time()
        for _ in range(calls):
            jax.block_until_ready(function(*arguments))
        return (time.process_time() - clock) / calls

    jax.block_until_ready(function(*arguments))
    return min(several() for _ in range(repeats))


def first_call(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of the first call, which compiles."""
    clock = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - clock


def about(*packages: str) -> str:
    """The machine and the versions, for the line over the tables."""
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def has(python: str, module: str) -> bool:
    """Whether another Python can import a module."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def elsewhere(python: str, script: Path, task: dict[str, Any]) -> dict[str, Any]:
    """What a script prints as JSON on its last line, run by another Python with ``task`` as JSON on stdin."""
    with tempfile.TemporaryDirectory() as folder:  # pystan leaves what it builds in the working directory
        run = subprocess.run(
            [python, script], input=json.dumps(task), capture_output=True, text=True, cwd=folder
        )
    if run.returncode:
        raise RuntimeError(f"{script.name} failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table in Markdown, so that it can be put into the documents as it is."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)

"""What a run costs: time by phase, processor time, memory, evaluations. One way to measure it for every backend.

with Meter() as meter:
    meter.mark("compile")               # from here on time is compilation
    ...
    meter.mark("sample")                # from here on sampling (or "train")
    ...
    meter.count("gradients", steps)
    attrs["cost"] = meter.report()
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from math import isfinite, nan
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SAMPLING = ("warmup", "sample", "train")
"""Phases that are the sampling of a method, warm-up and training of an approximation with it."""
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_open: list[Meter] = []


class Meter:
    """Measures from entering its block until ``report``, which may be asked inside the block or after it.

    Processor time is of the process with all its threads and of children that have ended. Peak memory is the
    largest resident memory of the process meanwhile; where the system cannot forget earlier peaks (elsewhere
    than on Linux) it is the largest since the process began. Meters may be nested.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)  # by phase
        self.counts: Counter[str] = Counter()  # by what was counted
        self._phase, self._peak = "other", 0.0
        self._end: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        for other in _open:  # the reset below would make them forget
            other._peak = max(_peak_mb(), other._peak)
        _open.append(self)
        with suppress(OSError):
            _RESET.write_text("5")
        self._start = self._since = time.perf_counter()
        self._cpu = _cpu_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        self.mark("other")
        self._end = (time.perf_counter() - self._start, _cpu_seconds() - self._cpu)
        self._peak = max(_peak_mb(), self._peak)
        _open.remove(self)

    def mark(self, phase: str) -> None:
        """From now on time belongs to this phase: compile, warmup, sample, train, predict ..."""
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def shift(self, source: str, target: str, seconds: float) -> None:
        """Books time of one phase on another, for a part that was measured elsewhere."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def count(self, what: str, number: int) -> None:
        """Adds to a count: "gradients" (of the log density) or "simulations" (paths of the model)."""
        self.counts[what] += int(number)

    def report(self) -> dict[str, Any]:
        """Seconds ``wall_s``, ``cpu_s``, ``compile_s``, ``sampling_s``; ``peak_memory_mb`` (10^6 byte); ``gradients``
        and ``simulations``, None where they were not counted; so is the memory where the system does not say.
        """
        if self._end is None:
            self.mark(self._phase)
        wall, cpu = self._end or (time.perf_counter() - self._start, _cpu_seconds() - self._cpu)
        peak = self._peak if self._end else max(_peak_mb(), self._peak)
        return {
            "wall_s": wall,
            "cpu_s": cpu,
            "compile_s": float(self.seconds["compile"]),
            "sampling_s": float(sum(self.seconds[phase] for phase in SAMPLING)),
            "peak_memory_mb": peak if isfinite(peak) else None,
            "gradients": self.counts.get("gradients"),
            "simulations": self.counts.get("simulations"),
        }


def _cpu_seconds() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def _peak_mb() -> float:
    """The largest resident memory since the last reset."""
    with suppress(OSError, StopIteration):
        line = next(x for x in _STATUS.read_text("ascii").splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

"""The meter of runs against sleeps, loops and arrays of known cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sbmlang.results.cost import Meter


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_goes_to_the_phase_that_was_marked_last():
    with Meter() as meter:
        meter.mark("compile")
        time.sleep(0.05)
        meter.mark("warmup")
        time.sleep(0.02)
        meter.mark("sample")
        time.sleep(0.1)
        meter.mark("predict")
        time.sleep(0.03)
    found = meter.report()
    assert 0.05 <= found["compile_s"] < 0.05 + 0.1
    assert 0.12 <= found["sampling_s"] < 0.12 + 0.1
    assert found["wall_s"] >= found["compile_s"] + found["sampling_s"] + 0.03


def test_waiting_costs_no_processor_time_and_children_do():
    with Meter() as waiting:
        time.sleep(0.2)
    assert waiting.report()["cpu_s"] < 0.1
    with Meter() as working:
        burn(0.15)
        subprocess.run([sys.executable, "-S", "-c", "x = sum(i*i for i in range(3_000_000))"], check=True)
    alone = working.report()["cpu_s"]
    assert alone > 0.2  # 0.15 of its own, and the child's: operating systems count in hundredths


def test_time_measured_elsewhere_is_booked_on_its_phase():
    with Meter() as meter:
        meter.mark("sample")
        time.sleep(0.06)
        meter.mark("other")
        meter.shift("sample", "compile", 0.04)
    found = meter.report()
    assert found["compile_s"] == pytest.approx(0.04)
    assert 0.02 <= found["sampling_s"] < 0.1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets earlier peaks")
def test_peak_memory_is_that_of_the_block_alone():
    np.ones(40_000_000)  # 320 MB, let go at once
    with Meter() as small:
        np.ones(100)
    with Meter() as outer:
        np.ones(25_000_000)  # 200 MB
        with Meter() as inner:
            np.ones(100)
    little, most, least = (m.report()["peak_memory_mb"] for m in (small, outer, inner))
    assert most - little > 150
    assert most - least > 150


def test_counts_add_up_and_what_was_not_counted_is_none():
    with Meter() as meter:
        meter.count("gradients", np.int64(7))
        meter.count("gradients", 5)
        found = meter.report()  # inside the block
    assert (found["gradients"], found["simulations"]) == (12, None)
    assert json.loads(json.dumps(found)) == found

"""Schedules against laying out steps and rows one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import sbmlang as sbm
from sbmlang.data.dataset import Dataset
from sbmlang.data.schedule import Schedule, schedule
from sbmlang.errors import SbmError
from sbmlang.ir.stepping import Step

SDE = """
model m
time t [hour] step 0.5 [hour]
state X
d X/dt = -X/(1 [hour])
noise X = 1/sqrt(1 [hour])
init X ~ Normal(0, 1)
"""
TWO = SDE + "observe x ~ Normal(X, 1)\nobserve y ~ Normal(2*X, 1)\n"
WINDOW = SDE + "observe x ~ Normal(X, 1)\nobserve z ~ Normal(mean(X, SPAN), 1)\n"


def made(text: str, table: dict[str, Any]) -> tuple[Step, Dataset, Schedule]:
    model = sbm.loads(text)
    data = sbm.read_data(model, table)
    assert model.facts.step is not None
    return model.facts.step, data, schedule(model.facts.step, model.ir, data)


@settings(max_examples=30, deadline=None)
@given(some.sets(some.integers(0, 20_000), min_size=1, max_size=8))
def test_steps_fill_the_gaps_evenly(milliseconds: set[int]) -> None:
    times = sorted(k / 1000 for k in milliseconds)
    x = np.where(np.arange(len(times)) % 3 == 1, np.nan, 1.0)
    model = sbm.loads(TWO)
    data = sbm.read_data(model, {"t": times, "x": x, "y": np.ones(len(times))})
    assert model.facts.step is not None
    found = schedule(model.facts.step, model.ir, data)
    starts, widths, now = [], [], 0.0
    done = []
    for t in times:
        gap = t - now
        count = 0 if gap == 0 else max(1, int(np.ceil(gap / 0.5 - 1e-6)))
        if not count:
            done.append(len(starts))
            continue
        starts += [now + k * gap / count for k in range(count)]
        widths += [gap / count] * count
        now = t
        done.append(len(starts))
    assert found.start == pytest.approx(starts) and found.width == pytest.approx(widths)
    assert found.done.tolist() == done and found.forcing_time == pytest.approx(starts)
    rows = [(t, channel) for t, xi in zip(times, x, strict=True)
            for channel in ("xy" if np.isfinite(xi) else "y")]  # fmt: skip
    assert found.time.tolist() == [t for t, _ in rows]
    assert ["xy"[k] for k in found.kind] == [c for _, c in rows]
    assert found.steps.tolist() == [dict(zip(times, done, strict=True))[t] for t, _ in rows]
    assert np.all(found.width <= 0.5 * (1 + 1e-5))


def test_a_multiple_of_the_step_has_steps_of_exactly_its_width() -> None:
    text = TWO.replace("step 0.5", "step 0.1")
    _, _, found = made(text, {"t": [0.3, 0.7, 5.1], "x": [1, 2, 3], "y": [1, 2, 3]})
    assert np.all(found.width == 0.1) and found.done.tolist() == [3, 7, 51] and not found.notes


def test_a_step_longer_than_a_gap_is_shortened_with_a_warning() -> None:
    _, _, found = made(TWO, {"t": [1, 1.2, 1.3, 4], "x": [1, 2, 3, 4], "y": [1, 2, 3, 4]})
    (note,) = found.notes
    assert note.code == "W730" and "and one more gap" in note.message and "step 0.1 [hour]" in note.help[0]


def test_rows_point_back_to_where_they_come_from() -> None:
    _, data, found = made(TWO, {"t": [0, 1, 1, 2], "x": [5, 6, 7, np.nan], "y": [1, np.nan, 3, 4]})
    names = list(data.channels)
    for k in range(len(found.value)):
        channel = data.channels[names[found.channel[k]]]
        assert channel.value[found.channel_row[k]] == found.value[k]
        assert channel.time[found.channel_row[k]] == found.time[k]
    assert found.offset.tolist() == [0, 6] and found.row.tolist() == list(range(6))
    assert found.value.tolist() == [5, 1, 6, 7, 3, 4]


def test_forcings_may_be_taken_at_the_end_of_a_step() -> None:
    text = TWO.replace("step 0.5 [hour]", "step 0.5 [hour] forcing at end")
    _, _, found = made(text, {"t": [1], "x": [1], "y": [1]})
    assert found.forcing_time.tolist() == [0.5, 1.0] and found.start.tolist() == [0, 0.5]


def test_windows_are_set_where_they_begin_after_the_rows_there() -> None:
    step, _, found = made(
        WINDOW.replace("SPAN", "since last"), {"t": [1, 2, 2, 4], "x": [1] * 4, "z": [1] * 4}
    )
    assert len(step.memories) == 1
    events = list(zip(found.steps.tolist(), found.kind.tolist(), strict=True))
    assert events == [
        (0, -1),
        (2, 0),
        (2, 1),
        (2, -1),
        (4, 0),
        (4, 0),
        (4, 1),
        (4, 1),
        (4, -1),
        (8, 0),
        (8, 1),
    ]
    ((ref, length),) = found.durations.items()
    assert str(ref).startswith("z.") and length[found.channel == 1].tolist() == [1, 1, 1, 2]
    assert np.isnan(length[found.channel == 0]).all()


def test_windows_since_the_start_are_set_before_rows_there() -> None:
    text = SDE + "observe z ~ Normal(change(X, since start), 1)\n"
    step, _, found = made(text, {"t": [0, 1], "z": [0, 1]})
    assert step.memories[0].first and found.kind.tolist() == [-1, 0, 0]


def test_overlapping_windows_are_refused() -> None:
    with pytest.raises(SbmError) as raised:
        made(WINDOW.replace("SPAN", "past 2 [hour]"), {"t": [2, 3, 5], "x": [1] * 3, "z": [1] * 3})
    assert raised.value.codes == (
        "E674",
    ) and "that of 1 hour to 3 hour begins before that of 0 hour to 2 hour has ended" in str(raised.value)
    _, _, apart = made(WINDOW.replace("SPAN", "past 2 [hour]"), {"t": [2, 4, 7], "x": [1] * 3, "z": [1] * 3})
    assert [k for k in apart.steps[apart.kind < 0]] == [0, 4, 10]


MAP = """
model walk
time day [day] from 3 to 20 step 2 [day]
state X
init X ~ Normal(0, 1)
next X ~ Normal(X, 1)
observe x ~ Normal(X, 1)
"""


def test_discrete_time_counts_whole_steps_from_the_start() -> None:
    _, _, found = made(MAP, {"day": [3, 7, 13], "x": [1, 2, 3]})
    assert found.done.tolist() == [0, 2, 5] and found.start.tolist() == [3, 5, 7, 9, 11]
    assert np.all(found.width == 2) and found.steps.tolist() == [0, 2, 5]


def test_a_time_between_two_steps_is_refused() -> None:
    with pytest.raises(SbmError) as raised:
        made(MAP, {"day": [5, 8, 10], "x": [1, 2, 3]})
    shown = str(raised.value)
    assert raised.value.codes == ("E673",) and "column 'x'" in shown and "(and one more time)" in shown
    assert "steps of 2 day from 3" in shown


SITES = """
model sites
time t [day] step 1 [day]
index plot = 1..2
index site = {a, b, c}
state X[site, plot]
d X[site, plot]/dt = -X[site, plot]/(1 [day])
noise X[site, plot] = 0.1/sqrt(1 [day])
init X[site, plot] ~ Normal(1, 0.1)
observe y[site, plot] ~ Normal(X[site, plot], 0.1)
"""


def test_members_are_numbered_in_the_order_of_the_batch() -> None:
    rng = np.random.default_rng(4)
    rows = [(s, p, t) for s in "cab" for p in (2, 1) for t in rng.choice(9, 3, replace=False)]
    table = {"site": [r[0] for r in rows], "plot": [r[1] for r in rows], "t": [int(r[2]) for r in rows],
             "y": rng.normal(size=len(rows))}  # fmt: skip
    step, _, found = made(SITES, table)
    assert set(step.batch) == {"site", "plot"} and len(found.offset) == 7
    sizes = {"site": 3, "plot": 2}
    for m in range(6):
        place = dict(zip(step.batch, np.unravel_index(m, [sizes[d] for d in step.batch]), strict=True))
        own = sorted(
            (t, y)
            for s, p, t, y in zip(table["site"], table["plot"], table["t"], table["y"], strict=True)
            if "abc".index(s) == place["site"] and p - 1 == place["plot"]
        )
        here = slice(found.offset[m], found.offset[m + 1])
        assert list(zip(found.time[found.row[here]], found.value[found.row[here]], strict=True)) == own
        assert np.all(found.member[found.row[here]] == m)

"""Data of the model are called unusual at the stated rate, data of another kind by their channel and place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.data.empty import empty
from sbmlang.results.unlikely import Cloud
from sbmlang.results.usual import Usual, places, unusual

DECAY = """model decay
time t [day] from 0 to 10
param k [1/day] ~ LogNormal(median=0.4, sigma=0.4)
param c [kg] ~ LogNormal(median=3, sigma=0.3)
observe mass [kg] ~ Normal(c*exp(-k*t), 0.1 [kg]) "what is left"
observe hits ~ Poisson(10 [1/kg]*c*exp(-k*t)) "counts"
"""
TIMES = np.linspace(0, 10, 30)


def simulated(seed, count):
    rng = np.random.default_rng(seed)
    k, c = 0.4 * np.exp(rng.normal(0, 0.4, count)), 3 * np.exp(rng.normal(0, 0.3, count))
    m = c[:, None] * np.exp(-k[:, None] * TIMES)
    return {"mass": m + 0.1 * rng.normal(size=m.shape), "hits": rng.poisson(10 * m).astype(float)}


@pytest.fixture(scope="module")
def model():
    return sbm.loads(DECAY)


@pytest.fixture(scope="module")
def design(model):
    return empty(model.ir, TIMES, observe=True)


@pytest.fixture(scope="module")
def usual(model, design):
    return Usual.of(model.ir, [design], np.zeros(2000, dtype=int), simulated(0, 2000))


def having(design, rows):
    channels = {n: replace(c, value=np.array(rows[n])) for n, c in design.channels.items()}
    return replace(design, channels=channels)


def one(design, seed=11, **change):
    """A usual data set, with some rows of a channel changed: ``mass=lambda y: ...``."""
    rows = {n: v[0] for n, v in simulated(seed, 1).items()}
    return having(design, {n: change[n](v.copy()) if n in change else v for n, v in rows.items()})


@pytest.mark.parametrize("level", [0.01, 0.1])
def test_data_of_the_model_are_called_unusual_at_the_stated_rate(level):
    """Over ten samples, each of which has a rate of its own: on average the level."""
    rates = []
    for k in range(10):
        cloud = Cloud.of(simulated([1, k], 1000), {"mass": TIMES, "hits": TIMES}, by_row=True)
        new = simulated([2, k], 150)
        rates.append(
            np.mean([bool(cloud.judged({n: v[i] for n, v in new.items()}, level)) for i in range(150)])
        )
    spread = np.sqrt(level * (1 - level) * (1 / 1500 + 1 / 5000))  # of the data, and of the ten halves of 500
    assert np.mean(rates) == pytest.approx(level, abs=4 * spread)


def test_usual_data_say_nothing(usual, design):
    assert unusual(usual, one(design)) == ()


def test_another_unit_is_named_by_channel_and_range(usual, design):
    (found,) = unusual(usual, one(design, mass=lambda y: 1000 * y))
    assert found.code == "W890"
    assert found.message.startswith("the data of mass are unlike what the simulations give")
    assert " kg, where 99 % of simulations are" in found.message
    assert "once in 100 data sets" in found.help[-1]


def test_an_outlier_is_named_by_its_time(usual, design):
    def spoilt(y):
        y[20] += 3
        return y

    (found,) = unusual(usual, one(design, mass=spoilt))
    assert f"at t = {TIMES[20]:g} day the value" in found.message


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda y: y + 0.5 * np.sin(3 * np.arange(30)), "roughness"),
        (lambda y: np.full(30, y.mean()), "scatter"),
        (lambda y: y[::-1].copy(), "trend"),
    ],
)
def test_other_courses_are_named(usual, design, change, word):
    (found,) = unusual(usual, one(design, mass=change))
    assert word in found.message


def test_channels_that_do_not_fit_together(usual, design):
    """Masses of one data set with the counts of another: each is usual."""
    slow, fast = (np.exp(-k * TIMES) for k in (0.2, 0.7))
    rng = np.random.default_rng(3)
    rows = {"mass": 3 * slow + 0.1 * rng.normal(size=30), "hits": rng.poisson(30 * fast).astype(float)}
    (found,) = unusual(usual, having(design, rows))
    assert found.code == "W891"


def test_gaps_are_left_out(usual, design):
    """Rows that are missing, or not there at all, are compared with what simulations give without them."""
    some = np.arange(30) % 3 > 0
    gaps = one(design, mass=lambda y: np.where(some, y, np.nan))
    assert unusual(usual, gaps) == ()
    fewer = {
        n: replace(c, time=c.time[some], value=c.value[some], start={w: s[some] for w, s in c.start.items()})
        for n, c in gaps.channels.items()
    }
    assert unusual(usual, replace(gaps, channels=fewer)) == ()
    cloud = usual.cloud(replace(gaps, channels=fewer))
    assert cloud.channels["mass"].by_row
    assert len(cloud.channels["mass"].centre) == some.sum()
    high = {n: replace(c, value=c.value + 5) for n, c in fewer.items()}
    assert {d.code for d in unusual(usual, replace(gaps, channels=high))} == {"W890"}


def test_other_times_are_compared_by_summaries(usual, model):
    there = empty(model.ir, TIMES[1:] - 0.1, observe=True)
    rows = {n: v[0, 1:] for n, v in simulated(11, 1).items()}
    assert unusual(usual, having(there, rows)) == ()
    assert not usual.cloud(having(there, rows)).channels["mass"].by_row
    (found,) = unusual(usual, having(there, rows | {"mass": rows["mass"] - 4}))
    assert "mass" in found.message


def test_stored_and_read_again(usual, design):
    again = Usual.of_state(usual.state())
    odd = one(design, hits=lambda y: y + 40)
    assert unusual(again, odd) == unusual(usual, odd) != ()


def test_the_sample_stays_small(model, design):
    long = {n: np.zeros((5000, 30)) for n in ("mass", "hits")}
    kept = Usual.of(model.ir, [design], np.zeros(5000, dtype=int), long)
    assert len(kept.design) == 2000
    assert kept.rows["mass"].dtype == np.float32


def test_replicates_have_places_of_their_own(model):
    data = sbm.read_data(model, {"t [day]": [1.0, 1.0, 2.0], "mass": [1.0, 2.0, 3.0], "hits": [1, 2, 3]})
    assert places(data.channels["mass"])[:, -1].tolist() == [0, 1, 0]


def test_designs_that_observe_other_channels_do_not_count():
    """Of two designs with other channels and times, data are compared with the runs that observe what they do."""
    model = sbm.loads(DECAY)
    both = empty(model.ir, TIMES, observe=True)
    rng = np.random.default_rng(3)
    designs, rows = [], simulated(5, 1500)
    for k in range(30):  # each at times of its own, every third with hits, which are then a single row
        some = np.sort(rng.choice(len(TIMES), 12, replace=False))
        mass = replace(both.channels["mass"], time=TIMES[some] + 0.01 * k, value=np.full(12, np.nan))
        hits = replace(both.channels["hits"], time=TIMES[:1], value=np.full(1, np.nan))
        designs.append((some, replace(both, channels={"mass": mass} | ({} if k % 3 else {"hits": hits}))))
    design = np.arange(1500) % 30
    told = {"mass": np.stack([rows["mass"][i, designs[k][0]] for i, k in enumerate(design)]),
            "hits": np.where(design[:, None] % 3 == 0, rows["hits"][:, :1], np.nan)}  # fmt: skip
    usual = Usual.of(model.ir, [d for _, d in designs], design, told)
    fresh, named = simulated(6, 300), 0
    for i in range(300):
        some, at = designs[i % 30]
        own = {"mass": fresh["mass"][i, some], "hits": fresh["hits"][i, :1]}
        named += bool(unusual(usual, having(at, {n: own[n] for n in at.channels})))
    assert named <= 12  # 3 are expected; a cloud with runs of other channels calls far more or fewer
    some, at = designs[0]
    many = having(at, {"mass": fresh["mass"][0, some], "hits": [900.0]})
    (said,) = unusual(usual, many)
    assert said.code == "W890"
    assert "hits" in said.message

"""Runs in memory: the right laws, the same numbers each time, evenly on the designs."""

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.runs.simulate import notes, simulate_runs


def test_runs_have_the_law_of_the_model(level_program):
    runs = simulate_runs(level_program, draws=4000, seed=1)
    mu, y, z = runs.parameters["mu"], runs.rows["y"], runs.rows["z"]
    assert (mu.shape, y.shape, z.shape, mu.dtype) == ((4000,), (4000, 4), (4000, 4), np.float64)
    # five standard errors of each mean and standard deviation
    for found, mean, sd in ((mu, 2, 3), (y[:, 0] - mu, 0, 1.5), (z[:, 3] - 2 * mu, 0, 0.5)):
        assert abs(found.mean() - mean) < 5 * sd / np.sqrt(4000)
        assert abs(found.std() - sd) < 5 * sd / np.sqrt(8000)
    assert abs(np.corrcoef((y - mu[:, None]).T)[0, 1]) < 5 / np.sqrt(4000)
    assert runs.attrs["failed"] == 0
    assert notes(runs) == ()


def test_a_path_is_that_of_its_own_parameters_and_design(decay_program, jars):
    runs = simulate_runs(decay_program, jars, draws=300, seed=2)
    assert runs.rows["y"].shape == (300, 3)
    assert np.bincount(runs.design).tolist() == [100, 100, 100]
    for k, jar in enumerate(jars):
        here, time = runs.take(runs.design == k), jar.channels["y"].time
        assert np.isnan(here.rows["y"][:, len(time) :]).all()
        exact = 10 * np.exp(-(k + 1) * here.parameters["k"][:, None] * time)
        error = (here.rows["y"][:, : len(time)] - exact) / 0.1
        assert abs(error.mean()) < 5 / np.sqrt(error.size)
        assert abs(error.std() - 1) < 5 / np.sqrt(2 * error.size)


def test_runs_are_the_same_each_time_and_shards_are_their_own(level, level_program):
    whole = simulate_runs(level_program, draws=250, seed=3, shard=100)
    again = simulate_runs(level, draws=250, seed=3, shard=100)
    np.testing.assert_array_equal(whole.rows["y"], again.rows["y"])
    np.testing.assert_array_equal(whole.parameters["mu"], again.parameters["mu"])
    other = simulate_runs(level_program, draws=250, seed=4, shard=100)
    assert not np.isin(whole.parameters["mu"], other.parameters["mu"]).any()
    assert len(np.unique(whole.parameters["mu"])) == 250


def test_parts_have_no_run_in_common(level_program):
    runs = simulate_runs(level_program, draws=100)
    most, few = runs.split(0.2, seed=1)
    assert (len(most), len(few)) == (80, 20)
    both = np.concatenate([most.parameters["mu"], few.parameters["mu"]])
    assert sorted(both) == sorted(runs.parameters["mu"])
    with pytest.raises(ValueError, match="cannot be split"):
        runs.split(1.0)


def test_a_run_is_a_data_set(decay_program, jars):
    runs = simulate_runs(decay_program, jars, draws=30)
    k = int(np.flatnonzero(runs.design == 1)[0])
    data = runs.data(k)
    assert data.channels["y"].time.tolist() == [3.0]
    assert data.channels["y"].value.tolist() == [runs.rows["y"][k, 0]]
    assert float(data.covariates["warm"]) == 2.0
    assert runs.present("y").sum(axis=1).tolist() == [len(jars[d].channels["y"]) for d in runs.design]


ESCAPES = """model escapes
time t [day] from 0 to 2 step 1
param a ~ Uniform(0, 1)
state x
init x = 1
next x = if a < {share} then log(-x) else x
observe y ~ Normal(x, 1)
"""


def test_runs_that_fail_are_left_out_and_counted():
    model = sbm.loads(ESCAPES.format(share=0.05))
    runs = simulate_runs(model, draws=2000, seed=1)
    assert len(runs) + runs.attrs["failed"] == 2000
    assert abs(runs.attrs["failed"] / 2000 - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 2000)
    assert runs.parameters["a"].min() > 0.05
    assert np.isfinite(runs.rows["y"]).all()
    (note,) = notes(runs)
    assert note.code == "W850"


def test_too_many_failures_end_the_run():
    model = sbm.loads(ESCAPES.format(share=0.5))
    with pytest.raises(SbmError) as problem:
        simulate_runs(model, draws=200, seed=1)
    assert problem.value.codes == ("E853",)
    assert len(simulate_runs(model, draws=200, seed=1, tolerated=0.7)) < 140


def test_more_designs_than_runs_are_told(decay_program, jars):
    runs = simulate_runs(decay_program, jars, draws=2)
    assert [n.code for n in notes(runs)] == ["W852"]


def test_designs_have_to_fit(level, decay_program):
    empty = sbm.read_data(level, {"t": [0.0], "y": [1.0]})
    for channel in empty.channels.values():
        channel.value.resize(0, refcheck=False)
    with pytest.raises(SbmError) as problem:
        simulate_runs(level, [empty], draws=10)
    assert problem.value.codes == ("E855",)


def test_members_of_parameters_have_to_be_as_many():
    model = sbm.loads("""model sites
time t [day]
index site from data
param k[site] ~ Normal(0, 1)
observe y[site] ~ Normal(k[site], 1)
""")
    designs = [
        sbm.read_data(model, {"t": [0.0] * n, "site": [str(i) for i in range(n)], "y": [0.0] * n})
        for n in (2, 3)
    ]
    with pytest.raises(SbmError, match="from 2 to 3") as problem:
        simulate_runs(model, designs, draws=10)
    assert problem.value.codes == ("E855",)
    assert simulate_runs(model, designs[:1], draws=10).parameters["k"].shape == (10, 2)


def test_a_program_stays_in_its_process(level_program):
    with pytest.raises(SbmError) as problem:
        simulate_runs(level_program, draws=10, workers=2)
    assert problem.value.codes == ("E858",)

"""Runs on disk: whole shards only, gone on with, and never mixed."""

import shutil

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.runs import store as stores
from sbmlang.runs.plan import simulate_shard
from sbmlang.runs.simulate import planned, simulate_runs
from sbmlang.runs.store import Store
from sbmlang.studies.folder import fingerprint


def same(a, b):
    for one, other in ((a.parameters, b.parameters), (a.rows, b.rows)):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(a.design, b.design)
    assert [fingerprint(d) for d in a.designs] == [fingerprint(d) for d in b.designs]


def test_a_store_alone_is_enough(tmp_path, decay, decay_program, jars):
    runs = simulate_runs(decay, jars, 250, 1, store=tmp_path / "runs.zarr", shard=100)
    found = sbm.open_runs(tmp_path / "runs.zarr")
    same(runs, found)
    same(found, simulate_runs(decay_program, jars, 250, 1, shard=100))
    assert found.attrs["model_text"] == decay.ir.text
    assert [d.covariates["warm"] for d in found.designs] == [1, 2, 3]
    # a program takes what comes back for a design: the likelihood of a run is that of the design that made it
    k = int(np.flatnonzero(found.design == 2)[0])
    own = {n: p[k] for n, p in found.parameters.items()}
    there = float(decay_program.log_likelihood(own, found.data(k)))
    assert there == float(decay_program.log_likelihood(own, runs.data(k)))


def test_forcings_windows_and_members_come_back(tmp_path):
    model = sbm.loads("""model forced
time t [day]
index jar from data
forcing temp [degC] from data linear
param k[jar] [1/day] ~ LogNormal(median=0.1, sigma=0.5)
state C[jar] [mg] >= 0
init C[jar] = 10
sink lost[jar]
flux d[jar] : C[jar] -> lost[jar] at k[jar]*temp/(300 [K])*C[jar]
observe y[jar] [mg] ~ Normal(change(lost[jar], since last), 0.1 [mg])
""")
    data = sbm.read_data(
        model,
        {"t": [1.0, 2.0, 1.0, 4.0], "jar": ["b", "b", "a", "a"], "y": [1.0] * 4},
        forcing={"t": [0.0, 2.0, 5.0], "temp [degC]": [10.0, 20.0, 15.0]},
    )
    # without a kernel, whose compilation would take most of the test
    runs = simulate_runs(model, data, 20, 1, store=tmp_path / "runs.zarr", compile={"kernel": "torch"})
    same(runs, sbm.open_runs(tmp_path / "runs.zarr"))
    (back,) = sbm.open_runs(tmp_path / "runs.zarr").designs
    assert back.labels == data.labels
    np.testing.assert_array_equal(back.forcings["temp"].value, data.forcings["temp"].value)
    assert back.channels["y"].start.keys() == data.channels["y"].start.keys()
    assert back.channels["y"].index["jar"].dtype == np.int64


def test_what_was_interrupted_goes_on_and_ends_the_same(tmp_path, level, monkeypatch):
    whole = simulate_runs(level, None, 450, 5, shard=100)
    path = tmp_path / "runs.zarr"
    add, done = Store.add, []

    def killed(self, shard):
        if len(done) == 2:  # in the middle of the third shard: some arrays are written, the mark is not
            self.root["parameters/mu"][200:250] = 99.0
            raise KeyboardInterrupt
        done.append(shard.number)
        add(self, shard)

    monkeypatch.setattr(Store, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate_runs(level, None, 450, 5, shard=100, store=path)
    monkeypatch.undo()
    with pytest.raises(SbmError) as problem:
        sbm.open_runs(path)
    assert problem.value.codes == ("E852",)
    part = sbm.open_runs(path, partial=True)
    np.testing.assert_array_equal(part.parameters["mu"], whole.parameters["mu"][:200])

    simulated = []
    monkeypatch.setattr(
        "sbmlang.runs.simulate.simulate_shard",
        lambda plan, k: (simulated.append(k), simulate_shard(plan, k))[1],
    )
    same(simulate_runs(level, None, 450, 5, shard=100, store=path), whole)
    assert simulated == [2, 3, 4]


def test_shards_in_any_order_make_the_same_store(tmp_path, level):
    plan = planned(level, None, 450, 5, shard=100)
    backwards = Store.of(tmp_path / "runs.zarr", plan)
    for k in reversed(range(plan.shards)):
        backwards.add(simulate_shard(plan, k))
    same(backwards.runs(), simulate_runs(level, None, 450, 5, shard=100))


@pytest.mark.slow
def test_two_processes_make_the_same_store(tmp_path, decay, jars):
    alone = simulate_runs(decay, jars, 1000, 5, shard=100, store=tmp_path / "one.zarr")
    same(simulate_runs(decay, jars, 1000, 5, shard=100, store=tmp_path / "two.zarr", workers=2), alone)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 6}, "seed was 5, now 6"),
        ({"draws": 300}, "draws was 200, now 300"),
        ({"shard": 50}, "shard was 100, now 50"),
    ],
)
def test_other_runs_are_refused(tmp_path, level, change, word):
    given = {"draws": 200, "seed": 5, "shard": 100}
    simulate_runs(level, None, **given, store=tmp_path / "runs.zarr")
    with pytest.raises(SbmError, match=word) as problem:
        simulate_runs(level, None, **{**given, **change}, store=tmp_path / "runs.zarr")
    assert problem.value.codes == ("E850",)


def test_another_model_or_design_is_refused(tmp_path, level, decay, jars):
    simulate_runs(decay, jars[:2], 20, store=tmp_path / "runs.zarr")
    with pytest.raises(SbmError, match="the designs changed"):
        simulate_runs(decay, jars[1:], 20, store=tmp_path / "runs.zarr")
    with pytest.raises(SbmError, match="the model text changed"):
        simulate_runs(level, None, 20, store=tmp_path / "runs.zarr")


def test_failed_runs_stay_in_the_store_but_not_in_its_runs(tmp_path):
    model = sbm.loads("""model escapes
time t [day] from 0 to 2 step 1
param a ~ Uniform(0, 1)
state x
init x = 1
next x = if a < 0.05 then log(-x) else x
observe y ~ Normal(x, 1)
""")
    runs = simulate_runs(model, None, 400, store=tmp_path / "runs.zarr", shard=200)
    found = sbm.open_runs(tmp_path / "runs.zarr")
    same(runs, found)
    kept = Store.at(tmp_path / "runs.zarr")
    assert kept.failed() == found.attrs["failed"] == 400 - len(found) > 0


def test_what_is_not_a_store_is_refused(tmp_path, level):
    (tmp_path / "folder.zarr").mkdir()
    for path in (tmp_path / "folder.zarr", tmp_path / "nothing.zarr"):
        with pytest.raises(SbmError) as problem:
            sbm.open_runs(path)
        assert problem.value.codes == ("E851",)


@pytest.mark.parametrize("part", ["designs/channel.y.time", "parameters/mu", "outcome"])
def test_a_store_that_has_lost_a_part_is_refused(tmp_path, level, part):
    simulate_runs(level, None, 20, store=tmp_path / "runs.zarr")
    shutil.rmtree(tmp_path / "runs.zarr" / part)
    with pytest.raises(SbmError) as problem:
        sbm.open_runs(tmp_path / "runs.zarr")
    assert problem.value.codes == ("E851",)


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path, level, monkeypatch):
    monkeypatch.setattr(stores, "packed", lambda designs: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(SbmError, match="No space left"):
        simulate_runs(level, None, 20, store=tmp_path / "runs.zarr")
    assert list(tmp_path.iterdir()) == []


def test_without_zarr_it_says_what_to_install(tmp_path, level, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(SbmError, match=r"sbmlang\[runs\]") as problem:
        simulate_runs(level, None, 20, store=tmp_path / "runs.zarr")
    assert problem.value.codes == ("E854",)


def test_xarray_reads_a_store(tmp_path, level):
    import xarray as xr

    runs = simulate_runs(level, None, 20, store=tmp_path / "runs.zarr")
    tree = xr.open_datatree(tmp_path / "runs.zarr", engine="zarr")
    np.testing.assert_array_equal(tree["rows"]["y"].values, runs.rows["y"])
    assert tree["parameters"]["mu"].attrs["units"] == "kg"

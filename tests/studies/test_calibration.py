"""Simulation-based calibration tells right engines from wrong ones, goes on where it stopped, and hides no failure."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.results import open_fit, save_figures
from sbmlang.studies import sbc
from sbmlang.studies.folder import folder_of

COUNT = 100


def test_an_exact_engine_is_calibrated(engine):
    found = sbc(engine(), replications=COUNT)
    assert found.calibrated
    assert [r.label for r in found.rows] == ["mu", "log likelihood"]
    assert found.verdict.startswith("Calibrated")
    assert found.notes() == ()
    mu = found.rows[0]
    assert (mu.unit, mu.replications, mu.role) == ("kg", COUNT, "parameter")
    assert mu.spread == pytest.approx(1, abs=4 / np.sqrt(2 * COUNT))
    assert mu.bias == pytest.approx(0, abs=4 / np.sqrt(COUNT))
    # posterior variance 1/(1/9 + 10/2.25) of the prior variance 9; the prior's spread is that of 1000 draws
    assert mu.contraction == pytest.approx(1 - 1 / (9 * (1 / 9 + 10 / 2.25)), abs=0.01)
    for level, (share, low, high) in mu.coverage.items():
        assert low < share < high
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / COUNT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": 0.7}, "intervals are too narrow"),
        ({"scale": 1.6}, "intervals are too wide"),
        ({"shift": 0.5}, "estimates are too high"),
    ],
)
def test_a_wrong_engine_is_flagged(engine, change, words):
    found = sbc(engine(**change), replications=COUNT)
    assert not found.calibrated
    assert found.rows[0] in found.wrong
    assert words in found.rows[0].fault
    assert found.verdict.startswith("NOT calibrated")


def test_the_size_of_the_fault_is_told(engine):
    narrow = sbc(engine(scale=0.7), replications=COUNT).rows[0]
    assert narrow.z_sd == pytest.approx(1 / 0.7, rel=4 / np.sqrt(2 * COUNT))
    assert narrow.coverage[0.9][2] < 0.9


def test_failures_are_counted_and_told(engine):
    found = sbc(engine(breaks=3.0), replications=60)
    failed = [r for r in found.study.records if r.failure]
    truth = np.array([r.asked["mu"].truth for r in found.study.good])
    assert 10 < len(failed) < 40
    assert len(found.study.records) == 60
    assert truth.max() < 3 + 4 * 1.5
    assert [n.code for n in found.notes()] == ["W820"]
    assert "ArithmeticError: the level is too high for this engine" in str(found.notes()[0])
    assert f"{len(failed)} of 60 replications failed" in found.verdict


def test_a_study_without_any_draws_says_so(engine):
    found = sbc(engine(breaks=-np.inf), replications=3)
    assert not found.calibrated
    assert "Nothing can be said" in found.verdict
    assert found.tree()["replications"].sizes["replication"] == 3


def test_an_interrupted_study_goes_on(engine, tmp_path):
    whole = sbc(engine(), replications=30, seed=4)
    output = tmp_path / "sbc.nc"
    sbc(engine(), replications=12, seed=4, output=output)
    folder = folder_of(output)
    (folder / "000003.json").unlink()
    kept = (folder / "000005.json").stat().st_mtime_ns
    told = []
    again = sbc(engine(), replications=30, seed=4, output=output, progress=told.append)
    assert (folder / "000005.json").stat().st_mtime_ns == kept
    assert told[0].message == "11 replications are there already"
    assert told[-1].done == 30
    assert [r.asked for r in again.study.records] == [r.asked for r in whole.study.records]
    assert again.verdict == whole.verdict


def test_another_study_is_refused(engine, tmp_path):
    output = tmp_path / "sbc.nc"
    sbc(engine(), replications=2, output=output)
    with pytest.raises(SbmError) as caught:
        sbc(engine(), replications=2, output=output, seed=1)
    assert caught.value.codes == ("E821",)
    assert "seed was 0, now 1" in str(caught.value)
    with pytest.raises(SbmError, match="options"):
        sbc(engine(), replications=2, output=output, draws=77)


def test_a_damaged_file_is_named(engine, tmp_path):
    output = tmp_path / "sbc.nc"
    sbc(engine(), replications=2, output=output)
    (folder_of(output) / "000001.json").write_text("{")
    with pytest.raises(SbmError) as caught:
        sbc(engine(), replications=2, output=output)
    assert caught.value.codes == ("E822",)


def test_a_design_is_needed(engine):
    none = sbm.loads("model m\ntime t from 0 to 1\nparam k ~ Normal(0, 1)\nobserve y ~ Normal(k, 1)\n")
    from sbmlang.data.empty import empty

    with pytest.raises(SbmError) as caught:
        sbc(none, empty(none.ir), replications=2)
    assert caught.value.codes == ("E820",)
    with pytest.raises(SbmError) as caught:
        sbc(engine(), replications=1)
    assert caught.value.codes == ("E825",)


def test_the_design_keeps_its_gaps(engine):
    """Times and gaps of data are taken; their values are not."""
    model = engine()
    design = sbm.read_data(model.model, {"t [day]": [0.5, 3.0, 7.0], "y": [99.0, np.nan, 99.0]})
    found = sbc(model, design, replications=40)
    # two values: posterior variance 1/(1/9 + 2/2.25)
    assert found.study.good[0].asked["mu"].sd == pytest.approx((1 / 9 + 2 / 2.25) ** -0.5, rel=0.15)
    assert max(abs(r.asked["mu"].mean) for r in found.study.good) < 20


def test_the_tree_is_saved_and_drawn(engine, tmp_path):
    found = sbc(engine(), replications=40)
    tree = open_fit(found.save(tmp_path / "sbc.nc"))
    assert tree["replications"]["truth"].dims == ("replication", "quantity")
    assert tree["replications"]["unit"].values.tolist() == ["kg", ""]
    assert json.loads(tree.attrs["options"]) == {"draws": 250, "chains": 2}
    assert tree.attrs["verdict"] == found.verdict
    assert float(tree["calibration"]["p"][0]) == found.rows[0].p
    files = save_figures(tree, tmp_path / "figures")
    assert sorted(p.name for p in files) == [
        "calibration_contraction.png",
        "calibration_ecdf.png",
        "calibration_ranks.png",
    ]


@pytest.mark.slow
def test_processes_give_what_one_process_gives():
    """Replications do not depend on who runs them; each process compiles the program once."""
    model = sbm.loads(LEVEL)
    alone = sbc(model, replications=6, seed=2)
    spread = sbc(model, replications=6, seed=2, workers=2)
    for one, other in zip(alone.study.records, spread.study.records, strict=True):
        assert not other.failure
        assert one.asked["s"].truth == other.asked["s"].truth
        assert one.asked["s"].mean == pytest.approx(other.asked["s"].mean, rel=1e-6)


def test_a_scheduler_that_is_not_there(engine):
    with pytest.raises(SbmError) as caught:
        sbc(engine(), replications=2, scheduler="nonsense://nowhere")
    assert caught.value.codes == ("E824",)


LEVEL = """model level
time t from 0 to 10 step 0.5
param k ~ LogNormal(median=1, sigma=0.5)
param s ~ LogNormal(median=0.5, sigma=0.5)
state x
init x ~ Normal(0, 1)
d x/dt = -k*x
noise x = s
observe y ~ Normal(x, 0.2)
"""


@pytest.mark.slow
def test_the_exact_engine_with_nuts_is_calibrated():
    """A linear stochastic equation, its path integrated out: parameters, states and the log likelihood."""
    found = sbc(sbm.loads(LEVEL), replications=150, seed=1)
    assert {r.label for r in found.rows} == {"k", "s", "x at 5", "x at 10", "log likelihood"}
    assert found.calibrated, found.verdict


def test_short_chains_and_doubtful_engines_are_told(engine):
    few = sbc(engine(), replications=12, draws=10, chains=2)
    assert [n.code for n in few.notes()] == ["W821"]
    doubtful = sbc(engine(pareto_k=0.9), replications=12)
    assert [n.code for n in doubtful.notes()] == ["W822"]


def test_without_dask_one_process_does(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SbmError) as caught:
        sbc(engine(), replications=2, workers=2)
    assert caught.value.codes == ("E823",)

"""Emulators of a function with many outputs: exact where they can be, honest about their error elsewhere."""

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.data.run_table import RunTable
from sbmlang.emulation import emulate, open_emulator, save_emulator

MODEL = sbm.loads("""model slow
index place = 1..300
param a ~ Uniform(0, 2)
param k ~ LogNormal(median=1, sigma=0.3)
param m ~ Normal(0, 1)
simulator land from table "runs.csv" : a, k, m -> f[place]
observe y[place] ~ Normal(f[place], 0.1)
""")
PLACE = np.linspace(0, 3, 300)


def runs(count, seed, f):
    random = np.random.default_rng(seed)
    a, k, m = random.uniform(0, 2, count), np.exp(0.3 * random.normal(size=count)), random.normal(size=count)
    return RunTable({"a": a, "k": k, "m": m}, {"f": f(a[:, None], k[:, None], m[:, None])}, "runs.csv", count)


def smooth(a, k, m):
    return a * np.exp(-k * PLACE) + 0.3 * np.tanh(m) * PLACE


@pytest.fixture(scope="module")
def found():
    return emulate(MODEL, runs=runs(20, 0, smooth))


def test_a_linear_map_is_emulated_exactly():
    def f(a, k, m):
        return a * np.sin(PLACE) + m * PLACE

    found = emulate(MODEL, runs=runs(20, 0, f))
    assert found.reduction.components == 2
    new = runs(10, 1, f)
    np.testing.assert_allclose(found.predict(new.parameters)["f"], new.outputs["f"], atol=1e-3)


def test_the_stated_error_is_that_of_new_runs(found):
    ratios = []
    for seed in range(3):
        found = emulate(MODEL, runs=runs(20, seed, smooth)) if seed else found
        new = runs(200, 100 + seed, smooth)
        score = found.score(new.parameters, new.outputs)["f"]
        assert score.r2 > 0.9
        ratios.append(found.held_out["f"].error / score.error)
        variance = found.errors.truncation**2 + (
            (found.errors.component[:, None] * found.reduction.modes) ** 2
        ).sum(0)
        if not found.reduction.logarithm.any():  # the parts add up to what was seen on runs held out
            np.testing.assert_allclose(np.sqrt(variance.mean()), found.held_out["f"].error, rtol=1e-6)
    assert 0.5 < np.median(ratios) < 2.5


def test_positive_outputs_over_decades_go_in_logarithms():
    found = emulate(MODEL, runs=runs(30, 0, lambda a, k, m: np.exp(3 * m + k * PLACE)))
    assert found.reduction.logarithm.all()
    assert found.held_out["f"].r2 > 0.99


def test_one_output_function_serves_draws_and_single_sets(found):
    new = runs(3, 5, smooth).parameters
    each = [found.outputs({n: v[i] for n, v in new.items()})["f"] for i in range(3)]
    np.testing.assert_allclose(found.predict(new)["f"], each, rtol=1e-9, atol=1e-9)
    quiet = found.outputs({n: v[0] for n, v in new.items()}, np.zeros(found.reduction.components))
    np.testing.assert_allclose(quiet["f"], each[0], rtol=1e-9, atol=1e-9)


def test_files_keep_everything(found, tmp_path):
    again = open_emulator(save_emulator(found, tmp_path / "emulator.nc"))
    new = runs(5, 9, smooth).parameters
    np.testing.assert_array_equal(again.predict(new)["f"], found.predict(new)["f"])
    assert (again.held_out, again.about, again.fields[0].dims) == (found.held_out, found.about, ("place",))


def test_runs_that_failed_are_left_out():
    given = runs(20, 0, lambda a, k, m: a * PLACE - k)
    given.outputs["f"][3, 7] = np.nan
    found = emulate(MODEL, runs=given)
    assert (found.about["runs"], found.about["failed_runs"]) == (19, 1)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("E880", lambda p, f: ({n: v[:5] for n, v in p.items()}, f[:5])),
        ("E881", lambda p, f: (p | {"k": np.ones(20)}, f)),
        ("E882", lambda p, f: (p, np.ones_like(f))),
    ],
)
def test_runs_nothing_can_be_learned_from(code, change):
    given = runs(20, 0, smooth)
    parameters, f = change(given.parameters, given.outputs["f"])
    with pytest.raises(sbm.SbmError) as raised:
        emulate(MODEL, runs=RunTable(parameters, {"f": f}, "runs.csv", len(f)))
    assert raised.value.codes == (code,)

"""What networks are told of data: laws of features, on designs of every kind."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import sbmlang as sbm
from sbmlang.backends.torch.amortized.features import Features
from sbmlang.backends.torch.amortized.features_masks import thinned
from sbmlang.backends.torch.amortized.features_plates import exchangeable
from sbmlang.backends.torch.amortized.features_scale import Scale, scale_of
from sbmlang.backends.torch.amortized.features_score import Scores
from sbmlang.data.empty import empty
from sbmlang.errors import SbmError
from sbmlang.runs import Runs, simulate_runs

JARS = """
model jars
time t [day] from 0 to 10
index jar = 1..5
param k [1/day] ~ LogNormal(median=0.3, sigma=0.5)
param sigma ~ HalfNormal(0.5)
state C
init C = 10
d C/dt = -k*C
observe y[jar] ~ Normal(C, sigma)
observe z ~ Normal(C, 1)
"""
DECAY = """
model decay
time t [day] from 0 to 20
param k [1/day] ~ LogNormal(median=0.3, sigma=0.5)
state C
init C = 10
d C/dt = -k*C
observe y ~ Normal(C, 0.5)
"""


@cache
def compiled(text: str):
    model = sbm.loads(text)
    return model, model.compile("torch")


def simulated(text: str, grids: list[list[float]], draws: int = 60, seed: int = 1):
    model, program = compiled(text)
    designs = tuple(empty(model.ir, grid, observe=True) for grid in grids)
    return model, simulate_runs(program, designs, draws, seed)


def repeated(runs: Runs, times: int) -> Runs:
    """The same design with every row ``times`` times, the values drawn anew around the first."""
    rng = np.random.default_rng(0)
    designs = []
    for d in runs.designs:
        channels = {
            n: replace(
                c, time=np.repeat(c.time, times), value=np.repeat(c.value, times),
                index={k: np.repeat(i, times) for k, i in c.index.items()},
                start={k: np.repeat(s, times) for k, s in c.start.items()},
            )
            for n, c in d.channels.items()
        }  # fmt: skip
        designs.append(replace(d, channels=channels))
    rows = {n: np.repeat(y, times, axis=1) for n, y in runs.rows.items()}
    return replace(
        runs, designs=tuple(designs), rows={n: y + rng.normal(size=y.shape) for n, y in rows.items()}
    )


TIMES = [1.0, 2.0, 5.0]
LONG = list(np.arange(1.0, 81.0) / 4)
CASES = {
    "columns": (DECAY, [TIMES], {"embedding": "columns"}),
    "no symmetry": (JARS, [TIMES], {"embedding": "none"}),
    "moments": (JARS, [TIMES], {}),
    "convolution": (DECAY, [LONG], {}),
    "set": (DECAY, [TIMES, [0.5, 3.0, 7.0, 9.0], [2.0, 11.0]], {}),
    "transformer": (DECAY, [TIMES, [0.5, 3.0, 7.0, 9.0]], {"embedding": "transformer"}),
    "gaps": (DECAY, [TIMES, TIMES[:2]], {}),
    "masked columns": (JARS, [TIMES], {"missing": 0.5, "embedding": "columns"}),
    "masked moments": (JARS, [TIMES], {"missing": 0.5}),
    "masked convolution": (DECAY, [LONG], {"missing": 0.5}),
    "masked set": (DECAY, [TIMES], {"missing": 0.5, "embedding": "set"}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, Runs, Features]:
    text, grids, options = CASES[request.param]
    model, runs = simulated(text, grids)
    return request.param, runs, Features.derive(model.ir, runs, seed=3, **options).eval()


def test_one_data_set_gives_what_its_run_gives(case: tuple[str, Runs, Features]) -> None:
    _, runs, features = case
    whole = features(features.encode(runs))
    assert whole.shape == (len(runs), features.size)
    assert whole.dtype == torch.float32
    for k in (0, len(runs) - 1):
        torch.testing.assert_close(
            features(features.encode_data(runs.data(k)))[0], whole[k], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            features(features.encode(runs.take([k])))[0], whole[k], rtol=1e-4, atol=1e-5
        )


def test_saved_features_are_the_same(case: tuple[str, Runs, Features], tmp_path) -> None:
    _, runs, features = case
    torch.save(features.state(), tmp_path / "features.pt")
    again = Features.of_state(torch.load(tmp_path / "features.pt", weights_only=True))
    assert again.description == features.description
    assert again.columns == features.columns
    torch.testing.assert_close(again(again.encode(runs)), features(features.encode(runs)), rtol=0, atol=0)


def test_features_differ_from_run_to_run(case: tuple[str, Runs, Features]) -> None:
    _, runs, features = case
    assert (features(features.encode(runs)).std(dim=0) > 1e-4).any()


def test_a_hidden_value_changes_nothing(case: tuple[str, Runs, Features]) -> None:
    _, runs, features = case
    inputs = features.encode(runs)
    hidden = torch.rand(inputs["seen"].shape, generator=torch.Generator().manual_seed(0)) < 0.4
    hidden[:, 0] = False
    one = {**inputs, "seen": inputs["seen"] & ~hidden}
    other = {**one, "values": torch.where(hidden, 7.0, one["values"])}
    if "raw" in one:
        other["raw"] = torch.where(hidden, -70.0, one["raw"])
    torch.testing.assert_close(features(one), features(other), rtol=0, atol=0)
    assert not torch.allclose(features(one), features(inputs))


def test_training_hides_rows_where_it_is_asked_to_or_designs_have_gaps(
    case: tuple[str, Runs, Features],
) -> None:
    name, runs, features = case
    inputs = features.encode(runs)
    told = features.augment(inputs, torch.Generator().manual_seed(0))
    assert bool((told["seen"] != inputs["seen"]).any()) == ("masked" in name or name == "gaps")
    assert (told["seen"] <= inputs["seen"]).all()
    assert told["seen"].any(1).all()


# --- exchangeable rows ------------------------------------------------------------------------------------

HEAD = "model m\ntime t [day] from 0 to 10\nindex jar = 1..4\nparam k [1/day] ~ LogNormal(median=0.3, sigma=0.5)\n"
BODY = "state C[jar]\ninit C[jar] = 10\nd C[jar]/dt = -k*C[jar]\n"
SAYS = "observe y[jar] ~ Normal(C[jar], 1)\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEAD + BODY + SAYS, ""),
        (HEAD + BODY + "observe y[jar] ~ Normal(C[jar] - mean(C[jar], jar), 1)\n", ""),
        (HEAD.replace("param k", "param k[jar]") + BODY.replace("-k", "-k[jar]") + SAYS, "parameter k differs along jar"),
        (HEAD + "data a[jar]\n" + BODY.replace("= 10", "= a[jar]") + SAYS, "covariate a differs along jar"),
        (HEAD + BODY.replace("= 10", "= 10*jar") + SAYS, "uses jar as a number"),
        (HEAD + BODY + "observe y[jar] ~ Normal(C[jar] + C[2], 1)\n", "names one jar, in C[jar#1]"),
        (HEAD + BODY.replace("-k*C[jar]", "k*((if jar > 1 then C[jar-1] else 0) - C[jar])") + SAYS, "jar"),
        (HEAD.replace("1..4", "{a, b, c}") + BODY + "observe y[jar] ~ Normal(C[jar] + C[a], 1)\n", "names one jar"),
    ],
)  # fmt: skip
def test_members_are_exchangeable_where_nothing_tells_them_apart(text: str, reason: str) -> None:
    fact = exchangeable(sbm.loads(text).ir, "jar")
    assert bool(fact) == (not reason)
    assert reason in fact.reason


SIMULATOR = """
model pairs
index pair = 1..4
param a ~ Uniform(-3, 3)
simulator draws from python "pairs.py:simulate" : a -> x[pair], y[pair]
  random DENSITY
observe x_seen[pair] = x[pair]
observe y_seen[pair] = y[pair]
"""


@pytest.mark.parametrize(
    ("density", "reason"),
    [
        ("density sum(-(x[pair] - a)^2 - (y[pair] - a*x[pair])^2, pair)", ""),
        ("density sum(-x[pair]^2, pair) + sum(-y[pair]^2, pair) - mean(x[pair], pair)*a", ""),
        ("density sum(-(x[pair] - a)^2*pair - y[pair]^2, pair)", "uses pair as a number"),
        ("density -x[1]^2 - sum(y[pair]^2, pair)", "names one pair"),
        ("", "no density is declared"),
    ],
)
def test_outputs_of_a_simulator_are_exchangeable_where_its_density_says_so(density: str, reason: str) -> None:
    fact = exchangeable(sbm.loads(SIMULATOR.replace("DENSITY", density)).ir, "pair")
    assert bool(fact) == (not reason)
    assert reason in fact.reason


@pytest.mark.parametrize("embedding", ["auto", "columns"])
def test_moments_do_not_depend_on_the_order_of_jars_and_columns_do(embedding: str) -> None:
    model, runs = simulated(JARS, [TIMES])
    features = Features.derive(model.ir, runs, embedding=embedding)
    order = [3, 0, 4, 1, 2]
    y = runs.rows["y"].reshape(len(runs), 5, 3)
    moved = replace(runs, rows={**runs.rows, "y": y[:, order].reshape(len(runs), -1)})
    same = torch.allclose(features(features.encode(runs)), features(features.encode(moved)), atol=1e-4)
    assert same == (embedding == "auto")
    mixed = replace(
        runs, rows={**runs.rows, "y": np.roll(y, 1, axis=2).reshape(len(runs), -1)}
    )  # times change places
    assert not torch.allclose(features(features.encode(runs)), features(features.encode(mixed)), atol=1e-4)


def test_permuted_columns_are_those_of_permuted_jars() -> None:
    model, runs = simulated(JARS, [TIMES])
    features = Features.derive(model.ir, runs, embedding="columns")
    before = features.encode(runs)["values"]
    after = features.augment(features.encode(runs), torch.Generator().manual_seed(0))["values"]
    jars = [x[:, :15].reshape(-1, 5, 3) for x in (before, after)]
    assert not torch.equal(*jars)
    for one, other in zip(*jars, strict=True):  # whole jars, in another order
        assert {tuple(j.tolist()) for j in one} == {tuple(j.tolist()) for j in other}
    torch.testing.assert_close(before[:, 15:], after[:, 15:], rtol=0, atol=0)


def test_replicates_change_places_at_their_own_time_only() -> None:
    model, runs = simulated(DECAY, [TIMES])
    runs = repeated(runs, 4)
    features = Features.derive(model.ir, runs)
    assert "replicates" in " ".join(features.description)
    y = runs.rows["y"].reshape(len(runs), 3, 4)
    rng = np.random.default_rng(0)
    moved = replace(runs, rows={"y": rng.permuted(y, axis=2).reshape(len(runs), -1)})
    torch.testing.assert_close(
        features(features.encode(runs)), features(features.encode(moved)), rtol=1e-3, atol=1e-4
    )
    other = replace(runs, rows={"y": y[:, [1, 0, 2]].reshape(len(runs), -1)})
    assert not torch.allclose(features(features.encode(runs)), features(features.encode(other)), atol=1e-3)


def test_moments_are_those_of_numpy() -> None:
    from sbmlang.backends.torch.amortized.features_moments import moments
    from sbmlang.backends.torch.amortized.features_plates import Plate

    rng = np.random.default_rng(0)
    y = rng.normal(2, 1.5, size=(1, 10))
    found = moments(
        Plate("point", np.arange(10).reshape(5, 2), True, ""),
        torch.tensor(y),
        torch.ones(1, 10) > 0,
        counts=False,
    )
    a = y.reshape(5, 2)
    r = np.corrcoef(a.T)[0, 1]
    expected = [*a.mean(0), *np.log(a.std(0)) / 4, *a.mean(0) / a.std(0), np.arctanh(r)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


# --- scales -----------------------------------------------------------------------------------------------


def test_columns_come_on_one_scale_and_heavy_tails_are_bent() -> None:
    rng = np.random.default_rng(0)
    normal = 1e6 + 1e3 * rng.normal(size=4000)
    heavy = 5 + rng.standard_cauchy(size=4000)
    columns = np.stack([normal, heavy, np.full(4000, 3.0)], axis=1)
    scale = scale_of(columns)
    assert scale.heavy.tolist() == [False, True, False]
    assert scale.varies.tolist() == [True, True, False]
    told = scale(columns)
    np.testing.assert_allclose(told.mean(0)[:2], 0, atol=0.01)
    np.testing.assert_allclose(told.std(0)[:2], 1, atol=0.02)
    assert np.abs(scale(columns * 1e6)).max() == 10
    order = np.argsort(heavy)
    assert (np.diff(told[order, 1]) >= 0).all()  # still monotone
    assert (
        np.abs(np.clip((heavy - heavy.mean()) / heavy.std(), -10, 10)).mean() < 0.2
    )  # what it would be unbent


def test_columns_that_vary_by_factors_are_taken_by_their_logarithms() -> None:
    """A factor of two is as many sds whether values are small or large; counts with zeros stay as they are."""
    rng = np.random.default_rng(1)
    factors = np.exp(3 * rng.normal(size=60))  # too few for their tails to be judged
    counts = rng.poisson(2.0, size=60).astype(float)
    scale = scale_of(np.stack([factors, counts, 5 + 0.1 * factors.clip(max=2)], axis=1))
    assert scale.logs.tolist() == [True, False, False]
    told = scale(np.array([[1e-3, 1, 5], [2e-3, 2, 6], [1e3, 3, 7], [2e3, 4, 8], [0.0, 0, 0]]))[:, 0]
    steps = np.diff(told)
    np.testing.assert_allclose(steps[[0, 2]], np.log(2) / np.log(factors).std(), rtol=1e-9)
    assert told[-1] == -10  # impossible in all simulations
    again = scale.tensor(torch.tensor([[1e-3, 1, 5], [2e-3, 2, 6]], dtype=torch.float64))[:, 0]
    np.testing.assert_allclose(again.numpy(), told[:2], rtol=1e-9)
    assert Scale.of_state(scale.state()).logs.tolist() == scale.logs.tolist()


def test_scales_are_learnt_from_all_designs() -> None:
    """Runs of a design follow each other, and far more runs than a scale is learnt from have many designs."""
    model, runs = simulated(DECAY, [[0.1 * (k + 1), 5.0 + 0.1 * k] for k in range(30)])
    many = runs.take(np.sort(np.arange(25_000) % len(runs)))
    order = np.argsort(many.design, kind="stable")
    features = Features.derive(model.ir, many.take(order), embedding="columns")
    assert features.layout.scale.varies.all()
    assert len(features.layout.scale.varies) == 60


def test_rows_that_never_change_are_left_out() -> None:
    model, runs = simulated(DECAY, [[0.0, *TIMES]])
    rows = runs.rows["y"].copy()
    rows[:, 0] = 10.0
    features = Features.derive(model.ir, replace(runs, rows={"y": rows}), embedding="columns")
    assert features.size == 3
    assert "y at 0" in " ".join(features.description)


# --- missing rows and other designs -----------------------------------------------------------------------


def test_patterns_hide_as_much_as_asked() -> None:
    seen, rank = torch.ones(4000, 40, dtype=torch.bool), torch.linspace(0, 1, 40)
    kept = thinned(seen, rank, torch.zeros(40, dtype=torch.long), 0.4, torch.Generator().manual_seed(0))
    lost = 1 - kept.float().mean(1)
    assert 0.25 < float((lost == 0).float().mean()) < 0.45  # one run in three is left whole
    assert 0.1 < float(lost.mean()) < 0.25
    assert kept.any(1).all()


def without(data, row: int):
    y = data.channels["y"]
    value = y.value.copy()
    value[row] = np.nan
    return replace(data, channels={**data.channels, "y": replace(y, value=value)})


def test_missing_rows_need_a_network_that_was_trained_to_miss_some() -> None:
    model, runs = simulated(DECAY, [TIMES])
    data = without(runs.data(0), 1)
    with pytest.raises(SbmError, match=r"1 of 3 rows are missing, the first being y at 2") as problem:
        Features.derive(model.ir, runs).encode_data(data)
    assert problem.value.codes == ("E871",)
    told = Features.derive(model.ir, runs, missing=0.3).encode_data(data)
    assert told["seen"].tolist() == [[True, False, True]]


def test_runs_with_missing_rows_are_learnt_with_masks() -> None:
    model, runs = simulated(DECAY, [TIMES])
    rows = runs.rows["y"].copy()
    rows[3, 1] = np.nan
    features = Features.derive(model.ir, replace(runs, rows={"y": rows}))
    assert features.layout.masks == 0.4
    assert not features.encode(replace(runs, rows={"y": rows}))["seen"][3, 1]


def test_designs_that_differ_in_their_rows_are_learnt_with_masks() -> None:
    model, several = simulated(DECAY, [[1.0, 2.0, 5.0], [1.0, 2.0, 7.0]])
    _, whole = simulated(DECAY, [[1.0, 2.0, 5.0, 7.0]], draws=1)
    features = Features.derive(model.ir, several, embedding="columns")
    assert features.layout.masks == 0.4
    assert features.encode_data(whole.data(0))["seen"].all()
    strict = Features.derive(model.ir, several, embedding="columns", missing="none")
    first = several.data(int(np.flatnonzero(several.design == 0)[0]))
    assert strict.encode_data(first)["seen"].tolist() == [[True, True, True, False]]
    with pytest.raises(SbmError, match=r"no design .* has y at 7 beside the other rows") as problem:
        strict.encode_data(whole.data(0))
    assert problem.value.codes == ("E870",)
    with pytest.raises(SbmError, match=r"1 of 3 rows are missing, the first being y at 1") as problem:
        strict.encode_data(without(first, 0))
    assert problem.value.codes == ("E871",)


def test_another_design_is_refused_unless_the_network_takes_any() -> None:
    model, runs = simulated(DECAY, [TIMES])
    _, other = simulated(DECAY, [[1.0, 4.0]], draws=5)
    with pytest.raises(SbmError, match=r"not trained for y at 4") as problem:
        Features.derive(model.ir, runs).encode_data(other.data(0))
    assert problem.value.codes == ("E870",)
    _, several = simulated(DECAY, [TIMES, [0.5, 3.0, 7.0, 9.0]])
    features = Features.derive(model.ir, several)
    assert features(features.encode_data(other.data(0))).shape == (1, features.size)
    assert not features.notes(other.data(0))
    _, late = simulated(DECAY, [[1.0, 18.0]], draws=5)
    assert [n.code for n in features.notes(late.data(0))] == ["W870"]


def test_another_forcing_is_refused_and_several_are_learnt() -> None:
    text = DECAY.replace("param k", "data clay\nparam k").replace("-k*C", "-k*clay*C")
    model = sbm.loads(text)
    base = empty(sbm.loads(DECAY).ir, TIMES, observe=True)
    designs = tuple(replace(base, covariates={"clay": np.array(c)}) for c in (0.5, 1.0, 1.5))
    one = simulate_runs(model, designs[:1], 40, 1)
    with pytest.raises(SbmError, match="data clay is another") as problem:
        Features.derive(model.ir, one).encode_data(designs[1])
    assert problem.value.codes == ("E873",)
    all_three = simulate_runs(model, designs, 60, 1)
    features = Features.derive(model.ir, all_three)
    assert features.size == 3 + 1
    data = replace(all_three.data(0), covariates={"clay": np.array(0.7)})
    assert not torch.equal(
        features(features.encode_data(data)), features(features.encode_data(all_three.data(0)))
    )
    far = replace(data, covariates={"clay": np.array(3.0)})
    assert [n.code for n in features.notes(far)] == ["W870"]


@pytest.mark.parametrize(
    "options", [{"embedding": "convolutoin"}, {"embedding": "moments"}, {"missing": 1.5}]
)
def test_options_that_there_are_not(options: dict) -> None:
    model, runs = simulated(DECAY, [TIMES])
    with pytest.raises(SbmError) as problem:
        Features.derive(model.ir, runs, **options)
    assert problem.value.codes == ("E872",)


# --- scores -----------------------------------------------------------------------------------------------

WALK = """
model walk
time t [day] from 0 to 8 step 1 [day]
param a ~ Normal(0, 1)
param s ~ LogNormal(median=0.5, sigma=0.3)
state X
init X ~ Normal(0, 1)
next X ~ Normal(a + 0.5*X, s)
observe y ~ Normal(X, 0.3)
"""


@pytest.mark.parametrize(("text", "times"), [(DECAY, TIMES), (WALK, [2.0, 3.0, 6.0])])
def test_scores_of_many_data_sets_are_those_of_the_program(text: str, times: list[float]) -> None:
    _, runs = simulated(text, [times], draws=20)
    program = compiled(text)[1]
    u = program.unconstrain(runs.parameters, runs.designs[0])
    found = Scores(program, runs.designs[0])(u, runs.rows)
    for k in (0, 7):
        _, expected = program.value_and_grad(runs.data(k))(u[k : k + 1])
        torch.testing.assert_close(found[k], expected[0], rtol=1e-9, atol=1e-9)


def test_estimates_by_scores_find_the_posterior_mean_of_a_gaussian() -> None:
    text = "model mean\ntime t [day] from 0 to 4\nparam mu ~ Normal(0, 1)\nobserve y ~ Normal(mu, 0.5)\n"
    model, runs = simulated(text, [[1.0, 2.0, 3.0, 4.0]], draws=2000)
    features = Features.derive(model.ir, runs, embedding="score", program=compiled(text)[1])
    told = features(features.encode(runs))
    mean = runs.rows["y"].sum(1) / 0.25 / (4 / 0.25 + 1)  # exact posterior mean
    last = told[:, -1].numpy()  # the last estimate, standardised
    assert np.corrcoef(last, mean)[0, 1] > 0.999
    torch.testing.assert_close(features(features.encode_data(runs.data(5)))[0], told[5], rtol=1e-4, atol=1e-4)
    again = Features.of_state(features.state(), compiled(text)[1])
    torch.testing.assert_close(again(again.encode(runs)), told, rtol=0, atol=0)


def test_scores_need_a_declared_density_and_all_rows() -> None:
    model, runs = simulated(DECAY, [TIMES])
    for options in ({}, {"program": compiled(DECAY)[1], "missing": 0.3}):
        with pytest.raises(SbmError) as problem:
            Features.derive(model.ir, runs, embedding="score", **options)
        assert problem.value.codes == ("E872",)

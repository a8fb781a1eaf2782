"""Forecasts against closed forms, scenarios, windows across the end of the data, scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.results import assemble, open_fit, save, save_figures
from sbmlang.studies import predict
from sbmlang.studies.fitted import dataset_of, open_up
from sbmlang.studies.future import future
from sbmlang.studies.scores import groups, log_density

DRAWS = 400
WALK = """model walk
time t [day] from 0 to 5 step 1
param s [kg] ~ HalfNormal(2)
state x [kg]
init x ~ Normal(0, 1)
next x ~ Normal(x, s)
observe y [kg] ~ Normal(x, 0.5 [kg]) "the level"
observe g [kg] ~ Normal(change(x, since last), 0.1 [kg])
"""
POOL = """model pool
time t [day] from 0 to 4
forcing temp [K] from data
param k [1/day] ~ LogNormal(median=0.5, sigma=0.3)
state C [kg]
init C = 3
d C/dt = -k*C + 0.1 [kg/day/K]*temp
observe y [kg] ~ Normal(C, 0.01 [kg])
"""


def fitted(text, columns, params, **attrs):
    """A fit as if a sampler had given the same parameters DRAWS times."""
    model = sbm.loads(text)
    data = sbm.read_data(model, columns)
    posterior = {n: np.full((1, DRAWS), float(v)) for n, v in params.items()}
    about = {"backend": "jax", "method": "test", **attrs}
    return assemble(model.ir, model.facts, data, posterior=posterior, attrs=about)


EXACT = {"engine": {"name": "exact", "kind": "Kalman filter"}}
Y = [0.3, 0.9, 1.4, 0.8]


@pytest.fixture(scope="module")
def walk():
    return fitted(
        WALK,
        {"t [day]": [0, 1, 2, 3], "y [kg]": Y, "g [kg]": [np.nan, 0.5, np.nan, -0.2]},
        {"s": 0.7},
        **EXACT,
    )


def of_walk(steps):
    """Mean and variance of x[3 + steps] given the data, by conditioning the joint normal of path and rows."""
    size = 4 + steps
    path = np.minimum.outer(np.arange(size), np.arange(size)) * 0.49 + 1.0  # x[0] has variance 1
    rows = np.zeros((6, size))
    rows[np.arange(4), np.arange(4)] = 1
    rows[4, [0, 1]] = [-1, 1]  # from the start of the model
    rows[5, [1, 3]] = [-1, 1]
    noise = np.diag([0.25] * 4 + [0.01] * 2)
    gain = path @ rows.T @ np.linalg.inv(rows @ path @ rows.T + noise)
    mean = gain @ np.array([*Y, 0.5, -0.2])
    return mean[-1], (path - gain @ rows @ path)[-1, -1]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_random_path_goes_on_from_its_smoothed_end(walk, backend):
    walk = walk.copy()
    walk.attrs["backend"] = backend
    found = predict(walk, until=6, every=1, draws=DRAWS, seed=3)
    x, y = found.tree["path"]["x"], found.tree["forecast"]["y"]
    assert x["time"].values.tolist() == [3, 4, 5, 6]
    for k in range(4):
        mean, variance = of_walk(k)
        drawn = x.isel(scenario=0, chain=0, time=k).values
        assert drawn.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / DRAWS))
        assert drawn.var(ddof=1) == pytest.approx(variance, rel=4 * np.sqrt(2 / DRAWS))
    mean, variance = of_walk(3)
    last = y.isel(scenario=0, chain=0, y_row=-1).values
    assert last.mean() == pytest.approx(mean, abs=4 * np.sqrt((variance + 0.25) / DRAWS))
    assert last.var(ddof=1) == pytest.approx(variance + 0.25, rel=4 * np.sqrt(2 / DRAWS))


def test_a_window_begins_at_the_last_row_of_the_past(walk):
    opened = open_up(walk)
    coming = future(opened, [], [], 5.0, 1.0)
    (start,) = coming.wanted.channels["g"].start.values()
    assert start.tolist() == [3, 4]
    assert coming.wanted.channels["g"].time.tolist() == [4, 5]


def test_the_data_of_a_fit_come_back_as_they_were(walk, tmp_path):
    model = sbm.loads(WALK)
    before = sbm.read_data(
        model, {"t [day]": [0, 1, 2, 3], "y [kg]": Y, "g [kg]": [np.nan, 0.5, np.nan, -0.2]}
    )
    after = dataset_of(open_fit(save(walk, tmp_path / "fit.nc")), model)
    assert after.grid.tolist() == before.grid.tolist()
    for name, channel in before.channels.items():
        other = after.channels[name]
        assert other.time.tolist() == channel.time.tolist()
        assert other.value.tolist() == channel.value.tolist()
        assert {w: s.tolist() for w, s in other.start.items()} == {
            w: s.tolist() for w, s in channel.start.items()
        }


def test_what_came_is_scored_by_lead_time(walk):
    found = predict(walk, data={"t [day]": [4, 5, 6], "y [g]": [800, np.nan, -500]}, draws=DRAWS)
    assert [(s.channel, s.unit, s.lead, s.rows) for s in found.scores] == [
        ("y", "kg", (1, 1), 1),
        ("y", "kg", (3, 3), 1),
    ]
    mean, variance = of_walk(1)
    sd = np.sqrt(variance + 0.25)
    z = (0.8 - mean) / sd  # 800 g; the score of a normal law in closed form (Gneiting & Raftery 2007)
    exact = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert found.scores[0].crps == pytest.approx(exact, abs=4 * sd / np.sqrt(DRAWS))
    assert found.scores[0].log_score == pytest.approx(stats.norm.logpdf(0.8, mean, sd), abs=0.3)
    assert found.scores[0].inside == (1, 1, 1)


def of_pool(temp, k=0.4, end=4.0):
    """dC/dt = -k C + 0.1 temp(t) by small trapezoidal steps."""
    t = np.linspace(0, end, 8001)
    source = 0.1 * temp(t)
    decay = np.exp(-k * (end - t))
    return 3 * np.exp(-k * end) + np.trapezoid(source * decay, t)


@pytest.fixture(scope="module")
def pool():
    return fitted(
        POOL, {"t [day]": [0, 1, 2], "temp [K]": [10, 12, 11], "y [kg]": [np.nan, 2.9, 2.8]}, {"k": 0.4},
        solver={"method": "explicit", "rtol": 1e-8, "atol": 1e-10},
    )  # fmt: skip


def test_scenarios_share_the_past_and_differ_in_what_comes(pool, tmp_path):
    tables = {
        "mild": {"t [day]": [3, 4], "temp [K]": [11, 11]},
        "hot": {"t [day]": [3, 4], "temp [mK]": [20000, 30000]},
    }
    found = predict(pool, scenarios=tables, every=1, draws=5)
    path = found.tree["path"]["C"]
    assert path["scenario"].values.tolist() == ["mild", "hot"]
    assert path.attrs["units"] == "kg"
    at_end = path.isel(chain=0, draw=0, time=-1).values
    points = np.arange(5.0)
    for scenario, future_temp in enumerate(([11, 11], [20, 30])):
        exact = of_pool(lambda t, f=future_temp: np.interp(t, points, [10, 12, 11, *f]))
        assert at_end[scenario] == pytest.approx(exact, rel=1e-5)
    assert np.ptp(path.isel(time=0).values) < 1e-9
    tree = open_fit(found.save(tmp_path / "forecast.nc"))
    assert [p.name for p in save_figures(tree, tmp_path / "figures")] == ["forecast_y.png"]


def test_another_past_is_refused(pool):
    with pytest.raises(SbmError) as caught:
        predict(pool, forcing={"t [day]": [0, 1, 2, 3, 4], "temp [K]": [10, 13, 11, 11, 11]})
    assert caught.value.codes == ("E833",)
    same = predict(pool, forcing={"t [day]": [0, 1, 2, 3, 4], "temp [K]": [10, 12, 11, 11, 11]}, draws=2)
    assert same.tree["forecast"]["y_time"].values.tolist() == [3, 4]


def test_a_forcing_that_ends_too_early_is_refused(pool):
    with pytest.raises(SbmError) as caught:
        predict(pool, forcing={"t [day]": [3], "temp [K]": [11]}, until=8)
    assert caught.value.codes == ("E661",)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "E831"),
        ({"until": 2.0}, "E831"),
        ({"data": {"t [day]": [1, 2], "y [kg]": [1.0, 2.0]}}, "E835"),
    ],
)
def test_a_forecast_without_a_future(walk, options, code):
    with pytest.raises(SbmError) as caught:
        predict(walk, **options)
    assert caught.value.codes == (code,)


def test_another_engine_carries_the_state_on_and_says_so(walk):
    tree = walk.copy()
    tree.attrs["engine"] = '{"name": "particle", "kind": "bootstrap"}'
    found = predict(tree, until=4, draws=3)
    assert [n.code for n in found.notes] == ["W831"]
    assert "exact" in str(found.notes[0])


def test_where_no_filter_fits_there_is_no_forecast_yet():
    text = WALK.replace("state x [kg]", "state x [kg] > 0 enforced").replace(
        "init x ~ Normal(0, 1)", "init x ~ LogNormal(median=1, sigma=1)"
    )
    text = text.replace("next x ~ Normal(x, s)", "next x ~ LogNormal(median=x, sigma=s/1 [kg])")
    tree = fitted(text, {"t [day]": [0, 1], "y [kg]": [0.3, 0.9], "g [kg]": [np.nan, 0.5]}, {"s": 0.7},
                  engine={"name": "sampled", "kind": "NUTS"})  # fmt: skip
    with pytest.raises(SbmError) as caught:
        open_up(tree)
    assert caught.value.codes == ("E832",)


def test_draws_that_cannot_go_on_are_left_out_and_told(pool):
    from sbmlang.studies.prediction import _one

    opened = open_up(pool)
    coming = future(opened, [], [{"t [day]": [3], "y [kg]": [1.0], "temp [K]": [11]}], None, None)

    class Failing:
        """The program, whose second draw has no path."""

        def predict(self, *args, **options):
            found = opened.program.predict(*args, **options)
            return found | {"ok": np.array([True, False, True])}

        def __getattr__(self, name):
            return getattr(opened.program, name)

    broken = type(opened)(opened.tree, opened.model, opened.data, Failing())
    tree, notes = _one(broken, coming, opened.params(3), 0, "forecast")
    assert [n.code for n in notes] == ["W830"]
    assert tree["posterior_predictive"].sizes["draw"] == 2


def test_lead_times_are_grouped_evenly():
    assert [g.tolist() for g in groups(np.array([1.0, 1, 2, 3]))] == [[0, 1], [2], [3]]
    assert [len(g) for g in groups(np.arange(60.0))] == [10] * 6


def test_the_log_score_is_that_of_the_law():
    rng = np.random.default_rng(0)
    at = np.array([0.0, 1.5])
    found = log_density(rng.normal(size=(20000, 2)), at)
    np.testing.assert_allclose(found, stats.norm.logpdf(at), atol=0.05)

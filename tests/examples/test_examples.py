"""The examples: each checks without a warning, reads its data, and the generated program agrees with an oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import solve_ivp

import sbmlang as sbm

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# The model (its folder, and its file where that is not model.sbm), its tables and the values in them.
DATA = {
    "incubation": "respiration.csv",
    "lynx_hare": "pelts.csv",
    "drug_elimination": "concentration.csv",
    "soil_respiration": "daily.csv",
    "nile": "flow.csv",
    "hidden_markov": "quakes.csv",
    "stochastic_volatility": "growth.csv",
    "ricker": "counts.csv",
    "sir": "cases.csv",
    "sir/cholera": "cholera.csv",
    "lorenz63": "x.csv",
    "scon/scon_c": "scon_c_t5000.csv",
    "scon/scon_ss": "scon_ss_t5000.csv",
    "scon/sawb_eca": "sawb_eca.csv",
    "forest_carbon": ("observations.csv", "sites.csv", "drivers.csv"),
    "sbi/sir": "sir.csv",
    "sbi/two_moons": "two_moons.csv",
    "sbi/slcp": "slcp.csv",
    "incubations": "series.csv",
    "elm/elm": "observed.csv",
    "gridded_carbon": ("respiration.csv", "climate.csv", "cells.csv"),
}
# Tables of many data sets: the column that tells them apart, and the one that is read here.
ONE_OF = {"incubations": ("series", "WicklandNeff2008/C_WD_10_25")}
OBSERVED = {
    "incubation": 225, "lynx_hare": 42, "drug_elimination": 20, "soil_respiration": 1067, "nile": 100,
    "hidden_markov": 107, "stochastic_volatility": 202, "ricker": 60, "sir": 30, "sir/cholera": 40,
    "lorenz63": 100, "scon/scon_c": 4004, "scon/scon_ss": 4004, "scon/sawb_eca": 1005, "forest_carbon": 667, "incubations": 10,
    "sbi/sir": 10, "sbi/two_moons": 2, "sbi/slcp": 8,
    "elm/elm": 5, "gridded_carbon": 12000,
}  # fmt: skip
# What states="auto" takes; the others are deterministic.
ENGINES = {
    "nile": "exact",
    "hidden_markov": "forward",
    "stochastic_volatility": "sampled",
    "scon/scon_c": "exact",
    "scon/scon_ss": "gaussian",
}


def opened(name):
    folder, _, file = name.partition("/")
    tables = [DATA[name]] if isinstance(DATA[name], str) else DATA[name]
    model = sbm.load(EXAMPLES / folder / f"{file or 'model'}.sbm")
    if name in ONE_OF:
        by, site = ONE_OF[name]
        return model, sbm.read_sites(model, *(EXAMPLES / folder / table for table in tables), by=by)[site]
    return model, sbm.read_data(model, *(EXAMPLES / folder / table for table in tables))


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.sbm")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_model_is_among_these(path):
    name = path.parent.name if path.stem == "model" else f"{path.parent.name}/{path.stem}"
    assert name in DATA
    assert (path.parent / "README.md").exists()


@pytest.mark.parametrize("name", ENGINES)
def test_the_engine_is_the_one_its_readme_speaks_of(name):
    assert opened(name)[0].facts.engine.name == ENGINES[name]


@pytest.mark.parametrize("name", DATA)
def test_checks_and_reads_all_of_its_data(name):
    model, data = opened(name)
    assert not model.diagnostics
    assert sum(len(c) for c in data.channels.values()) == OBSERVED[name]


def test_only_winters_of_the_chambers_and_channels_that_a_study_has_not_draw_warnings():
    expected = {"soil_respiration": {"W604"}, "incubations": {"W603"}}
    for name in DATA:
        codes = {note.code for note in opened(name)[1].notes}
        assert codes == expected.get(name, set()), name


def test_incubation_is_the_sum_of_two_exponentials():
    model, data = opened("incubation")
    C0, f = np.array([4.8, 3.0, 5.5, 4.8, 4.5]), np.array([0.25, 0.43, 0.29, 0.3, 0.36])
    fast, slow = np.array([0.09, 0.09, 0.08, 0.09, 0.06]), np.array([0.0038, 0.0042, 0.0044, 0.0038, 0.0043])
    sigma = np.array([0.16, 0.09, 0.28, 0.14, 0.17])
    params = {"C0": C0, "f_fast": f, "k_fast": fast, "k_slow": slow, "sigma": sigma,
              "k_fast_typical": 0.08, "k_slow_typical": 0.004, "spread_fast": 0.3, "spread_slow": 0.3}  # fmt: skip
    rows = data.channels["respired"]
    k, t = rows.index["soil"], rows.time
    mean = C0[k] * (f[k] * -np.expm1(-fast[k] * t) + (1 - f[k]) * -np.expm1(-slow[k] * t))
    expected = stats.norm(mean, sigma[k]).logpdf(rows.value).sum()
    assert float(model.compile("jax").log_likelihood(params, data)) == pytest.approx(expected, rel=1e-6)


def test_lynx_and_hare_follow_lotka_and_volterra():
    model, data = opened("lynx_hare")
    params = {"alpha": 0.55, "beta": 0.028, "gamma": 0.8, "delta": 0.024,
              "hare_1900": 34.0, "lynx_1900": 5.9, "sigma_hare": 0.25, "sigma_lynx": 0.3}  # fmt: skip
    table = pd.read_csv(EXAMPLES / "lynx_hare" / "pelts.csv")
    path = solve_ivp(
        lambda t, x: [(0.55 - 0.028 * x[1]) * x[0], (0.024 * x[0] - 0.8) * x[1]],
        (1900, 1920), [34.0, 5.9], t_eval=table["year"], rtol=1e-10, atol=1e-10,
    ).y  # fmt: skip
    expected = (
        stats.lognorm(0.25, scale=path[0]).logpdf(table["hare [kpelt]"]).sum()
        + stats.lognorm(0.3, scale=path[1]).logpdf(table["lynx [kpelt]"]).sum()
    )
    program = model.compile("jax", rtol=1e-8, atol=1e-10)
    assert float(program.log_likelihood(params, data)) == pytest.approx(expected, rel=1e-6)


def test_drug_follows_absorption_and_saturating_elimination():
    model, data = opened("drug_elimination")
    params = {"k_a": 0.76, "K_m": 1.0, "V_m": 0.9, "sigma": 0.13}
    table = pd.read_csv(EXAMPLES / "drug_elimination" / "concentration.csv")
    path = solve_ivp(
        lambda t, c: 15 * 0.76 * np.exp(-0.76 * t) - 0.45 * c / (1 + c),
        (0, 10), [0.0], t_eval=table["time [day]"], rtol=1e-10, atol=1e-12,
    ).y[0]  # fmt: skip
    expected = stats.lognorm(0.13, scale=path).logpdf(table["concentration [mg/L]"]).sum()
    program = model.compile("jax", rtol=1e-8, atol=1e-10)
    assert float(program.log_likelihood(params, data)) == pytest.approx(expected, rel=1e-6)


def test_soil_respiration_converts_mass_to_area():
    """Without moisture limit and input, and Q10 = 1, the flux is k C0 exp(-k t) per mass; the rest is units."""
    model, data = opened("soil_respiration")
    k, C0, sigma = 0.002, 5.0, 0.3
    both = np.ones(2)
    params = {
        "C0": C0 * both,
        "input": 1e-12 * both,
        "k_10": k * both,
        "Q10": both,
        "K_W": 1e-12 * both,
        "sigma": sigma * both,
    }
    rows = data.channels["respiration"]
    per_square_metre = 0.5e6 * 0.15  # g of soil
    flux = k * C0 * np.exp(-k * rows.time) * 1e-3 * per_square_metre / 12.011 * 1e6 / 86400
    expected = stats.norm(flux, sigma).logpdf(rows.value).sum()
    assert float(model.compile("jax").log_likelihood(params, data)) == pytest.approx(expected, rel=1e-5)


def fitted(name, **options):
    model, data = opened(name)
    tree = model.compile("jax").infer(data, seed=1, **options)
    return {n: v.values for n, v in tree["posterior"].data_vars.items()}


@pytest.mark.slow
def test_incubation_agrees_with_least_squares():
    """Within two posterior sds of separate least-squares fits of each soil (pooled replicates)."""
    draws = fitted("incubation")
    reference = {
        "C_fast": [1.17, 1.23, 1.38, 1.40, 1.88], "C_slow": [3.55, 1.60, 3.63, 3.32, 3.07],
        "k_fast": [0.099, 0.095, 0.103, 0.088, 0.048], "k_slow": [0.0039, 0.0051, 0.0057, 0.0038, 0.0029],
        "sigma": [0.16, 0.087, 0.28, 0.13, 0.17],
    }  # fmt: skip
    for name, values in reference.items():
        distance = np.abs(draws[name].mean((0, 1)) - values) / draws[name].std((0, 1))
        assert distance.max() < 2, (name, distance)


def reference_posterior(name):
    return pd.read_csv(EXAMPLES / name / "reference_posterior.csv").set_index("parameter")


@pytest.mark.slow
def test_lynx_hare_agrees_with_the_reference_posterior():
    from arviz_stats import ess

    names = {"alpha": "theta[1]", "beta": "theta[2]", "gamma": "theta[3]", "delta": "theta[4]", "hare_1900": "z_init[1]",
             "lynx_1900": "z_init[2]", "sigma_hare": "sigma[1]", "sigma_lynx": "sigma[2]"}  # fmt: skip
    draws, reference = fitted("lynx_hare"), reference_posterior("lynx_hare")
    for ours, theirs in names.items():
        x, row = draws[ours], reference.loc[theirs]
        error = np.hypot(x.std() / np.sqrt(float(ess(x))), row["mcse_mean"])
        assert abs(x.mean() - row["mean"]) < 4 * error, ours
        assert x.std() == pytest.approx(row["sd"], rel=0.1), ours


@pytest.mark.slow
def test_drug_elimination_agrees_with_the_reference_quantiles():
    """In ranks, which heavy tails leave alone: the share of our draws below each reference quantile."""
    from arviz_stats import ess

    draws = fitted("drug_elimination", draws=4000, target_accept=0.99)
    for name, row in reference_posterior("drug_elimination").iterrows():
        x = draws[name]
        for quantile, p in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
            below = (x < row[quantile]).astype(float)
            error = np.sqrt(p * (1 - p) * (1 / float(ess(below)) + 1 / row["n"]))
            assert abs(below.mean() - p) < 4 * error, (name, quantile)


def test_every_incubation_reads_in_its_own_unit():
    model = sbm.load(EXAMPLES / "incubations" / "model.sbm")
    sites = sbm.read_sites(model, EXAMPLES / "incubations" / "series.csv", by="series")
    about = pd.read_csv(EXAMPLES / "incubations" / "sites.csv").set_index("series")
    assert list(sites) == list(about.index)
    assert (sites.left_out, sites.notes) == ({}, ())
    raw = pd.read_csv(EXAMPLES / "incubations" / "series.csv")
    factors = {
        "mgCO2/gsoil/day": 272.92,
        "mgC/kgSOC": 1e-3,
        "ugC/gSOC/hour": 24,
        "percentC": 10,
        "ugCO2/gsoil": 2.7292e-4,
    }
    for unit, factor in factors.items():
        rows = raw[raw.unit == unit]
        first = rows[rows.series == rows.series.iloc[0]]
        found = sites[first.series.iloc[0]].channels[first.channel.iloc[0]].value
        np.testing.assert_allclose(found, factor * first.value, rtol=1e-6)


def test_incubations_respire_what_two_pools_lose():
    model, data = opened("incubations")
    theta = {"f": 0.04, "k_fast": 0.06, "k_slow": 4e-4, "carbon": 0.03, "sigma": 0.2}
    times, values = (getattr(data.channels["total_carbon"], n) for n in ("time", "value"))
    total = 1000 * (0.04 * -np.expm1(-0.06 * times) + 0.96 * -np.expm1(-4e-4 * times))
    exact = stats.lognorm(0.2, scale=total).logpdf(values).sum()
    exact += stats.lognorm(0.1, scale=0.03).logpdf(data.channels["content"].value).sum()
    assert float(model.compile("torch").log_likelihood(theta, data)) == pytest.approx(exact, rel=1e-9)

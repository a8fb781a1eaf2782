"""Synthetic fits of three shapes: an incubation of five soils, a predator and its prey, a daily record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from sbmlang.data.dataset import Channel, Dataset, Series
from sbmlang.ir import Covariate, Dim, Forcing, Law, Model, Observation, Parameter, Report, State, Time
from sbmlang.library.units import NONE, CoherentSystem, Dimension, Unit
from sbmlang.results import assemble

CHAINS, DRAWS = 4, 400
DAY = Unit("day", Dimension.of({"second": Fraction(1)}), 86400.0)
SOILS = ("clay", "loam", "peat", "sand", "silt")


@dataclass
class Fit:
    """A model, its data, and the arrays a sampler might have returned."""

    model: Model
    data: Dataset
    groups: dict
    truth: dict

    def tree(self, **changes):
        return assemble(self.model, None, self.data, **{**self.groups, **changes})


def unit(text: str) -> Unit:
    return Unit(text, NONE)


def parameter(name: str, text: str, doc: str, dims: tuple[str, ...] = ()) -> Parameter:
    return Parameter(name=name, unit=unit(text), doc=doc, dims=dims, law=Law("Normal", {}))


def observation(name: str, text: str, doc: str, dims: tuple[str, ...] = ()) -> Observation:
    return Observation(name=name, unit=unit(text), doc=doc, dims=dims, law=Law("Normal", {}), column=name)


def model(name: str, parts: dict, origin: str | None = None) -> Model:
    return Model(
        name=name,
        doc=f"the model {name}",
        text=f'model {name}  "the model {name}"\n',
        system=CoherentSystem({}),
        time=Time("t", DAY, origin=origin),
        **{"dims": {}, **parts},
    )


def nuts_statistics(rng: np.random.Generator) -> dict:
    return {
        "diverging": np.zeros((CHAINS, DRAWS), bool),
        "acceptance_rate": rng.beta(8, 2, (CHAINS, DRAWS)),
        "tree_depth": rng.integers(2, 5, (CHAINS, DRAWS)),
        "energy": rng.normal(120, 3, (CHAINS, DRAWS)),
    }


@pytest.fixture
def incubation() -> Fit:
    """5 soils x 3 replicates x 15 irregular times; k per soil, a spread, a report, a state."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0.5, 120, 15)).round(1)
    soil = np.repeat(np.arange(5), 45)
    time = np.tile(np.repeat(times, 3), 5)
    k = np.array([0.010, 0.016, 0.022, 0.034, 0.028])
    pool = np.array([3.1, 2.4, 5.2, 1.5, 2.2])

    def respired(rate):
        return pool[soil] * (1 - np.exp(-rate[..., soil] * time))

    draws_k = k * np.exp(rng.normal(0, 0.06, (CHAINS, DRAWS, 5)))
    sigma = 0.12 * np.exp(rng.normal(0, 0.07, (CHAINS, DRAWS)))
    mu = respired(draws_k)
    value = respired(k) + rng.normal(0, 0.12, len(time))
    parts = {
        "dims": {"soil": Dim("soil", 5, SOILS)},
        "parameters": (
            parameter("k", "1/day", "decay rate of the labile pool at 20 degrees and 60 % water", ("soil",)),
            parameter("sigma", "mgC/gsoil", "measurement error"),
        ),
        "states": (State(name="C", unit=unit("mgC/gsoil"), dims=("soil",), doc="labile carbon",
                         init=sp.Integer(1), lower=0.0),),
        "observations": (observation("CO2", "mgC/gsoil", "cumulative respired carbon", ("soil",)),),
        "reports": (Report(name="mean_life", unit=DAY, doc="mean residence time", dims=("soil",),
                           expr=sp.Integer(1)),),
        "covariates": (Covariate(name="clay_share", unit=unit("%"), dims=("soil",), column="clay"),),
        "forcings": (Forcing(name="temp", unit=unit("K"), interpolation="linear", column="temp"),),
    }  # fmt: skip
    grid = np.unique(np.concatenate([[0.0], times]))
    data = Dataset(
        sizes={"soil": 5},
        labels={"soil": SOILS},
        channels={"CO2": Channel(time, value, {"soil": soil}, {})},
        forcings={"temp": Series(np.array([0.0, 120.0]), np.array([290.0, 295.0]))},
        covariates={"clay_share": np.array([45.0, 20.0, 10.0, 5.0, 15.0])},
        grid=grid,
    )
    groups = {
        "posterior": {"k": draws_k, "sigma": sigma},
        "reports": {"mean_life": 1 / draws_k},
        "states": {"C": pool * np.exp(-draws_k[:, :, None, :] * grid[:, None])},
        "posterior_predictive": {"CO2": rng.normal(mu, sigma[..., None])},
        "log_likelihood": {"CO2": -0.5 * ((value - mu) / sigma[..., None]) ** 2 - np.log(sigma)[..., None]},
        "sample_stats": nuts_statistics(rng),
        "prior": {
            "k": 0.02 * np.exp(rng.normal(0, 0.7, (1000, 5))),
            "sigma": np.abs(rng.normal(0, 0.5, 1000)),
        },
        "attrs": {"seed": 3, "backend": "jax", "method": "nuts", "options": {"max_tree_depth": 10}},
    }
    return Fit(model("incubation", parts), data, groups, {"k": k, "sigma": 0.12})


@pytest.fixture
def predator_prey() -> Fit:
    """Two channels of 21 years, eight correlated parameters, chains that disagree, divergences."""
    rng = np.random.default_rng(2)
    docs = {
        "alpha": ("1/year", "growth rate of prey"), "beta": ("1/year/head", "attack rate"),
        "gamma": ("1/year", "death rate of predators"), "delta": ("1/year/head", "conversion of prey"),
        "H_0": ("head", "hares at the start"), "L_0": ("head", "lynx at the start"),
        "sigma_H": ("", "error of hare counts"), "sigma_L": ("", "error of lynx counts"),
    }  # fmt: skip
    centre = np.array([0.55, 0.028, 0.80, 0.024, 33.0, 6.0, 0.25, 0.25])
    factor = 0.4 * rng.normal(size=(8, 8)) + np.eye(8)
    noise = rng.normal(size=(CHAINS, DRAWS, 8)) @ factor
    noise[3] += 0.5  # one chain sits elsewhere
    draws = centre * np.exp(0.1 * noise)
    time = np.arange(1900.0, 1921.0)
    years = time - 1900
    waves = {"hares": 35 + 25 * np.cos(years * 0.62), "lynx": 28 + 20 * np.cos(years * 0.62 - 1.2)}
    parts = {
        "parameters": tuple(parameter(n, u, d) for n, (u, d) in docs.items()),
        "observations": (observation("hares", "1000", "snowshoe hare pelts"),
                         observation("lynx", "1000", "Canada lynx pelts")),
    }  # fmt: skip
    channels = {n: Channel(time, w * np.exp(rng.normal(0, 0.2, 21)), {}, {}) for n, w in waves.items()}
    groups = {
        "posterior": {n: draws[..., i] for i, n in enumerate(docs)},
        "posterior_predictive": {
            n: w * np.exp(rng.normal(0, 0.3, (CHAINS, DRAWS, 21))) for n, w in waves.items()
        },
        "sample_stats": {
            **nuts_statistics(rng),
            "diverging": draws[..., 0] < np.quantile(draws[..., 0], 0.02),
        },
        "prior": {n: centre[i] * np.exp(rng.normal(0, 0.6, 1000)) for i, n in enumerate(docs)},
    }
    data = Dataset({}, {}, channels, {}, {}, time)
    return Fit(model("predator_prey", parts), data, groups, dict(zip(docs, centre, strict=True)))


@pytest.fixture
def daily() -> Fit:
    """One channel of 900 days, 14 parameters, dates."""
    rng = np.random.default_rng(3)
    time = np.arange(900.0)
    mean = 2.5 + 1.8 * np.sin(2 * np.pi * time / 365) + 0.4 * np.sin(time / 9)
    names = [f"b_{i}" for i in range(14)]
    draws = rng.normal(np.linspace(-1, 1, 14), 0.2, (CHAINS, DRAWS, 14))
    parts = {
        "parameters": tuple(parameter(n, "umol/m^2/s", f"weight number {i} of a rather long explanation")
                            for i, n in enumerate(names)),
        "observations": (observation("flux", "umol/m^2/s", "soil respiration"),),
    }  # fmt: skip
    shift = rng.normal(0, 0.1, (CHAINS, DRAWS, 1))
    data = Dataset({}, {}, {"flux": Channel(time, mean + rng.normal(0, 0.4, 900), {}, {})}, {}, {}, time)
    groups = {
        "posterior": {n: draws[..., i] for i, n in enumerate(names)},
        "posterior_predictive": {"flux": mean + shift + rng.normal(0, 0.4, (CHAINS, DRAWS, 900))},
        "prior": {n: rng.normal(0, 3, 1000) for n in names},
    }
    return Fit(model("daily", parts, origin="2012-01-01"), data, groups, {})


ROWS = 40


def two_parameters(
    seed: int,
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
    rho: float = 0.0,
    bend: float = 0.0,
    chains: int = 4,
    draws: int = 500,
    changes: dict | None = None,
    attrs: dict | None = None,
    text: str = "param a ~ Normal(0, 3)\nparam b ~ Normal(0, 3)\n",
    values: np.ndarray | None = None,
):
    """A tree whose draws of (a, b) are independent standard normals, moved as asked; rows y ~ Normal(a, 1)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(2, chains, draws))
    b = rho * z[0] + np.sqrt(1 - rho**2) * z[1] + bend * (z[0] ** 2 - 1)
    b /= np.sqrt(1 + 2 * bend**2)
    a, b = (m + s * x for m, s, x in zip(shift, scale, (z[0], b), strict=True))
    time = np.arange(1.0, ROWS + 1)
    y = np.random.default_rng(99).normal(0, 1, ROWS) if values is None else values
    data = Dataset({}, {}, {"y": Channel(time, y, {}, {})}, {}, {}, np.append(0.0, time))
    made = replace(
        model("pair", {"parameters": (parameter("a", "1", "first"), parameter("b", "1/day", "second")),
                       "observations": (observation("y", "1", "measured"),)}), text=text)  # fmt: skip
    groups = {
        "posterior": {"a": a, "b": b},
        "posterior_predictive": {"y": rng.normal(0, 1, (chains, draws, ROWS))},
        "log_likelihood": {"y": -0.5 * (y - 0.1 * a[..., None]) ** 2 - 0.5 * np.log(2 * np.pi)},
        "sample_stats": {"diverging": np.zeros((chains, draws), bool)},
        "prior": {"a": 3 * rng.normal(size=1000), "b": 3 * rng.normal(size=1000)},
        "attrs": {"backend": "jax", "method": "nuts", "seed": seed, **(attrs or {})},
    }
    return assemble(made, None, data, **{**groups, **(changes or {})})


@pytest.fixture
def pair():
    """Makes fits of two parameters; see ``two_parameters``."""
    return two_parameters

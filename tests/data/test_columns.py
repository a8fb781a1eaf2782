"""Columns of known values against the JAX backend's own evaluation and plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

import sbmlang as sbm
from sbmlang.data.columns import columns, forcing_at, value_of_known
from sbmlang.ir import Along, Ref
from sbmlang.ir.stepping import WIDTH

SITE = (Along("site"),)
MODEL = """
model m
time t [day] step 1 [day]
index site = {a, b, c}
index layer = 1..2
const depth[layer] = [0.1, 0.3]
data area[site]
forcing temp[site] from data (KIND)
forcing rain from data (linear)
let total = sum(area[site], site)
let share[site] = area[site]/total + site
let warm[site] = exp(temp[site]/10)*share[site] + t/(1 [day])
let slow[site] = warm[site] + rain
param k[site] ~ HalfNormal(1)
state X[site]
d X[site]/dt = (slow[site] - k[site]*X[site]*sum(depth[layer], layer))/(1 [day])
noise X[site] = 0.1/sqrt(1 [day])
init X[site] ~ Normal(1, 0.1)
observe y[site] ~ Normal(X[site], 0.1)
"""


def loaded(kind: str = "linear") -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    model = sbm.loads(MODEL.replace("KIND", kind))
    sites = np.repeat(list("abc"), 6)
    t = np.tile([0.0, 1.0, 2.0, 2.5, 4.0, 7.0], 3)
    forcing = {"site": sites, "t": t, "temp": rng.normal(10, 3, 18), "rain": np.tile(rng.normal(size=6), 3)}
    table = {"site": list("abc"), "t": [7.0] * 3, "y": [1.0] * 3, "area": [2.0, 3.0, 5.0]}
    rain = {"t": t[:6], "rain": forcing.pop("rain")[:6]}
    return model, sbm.read_data(model, table, forcing=[forcing, rain])


@pytest.mark.parametrize("kind", ["linear", "previous", "next", "cubic"])
def test_forcings_agree_with_those_of_the_jax_backend(kind: Any) -> None:
    jax = pytest.importorskip("jax")
    from sbmlang.backends.jax.forcing import interpolate, points

    model, data = loaded(kind)
    forcing = next(f for f in model.ir.forcings if f.name == "temp")
    series = data.forcings["temp"]
    times = np.sort(np.concatenate([np.linspace(0, 7, 57), series.time, [7 + 1e-10, -1e-10, 7.1, -0.1]]))
    found = forcing_at(forcing, data, times)
    with jax.enable_x64(True):
        expected = np.asarray(interpolate(kind, points(kind, series.time, series.value), times))
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert np.isnan(found[[0, -1]]).all() and np.isfinite(found[1:-1]).all()


def test_definitions_that_only_time_decides_are_computed_for_every_member() -> None:
    model, data = loaded()
    step = model.facts.step
    times = np.array([0.0, 0.5, 3.0])
    found = columns([Ref("slow", SITE), Ref("rain") ** 2, sp.Integer(3)], step, model.ir, data, times)
    assert found.shape == (3, 3, 3)
    area = np.array([2.0, 3.0, 5.0])
    share = area / 10 + np.arange(1, 4)
    series, rain = data.forcings["temp"], data.forcings["rain"]
    for m in range(3):
        temp = np.interp(times, series.time, series.value[:, m])
        fallen = np.interp(times, rain.time, rain.value)
        assert found[m, :, 0] == pytest.approx(np.exp(temp / 10) * share[m] + times + fallen, rel=1e-12)
        assert found[m, :, 1] == pytest.approx(fallen**2, rel=1e-12)
    assert np.all(found[:, :, 2] == 3)


def test_each_time_may_belong_to_one_member_and_bring_values_along() -> None:
    model, data = loaded()
    step = model.facts.step
    times, member, width = (
        np.array([0.5, 3.0, 6.0, 6.0]),
        np.array([2, 0, 1, 2]),
        np.array([1.0, 2.0, 3.0, 4.0]),
    )
    found = columns(
        [Ref("slow", SITE) * WIDTH], step, model.ir, data, times, given={WIDTH: width}, member=member
    )
    whole = columns([Ref("slow", SITE)], step, model.ir, data, times)
    assert found.shape == (4, 1)
    assert found[:, 0] == pytest.approx(whole[member, np.arange(4), 0] * width, rel=1e-14)


def test_values_known_before_the_path_begins() -> None:
    model, data = loaded()
    found = value_of_known(model.ir, data)
    assert found["total"] == 10 and found["share"] == pytest.approx([1.2, 2.3, 3.5])
    assert found["depth"].tolist() == [0.1, 0.3]
    mean = [np.trapezoid(v, data.forcings["temp"].time) / 7 for v in data.forcings["temp"].value.T]
    assert found["temp.mean"] == pytest.approx(mean, rel=1e-12)

"""Results as a tree: dims, coordinates, meaning, and what NetCDF can hold."""

import json
import subprocess
import sys
from dataclasses import MISSING, fields, replace

import arviz_stats as azs
import numpy as np
import pytest
import sympy as sp

from sbmlang.errors import InternalError
from sbmlang.ir import Stage
from sbmlang.ir.facts import Fact, Facts
from sbmlang.results import assemble, attributes, name_clashes, plain


def test_each_group_has_its_dims(incubation):
    tree = incubation.tree()
    posterior = tree["posterior"]
    assert posterior["k"].dims == ("chain", "draw", "soil")
    assert posterior["sigma"].dims == ("chain", "draw")
    assert posterior["mean_life"].dims == ("chain", "draw", "soil")
    assert posterior["C"].dims == ("chain", "draw", "time", "soil")
    assert tree["posterior_predictive"]["CO2"].dims == ("chain", "draw", "CO2_row")
    assert tree["log_likelihood"]["CO2"].dims == ("chain", "draw", "CO2_row")
    assert tree["prior"]["k"].dims == ("chain", "draw", "soil")
    assert tree["prior"].sizes["chain"] == 1
    assert tree["observed_data"]["CO2"].dims == ("CO2_row",)
    assert tree["constant_data"]["temp"].dims == ("temp_time",)
    assert tree["constant_data"]["clay_share"].dims == ("soil",)
    assert "prior_predictive" not in tree.children


def test_coordinates_are_labels_and_times(incubation):
    tree, data = incubation.tree(), incubation.data
    channel = data.channels["CO2"]
    assert list(tree["posterior"]["soil"].values) == list(data.labels["soil"])
    assert np.array_equal(tree["posterior"]["time"].values, data.grid)
    for group in ("observed_data", "posterior_predictive", "constant_data"):
        rows = tree[group]
        assert np.array_equal(rows["CO2_time"].values, channel.time)
        assert list(rows["CO2_soil"].values) == [data.labels["soil"][i] for i in channel.index["soil"]]


def test_values_are_found_by_name(incubation):
    found = incubation.tree()["posterior"]["k"].sel(soil="peat").values
    assert np.array_equal(found, incubation.groups["posterior"]["k"][..., 2])


def test_variables_say_what_they_are(incubation):
    tree = incubation.tree()
    k = tree["posterior"]["k"].attrs
    assert (k["units"], k["role"], k["long_name"][:10]) == ("1/day", "parameter", "decay rate")
    assert tree["posterior"]["C"].attrs["lower"] == 0.0
    assert tree["observed_data"]["CO2"].attrs["units"] == "mgC/gsoil"
    assert tree["log_likelihood"]["CO2"].attrs["units"] == "1"
    assert tree["constant_data"]["CO2_time"].attrs["time_unit"] == "day"


def test_root_attributes_come_back(incubation):
    tree = incubation.tree(
        attrs={
            "seed": 2**70,
            "options": {"dense": True, "step": None},
            "flag": True,
            "share": np.float64(0.5),
        }
    )
    found = attributes(tree)
    assert found["seed"] == 2**70
    assert found["options"] == {"dense": True, "step": None}
    assert found["flag"] is True
    assert found["share"] == 0.5
    assert found["model_text"] == incubation.model.text
    assert found["versions"]["numpy"] == np.__version__
    assert all(isinstance(v, str | int | float) for v in tree.attrs.values())


def test_facts_become_json(incubation):
    S = sp.Symbol("S")
    others = {f.name: Fact(True, "all") for f in fields(Facts) if f.default is f.default_factory is MISSING}
    facts = Facts(**{
        **others,
        "linear_drift": Fact(False, "S appears squared", S**2),
        "stages": {"k": Stage.PARAMETERS},
        "jacobian": {("S", "D"): 2 * S},
    })  # fmt: skip
    tree = assemble(incubation.model, facts, incubation.data)
    found = attributes(tree)["facts"]
    assert found["linear_drift"]["expr"] == "S**2"
    assert found["stages"] == {"k": "per parameter set"}
    assert found["jacobian"] == {"S, D": "2*S"}
    assert json.loads(tree.attrs["facts"]) == found == plain(facts)


def test_a_channel_without_values_is_a_design(incubation):
    channel = incubation.data.channels["CO2"]
    design = replace(channel, value=np.full(len(channel), np.nan))
    tree = assemble(
        incubation.model,
        None,
        replace(incubation.data, channels={"CO2": design}),
        posterior_predictive=incubation.groups["posterior_predictive"],
    )
    assert "observed_data" not in tree.children
    assert tree["posterior_predictive"]["CO2"].sizes["CO2_row"] == 225


def test_our_own_mistakes_are_internal(incubation):
    with pytest.raises(InternalError, match="'nobody'"):
        incubation.tree(posterior={"nobody": np.zeros((4, 400))})
    with pytest.raises(InternalError, match="shape"):
        incubation.tree(posterior={"k": np.zeros((4, 400))})


def test_names_the_results_need(incubation):
    assert not name_clashes(incubation.model)
    k, sigma = incubation.model.parameters
    clashing = incubation.model.replace(parameters=(replace(k, name="draw"), replace(sigma, name="CO2_soil")))
    found = name_clashes(clashing)
    assert [d.code for d in found] == ["E650", "E650"]
    assert "'CO2_soil'" in found[1].message


def test_arviz_takes_the_tree(incubation):
    table = azs.summary(incubation.tree(), var_names=["k", "sigma"])
    assert len(table) == 6


def test_importing_results_is_light():
    ask = "import sys, sbmlang.results; print([m for m in sys.modules if m.split('.')[0] in %r])"
    heavy = ("matplotlib", "arviz_base", "arviz_stats", "xarray", "pandas", "scipy")
    done = subprocess.run([sys.executable, "-c", ask % (heavy,)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

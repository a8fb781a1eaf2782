"""Simulated data say how their path was made, and a model that makes it in another way says so."""

import pytest

import sbmlang as sbm

MODEL = """
model ou
time t [hour] from 0 to 4 step {step} [hour]{scheme}
param k [1/hour] ~ LogNormal(median=0.5, sigma=0.1)
state x
d x/dt = -k*x
noise x = 0.3 [1/hour^(1/2)]
init x = 1
observe y ~ Normal(x, 0.1)
"""
LINE = "# path in steps: scheme euler, step 1 hour, forcing at start\n"


def notes(tmp_path, header, **options):
    file = tmp_path / "simulated.csv"
    file.write_text(header + "t,y\n1,0.5\n2,0.4\n")
    model = sbm.loads(MODEL.format(**{"step": 1, "scheme": ""} | options))
    return sbm.read_data(model, file).notes


@pytest.mark.parametrize(
    "options", [{"step": 0.5}, {"scheme": " scheme exact"}, {"scheme": " forcing at end"}]
)
def test_data_of_another_scheme_draw_a_warning(tmp_path, options):
    found = [n for n in notes(tmp_path, LINE, **options) if n.code == "W760"]
    assert len(found) == 1
    assert "scheme euler, step 1 hour, forcing at start" in found[0].message
    assert found[0].place == "simulated.csv"


@pytest.mark.parametrize("header", [LINE, "# measured in Aswan\n", ""])
def test_data_of_the_same_scheme_or_measured_ones_do_not(tmp_path, header):
    assert [n.code for n in notes(tmp_path, header) if n.code == "W760"] == []

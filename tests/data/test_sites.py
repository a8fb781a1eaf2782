"""Many sites in one table."""

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.errors import SbmError

MODEL = """model jar
unit gC, gsoil
unit gCO2 = 0.25 [gC]
time t [day]
data temp [degC]
forcing rain [mm] from data linear
param k [1/day] ~ LogNormal(median=0.1, sigma=0.5)
state C [mgC/gsoil] >= 0
init C = 10
d C/dt = -k*C*(temp/(300 [K]))*(1 + rain/(1 [mm]))
observe y [mgC/gsoil] ~ Normal(C, 0.1 [mgC/gsoil])
observe z [mgC/gsoil] ~ Normal(2*C, 0.1 [mgC/gsoil])
"""
RAIN = {"t": [0.0, 100.0], "rain": [0.0, 1.0]}
LONG = """plot,t,channel,value,unit
north,1,y,8,mgC/gsoil
north,2,y,7,mgC/gsoil
south,5,z,8000,ugCO2/gsoil
"""


@pytest.fixture(scope="module")
def model():
    return sbm.loads(MODEL)


def table(tmp_path, text=LONG):
    path = tmp_path / "obs.csv"
    path.write_text(text)
    return path


def temps(**values):
    return {"plot": list(values), "temp": list(values.values())}


def test_each_site_has_its_own_times_units_and_constants(tmp_path, model):
    sites = sbm.read_sites(model, table(tmp_path), temps(north=10.0, south=20.0), RAIN, by="plot")
    assert list(sites) == ["north", "south"]
    assert sites["north"].channels["y"].time.tolist() == [1, 2]
    assert len(sites["north"].channels["z"]) == len(sites["south"].channels["y"]) == 0
    assert sites["south"].channels["z"].value.tolist() == [2.0]  # 8000 ugCO2 are 2 mgC
    assert [float(d.covariates["temp"]) for d in sites.values()] == [10, 20]
    assert all(np.array_equal(d.forcings["rain"].value, [0, 1]) for d in sites.values())  # one table for all
    assert (sites.left_out, sites.notes) == ({}, ())


def test_a_site_reads_as_it_would_alone(tmp_path, model):
    sites = sbm.read_sites(model, table(tmp_path), temps(north=10.0, south=20.0), RAIN, by="plot")
    alone = sbm.read_data(model, {"t": [1.0, 2.0], "y": [8.0, 7.0], "temp": [10.0, 10.0]}, RAIN)
    program = model.compile("torch")
    theta = {"k": 0.3}
    assert float(program.log_likelihood(theta, sites["north"])) == float(program.log_likelihood(theta, alone))


def test_forcings_of_each_site(model):
    rain = {"plot": ["a", "a", "b", "b"], "t": [0.0, 9.0, 0.0, 9.0], "rain": [0.0, 1.0, 2.0, 3.0]}
    obs = {"plot": ["a", "b"], "t": [1.0, 1.0], "y": [1.0, 2.0]}
    sites = sbm.read_sites(model, obs, temps(a=1.0, b=2.0), by="plot", forcing=rain)
    assert [d.forcings["rain"].value.tolist() for d in sites.values()] == [[0, 1], [2, 3]]


def test_sites_that_cannot_be_used_are_told_with_their_reason(tmp_path, model):
    text = LONG + "west,1,y,five,mgC/gsoil\neast,1,y,,mgC/gsoil\n"
    sites = sbm.read_sites(
        model, table(tmp_path, text), temps(north=1.0, south=2.0, west=3.0, east=4.0), RAIN, by="plot"
    )
    assert list(sites) == ["north", "south"]
    assert {s: p.codes[0] for s, p in sites.left_out.items()} == {"west": "E640", "east": "E645"}
    assert "row 5" in str(sites.left_out["west"])  # the row of the whole table
    (note,) = sites.notes
    assert (note.code, note.message) == ("W851", "2 of 4 data sets cannot be used and are left out")
    assert note.help[0].startswith("west: E640 ")


def test_a_warning_of_many_sites_is_said_once(model):
    obs = {"plot": ["a", "b"], "t": [1.0, 1.0], "y": [1.0, 2.0], "weather": ["fair", "foul"]}
    sites = sbm.read_sites(model, obs, temps(a=1.0, b=2.0), RAIN, by="plot")
    unused = [n for n in sites.notes if n.code == "W602"]
    assert len(unused) == 1
    assert unused[0].help[-1] == "at a and b"
    assert [n.message for n in sites.notes if n.code == "W603"] == [
        "observation 'z' has no column 'z'; the model is fitted without it"
    ]


@pytest.mark.parametrize(
    ("by", "obs", "word"),
    [
        ("plt", {"plot": ["a"], "t": [1.0], "y": [1.0]}, "no table has a column 'plt'"),
        ("plot", {"plot": ["a", ""], "t": [1.0, 2.0], "y": [1.0, 1.0]}, "does not say which plot"),
    ],
)
def test_the_column_has_to_be_there(model, by, obs, word):
    with pytest.raises(SbmError, match=word) as problem:
        sbm.read_sites(model, obs, temps(a=1.0), RAIN, by=by)
    assert problem.value.codes == ("E856",)


def test_an_index_is_no_site():
    model = sbm.loads("""model sites
time t [day]
index site from data
param k[site] ~ Normal(0, 1)
observe y[site] ~ Normal(k[site], 1)
""")
    with pytest.raises(SbmError, match="is an index of the model") as problem:
        sbm.read_sites(model, {"site": ["a"], "t": [1.0], "y": [1.0]}, by="site")
    assert problem.value.codes == ("E856",)


def test_no_site_at_all(model):
    with pytest.raises(SbmError) as problem:
        sbm.read_sites(model, {"plot": ["a", "b"], "t": [1.0, 1.0], "y": [1.0, 2.0]}, RAIN, by="plot")
    assert problem.value.codes == ("E857", "E670")

"""What a newcomer gets wrong: a clear message, exit code 1, no traceback, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

RUN = ("run", "model.sbm", "--data", "data.csv")
POOL = """model pool "one pool"
unit gC, gsoil
time t [day] from 0 to 10
{more}
state A [gC] >= 0
param k [1/day] ~ LogNormal(median=0.1, sigma=0.5)
d A/dt = -k*A
init A = 1
observe y [gC] ~ Normal(A, 0.1 [gC])
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def mistake(sbm, project, *arguments, code, says, exit=1):
    """Runs a command that must fail in this way and leave the folder as it is."""
    before = files(project)
    ended = sbm(*arguments)
    assert ended.code == exit
    assert f"error {code}: " in ended.err
    for text in says:
        assert text in ended.err
    assert "Traceback" not in ended.err + ended.out
    assert files(project) == before


def replaced(project, old, new):
    path = project / "model.sbm"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- model files -----------------------------------------------------------------------------------------


def test_a_missing_model_file_names_those_that_are_there(sbm, project):
    mistake(sbm, project, "check", "modle.sbm", code="E001", says=["modle.sbm", "model.sbm"])


def test_a_folder_is_no_model_file(sbm, project):
    mistake(sbm, project, "show", ".", code="E001", says=["is a folder"])


def test_a_binary_file_is_no_model(sbm, project):
    (project / "photo.sbm").write_bytes(bytes(range(256)))
    mistake(sbm, project, "check", "photo.sbm", code="E002", says=["not a text file"])


def test_an_empty_file_says_how_to_begin(sbm, project):
    (project / "empty.sbm").write_text("")
    mistake(sbm, project, "check", "empty.sbm", code="E501", says=["empty.sbm:1:1", "model decay"])


def test_a_misspelt_parameter(sbm, project):
    replaced(project, "at k*C", "at kk*C")
    mistake(
        sbm, project, "check", "model.sbm", code="E203", says=["'kk'", "did you mean 'k'?", "model.sbm:13:25"]
    )


def test_a_missing_unit(sbm, project):
    replaced(project, "at k*C", "at 0.05*C")
    mistake(sbm, project, "check", "model.sbm", code="E313", says=["[carbon]/[soil]/[time]", "mgC/gsoil"])


def test_carbon_is_not_soil(sbm, project):
    (project / "pool.sbm").write_text(
        POOL.format(more="const m = 1 [gC]\nconst b = 1 [gsoil]\nreport r = m + b")
    )
    mistake(sbm, project, "check", "pool.sbm", code="E301", says=["[carbon]", "[soil]", "m + b"])


@pytest.mark.parametrize(
    ("prior", "says"),
    [
        ("Beta(mean=2, sd=0.1)", "between 0 and 1"),
        ("LogNormal(median=-1, sigma=1)", "must be positive"),
        ("Normal(0, -1)", "must be positive"),
    ],
)
def test_a_prior_outside_its_support(sbm, project, prior, says):
    (project / "pool.sbm").write_text(POOL.format(more=f"param p ~ {prior}"))
    mistake(sbm, project, "check", "pool.sbm", code="E543", says=[says, prior])


def test_per_degree_is_per_kelvin(sbm, project):
    (project / "pool.sbm").write_text(POOL.format(more="const q = 0.1 [1/degC]"))
    mistake(sbm, project, "check", "pool.sbm", code="E303", says=["degC", "write 1/K"])


def test_all_mistakes_of_a_file_come_at_once(sbm, project):
    replaced(project, "at k*C", "at kk*C")
    replaced(project, "init C = C0", "init C = C00")
    ended = sbm("check", "model.sbm")
    assert ended.err.count("error E203") == 2
    assert "model.sbm: 2 errors" in ended.out


# --- data ------------------------------------------------------------------------------------------------


def test_run_wants_data(sbm, project):
    mistake(sbm, project, "run", "model.sbm", code="E735", says=["observes co2", "--data"])


def test_a_missing_data_file(sbm, project):
    mistake(sbm, project, "run", "model.sbm", "--data", "obs.csv", code="E601", says=["obs.csv"])


def test_an_absent_column_names_what_is_there(sbm, project):
    (project / "obs.csv").write_text("t [day],resp [mgC/gsoil]\n1,0.1\n")
    mistake(sbm, project, "run", "model.sbm", "-d", "obs.csv", code="E644", says=["'resp'", "expected 'co2'"])


def test_text_in_a_column_of_numbers(sbm, project):
    (project / "obs.csv").write_text("t [day],co2 [mgC/gsoil]\n1,0.1\n3,much\n")
    mistake(sbm, project, "run", "model.sbm", "-d", "obs.csv", code="E640", says=["'much'", "row 3", "'co2'"])


def test_a_column_of_another_dimension(sbm, project):
    (project / "obs.csv").write_text("t [day],co2 [kg]\n1,0.1\n")
    mistake(sbm, project, "run", "model.sbm", "-d", "obs.csv", code="E611", says=["kg, [mass]", "mgC/gsoil"])


def test_celsius_becomes_kelvin(sbm, project):
    """No mistake at all: a degC column is converted to the kelvins of the forcing."""
    import xarray as xr

    more = "forcing temp [K] from data\nreport warm [K] = temp"
    (project / "pool.sbm").write_text(POOL.format(more=more))
    (project / "obs.csv").write_text("t [day],y [gC],temp [degC]\n0,1,20\n10,0.3,30\n")
    ended = sbm("simulate", "pool.sbm", "-d", "obs.csv", "--draws", "2", "-o", "out.nc")
    assert ended.code == 0
    with xr.open_datatree(project / "out.nc", engine="h5netcdf") as tree:
        warm = tree["prior"]["warm"].isel(chain=0, draw=0).load()
    assert float(warm.min()) == pytest.approx(293.15)
    assert float(warm.max()) == pytest.approx(303.15)


# --- options ---------------------------------------------------------------------------------------------


def test_an_unknown_backend(sbm, project):
    mistake(
        sbm, project, "compile", "model.sbm", "--backend", "jx", code="E701", says=["did you mean 'jax'?"]
    )


def test_an_unknown_method(sbm, project):
    mistake(sbm, project, *RUN, "--method", "nut", code="E707", says=["'nut'", "nuts"])


def test_a_pass_that_is_none(sbm, project):
    mistake(sbm, project, "show", "model.sbm", "--after", "lowr", code="E730", says=["did you mean 'lower'?"])


def test_a_diagram_of_another_kind(sbm, project):
    mistake(sbm, project, "show", "model.sbm", "--graph", "pools.png", code="E731", says=[".svg or .dot"])


@pytest.mark.parametrize(
    ("value", "code", "says"),
    [
        ("k", "E736", "NAME=NUMBER"),
        ("k=fast", "E736", "NAME=NUMBER"),
        ("kk=1", "E709", "did you mean 'k'?"),
        ("k=-1", "E737", "0 to inf [1/day]"),
    ],
)
def test_a_parameter_that_cannot_be_fixed(sbm, project, value, code, says):
    mistake(sbm, project, "simulate", "model.sbm", "--set", value, code=code, says=[says])


@pytest.mark.parametrize("arguments", [["simulate", "model.sbm"], [*RUN]])
def test_results_of_another_kind(sbm, project, arguments):
    mistake(sbm, project, *arguments, "-o", "out.xlsx", code="E738", says=[".nc"])


@pytest.mark.parametrize("arguments", [["simulate", "model.sbm"], [*RUN]])
def test_a_folder_that_is_not_there(sbm, project, arguments):
    mistake(sbm, project, *arguments, "-o", "no/such/out.nc", code="E651", says=["no/such", "mkdir -p"])


def test_a_file_that_may_not_be_written(sbm, project, monkeypatch):
    (project / "fit.nc").write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write all
    mistake(sbm, project, *RUN, code="E653", says=["no permission for 'fit.nc'"])


def test_a_file_that_holds_no_results(sbm, project):
    mistake(sbm, project, "summary", "model.sbm", code="E656", says=["not a NetCDF file"])
    mistake(sbm, project, "plot", "fti.nc", code="E655", says=["fti.nc"])


def test_a_name_that_cannot_be_one(sbm, project):
    mistake(sbm, project, "new", "9lives", code="E733", says=["beginning with a letter"])


def test_a_project_that_exists(sbm, project):
    (project / "mine").mkdir()
    mistake(sbm, project, "new", "mine", code="E734", says=["nothing was changed"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chek", "model.sbm"], "Did you mean 'check'?"),
        (["check", "--strict", "model.sbm"], "No such option: --strict"),
        (["check"], "Missing argument"),
        (["simulate", "model.sbm", "--draws", "0"], "--draws"),
        (["run", "model.sbm", "--draws", "many"], "--draws"),
        (["show", "model.sbm", "--format", "xml"], "--format"),
    ],
)
def test_a_wrong_command_line(sbm, project, arguments, says):
    before = files(project)
    ended = sbm(*arguments)
    assert ended.code == 2
    assert says in ended.err
    assert "sbm" in ended.err and "--help" in ended.err
    assert "Traceback" not in ended.err
    assert files(project) == before

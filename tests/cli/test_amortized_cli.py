"""sbm amortize, sbm apply and sbm run with a network, in a small model."""

from __future__ import annotations

import pytest

from sbmlang.cli.app import run
from sbmlang.results import attributes, open_fit

MODEL = """model mean "One mean"
time t [day] from 0 to 2 step 1
param mu [m] ~ Normal(0, 1) "the mean"
observe y [m] ~ Normal(mu, 0.2 [m])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mean.sbm").write_text(MODEL)
    (tmp_path / "one.csv").write_text("t [day],y [m]\n1,0.9\n2,1.1\n")
    (tmp_path / "many.csv").write_text(
        "plot,t [day],y [m]\na,1,90\na,2,110\nb,1,30\nb,2,10\n".replace("[m]", "[cm]")
    )
    return tmp_path


def test_a_network_is_trained_and_applied(folder, capsys):
    assert (
        run(
            [
                "amortize",
                "mean.sbm",
                "--data",
                "one.csv",
                "--simulations",
                "500",
                "--steps",
                "100",
                "-o",
                "net.pt",
            ]
        )
        == 0
    )
    assert "500 simulations" in capsys.readouterr().out
    assert run(["apply", "net.pt", "--data", "one.csv", "--draws", "200", "-o", "one.nc"]) == 0
    out = capsys.readouterr().out
    assert "Pareto k" in out
    assert attributes(open_fit("one.nc"))["amortized"]
    assert (
        run(["apply", "net.pt", "--data", "many.csv", "--by", "plot", "--draws", "200", "-o", "many.nc"]) == 0
    )
    assert "2 data sets" in capsys.readouterr().out
    mu = open_fit("many.nc")["posterior"]["mu"]
    assert mu.sel(site="a").mean() > 0.7  # in m, from cm
    assert mu.sel(site="b").mean() < 0.4
    command = "run mean.sbm --data one.csv --backend torch --method npe --network net.pt --draws 50 -o run.nc"
    assert run(command.split()) == 0
    assert open_fit("run.nc")["posterior"].sizes["draw"] == 200


def test_gaps_need_a_network_that_was_trained_to_miss_rows(folder, capsys):
    (folder / "gap.csv").write_text("t [day],y [m]\n1,0.9\n2,\n")
    train = ["amortize", "mean.sbm", "--data", "one.csv", "--simulations", "300", "--steps", "50"]
    assert run([*train, "-o", "all.pt"]) == 0
    assert run(["apply", "all.pt", "--data", "gap.csv", "-o", "fit.nc"]) == 1
    told = capsys.readouterr().err
    assert "E871" in told
    assert "--missing" in told
    assert run([*train, "--missing", "0.5", "-o", "some.pt"]) == 0
    assert "up to 50% of the rows are hidden" in capsys.readouterr().out
    assert run(["apply", "some.pt", "--data", "gap.csv", "--draws", "4000", "-o", "fit.nc"]) == 0
    mu = open_fit("fit.nc")["posterior"]["mu"].values
    assert mu.mean() == pytest.approx(0.9 * 25 / 26, abs=0.02)  # one row of sd 0.2 under a prior of sd 1
    assert mu.std() == pytest.approx(26**-0.5, rel=0.1)
    assert run([*train, "--missing", "most", "-o", "none.pt"]) == 1
    assert "E872" in capsys.readouterr().err


def test_mistakes_are_told(folder, capsys):
    assert run(["amortize", "mean.sbm", "--backend", "jax", "-o", "net.pt"]) == 1
    assert "E869" in capsys.readouterr().err
    assert run(["apply", "absent.pt", "--data", "one.csv"]) == 1
    assert "E863" in capsys.readouterr().err

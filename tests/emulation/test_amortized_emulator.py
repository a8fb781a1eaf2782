"""A network trained on an emulator's runs: corrected by the emulator's own likelihood, its error among the unknowns."""

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.cli.app import run as command
from sbmlang.data.run_table import RunTable
from sbmlang.emulation import apply, emulate, save_emulator
from sbmlang.results import attributes, emulator_line, open_fit

TEXT = """model land
unit gC
index year = 1..3
param k ~ Normal(0, 1)
simulator land from table "runs.csv" : k -> GPP[year] [gC/m^2]
observe flux[year] [gC/m^2] ~ Normal(GPP[year], 1 [gC/m^2])
"""
SLOPES = np.array([2.0, 1.0, 3.0])
SEEN = {"year": [1, 2, 3], "flux": [1.5, 0.2, 2.0]}


def made(seed=0):
    """An emulator of runs that scatter about straight lines, all years together: its error is not small."""
    random = np.random.default_rng(seed)
    k = random.normal(size=60)
    scatter = 0.4 * random.normal(size=(60, 1)) * SLOPES + 0.1 * random.normal(size=(60, 3))
    model = sbm.loads(TEXT)
    return model, emulate(model, runs=RunTable({"k": k}, {"GPP": k[:, None] * SLOPES + scatter}, "r", 60))


@pytest.fixture(scope="module")
def small():
    model, emulator = made()
    stands = apply(emulator, model, sbm.read_data(model, SEEN), backend="torch")
    network = stands.program.amortize(simulations=2000, designs=stands.data, steps=300)
    return model, emulator, stands, network


def test_draws_are_those_of_the_exact_posterior(small):
    """One-dimensional integral: p(k) times a Gaussian with the covariance of noise and emulator error."""
    _, emulator, stands, network = small
    tree = stands.told(network.posterior(stands.data, draws=4000, seed=1))
    modes, s = emulator.reduction.modes, emulator.errors.component
    covariance = np.diag(1 + emulator.errors.truncation**2) + (modes.T * s**2) @ modes
    grid = np.linspace(-5, 5, 2001)
    wrong = emulator.predict({"k": grid})["GPP"] - np.array(SEEN["flux"])
    log_p = -(grid**2) / 2 - np.einsum("gi,ij,gj->g", wrong, np.linalg.inv(covariance), wrong) / 2
    p = np.exp(log_p - log_p.max())
    mean = (p * grid).sum() / p.sum()
    sd = np.sqrt((p * (grid - mean) ** 2).sum() / p.sum())
    k = tree["posterior"]["k"].to_numpy().ravel()
    # 4000 nearly independent draws: errors of 0.016 sd in the mean and 0.011 in the sd; without the emulator's error
    # the sd would be 0.7 of what it is
    assert k.mean() == pytest.approx(mean, abs=0.08 * sd)
    assert k.std() == pytest.approx(sd, rel=0.06)
    assert sd > 1.2 / np.sqrt(1 + (SLOPES**2).sum())


def test_results_tell_of_the_emulator(small):
    _, emulator, stands, network = small
    tree = stands.told(network.posterior(stands.data, draws=200))
    told = attributes(tree)
    assert told["corrected"] and told["amortized"]
    assert told["emulator_r2"]["GPP"] == emulator.held_out["GPP"].r2
    assert f"R2 {emulator.held_out['GPP'].r2:.3f}" in emulator_line(tree)
    assert any("W880" in note for note in told["notes"])  # its error is most of the spread here


def test_a_network_belongs_to_its_emulator(small, tmp_path):
    model, emulator, stands, network = small
    path = network.save(tmp_path / "network.pt")
    again = apply(emulator, model, stands.data, backend="torch").program.load_network(path)
    found, before = (n.sample(stands.data, 5)[0].numpy() for n in (again, network))
    np.testing.assert_allclose(found, before, rtol=1e-6)
    other = apply(made(seed=1)[1], model, stands.data, backend="torch")
    with pytest.raises(sbm.SbmError, match="emulator") as raised:
        other.program.load_network(path)
    assert raised.value.codes == ("E864",)
    with pytest.raises(sbm.SbmError, match="--emulator"):
        model.compile("torch").load_network(path)


def test_commands(small, tmp_path, monkeypatch, capsys):
    _, emulator, _, network = small
    monkeypatch.chdir(tmp_path)
    (tmp_path / "land.sbm").write_text(TEXT)
    (tmp_path / "seen.csv").write_text("year,flux\n1,1.5\n2,0.2\n3,2.0\n")
    save_emulator(emulator, "emulator.nc")
    network.save("network.pt")
    with_emulator = ["--emulator", "emulator.nc"]
    trained = [
        "amortize",
        "land.sbm",
        *with_emulator,
        "--simulations",
        "200",
        "--steps",
        "20",
        "-o",
        "quick.pt",
    ]
    assert command(trained) == 0
    seen = ["--data", "seen.csv", "--draws", "200"]
    assert command(["apply", "network.pt", *seen, *with_emulator, "-o", "fit.nc"]) == 0
    assert "emulator: learned from 60 runs" in capsys.readouterr().out
    assert attributes(open_fit("fit.nc"))["emulator_r2"]["GPP"] > 0.5
    checked = [
        "calibrate",
        "network.pt",
        *with_emulator,
        "--corrected",
        "--simulations",
        "30",
        "--draws",
        "50",
    ]
    assert command(checked) == 0
    assert "emulator_error[1]" in capsys.readouterr().out
    assert command(["apply", "network.pt", *seen, *with_emulator, "--by", "year"]) != 0
    assert "E893" in capsys.readouterr().err
    assert command(["summary", "fit.nc"]) == 0
    assert "the error is part of the likelihood" in capsys.readouterr().out

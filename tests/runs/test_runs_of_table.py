"""Runs of an external model: from its table, or by running it."""

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.runs import Runs, open_runs, simulate_runs

TABLE = """model land
index year = 2001..2003
param k ~ Uniform(0, 1)
param s [kg] ~ Uniform(0.1, 0.2)
simulator land from table "{path}" : k -> G[year] [kg]
observe y[year] [kg] ~ Normal(G[year], s)
"""
CALLED = """model moons
index axis = {{a, b}}
param k ~ Uniform(0, 1)
simulator moons from python "{path}:simulate" : k -> p[axis]
observe y[axis] ~ Normal(p[axis], 0.1)
"""


@pytest.fixture
def table(tmp_path):
    k = np.linspace(0.05, 0.95, 40)
    lines = [f"{x},{x + 1},{2 * x},{x**2}" for x in k]
    (tmp_path / "land.csv").write_text("k,G_2001,G_2002,G_2003\n" + "\n".join(lines))
    return sbm.loads(TABLE.format(path=tmp_path / "land.csv"), name=str(tmp_path / "land.sbm"))


def test_a_table_gives_parameters_and_outputs_and_the_model_the_errors(table):
    runs = Runs.of_table(table, seed=1, repeat=50)
    k, s = runs.parameters["k"], runs.parameters["s"]
    assert (len(runs), runs.attrs["simulations"]) == (2000, 40)
    np.testing.assert_allclose(runs.outputs["G"], np.stack([k + 1, 2 * k, k**2], axis=1))
    assert (s.min() > 0.1, s.max() < 0.2, len(np.unique(s))) == (True, True, 2000)
    error = (runs.rows["y"] - runs.outputs["G"]) / s[:, None]
    assert abs(error.mean()) < 5 / np.sqrt(6000)
    assert abs(error.std() - 1) < 5 / np.sqrt(12000)


def test_a_table_is_not_simulated_and_a_model_has_no_table(table):
    with pytest.raises(SbmError) as problem:
        simulate_runs(table, draws=10)
    assert problem.value.codes == ("E847",)
    plain = sbm.loads(
        "model level\ntime t from 0 to 1 step 1\nparam k ~ Normal(0, 1)\nobserve y ~ Normal(k, 1)\n"
    )
    with pytest.raises(SbmError) as problem:
        Runs.of_table(plain)
    assert problem.value.codes == ("E859",)


def test_outputs_of_a_function_are_kept_in_the_store(tmp_path):
    (tmp_path / "moons.py").write_text(
        "import numpy as np\n\n\ndef simulate(parameters, rng):\n    k = parameters['k']\n"
        "    return {'p': np.stack([k, k**2], axis=1)}\n"
    )
    model = sbm.loads(CALLED.format(path=tmp_path / "moons.py"), name=str(tmp_path / "moons.sbm"))
    with pytest.raises(SbmError) as problem:
        simulate_runs(model, draws=10)
    assert problem.value.codes == ("E840",)
    runs = simulate_runs(model, draws=20, store=tmp_path / "runs.zarr", compile={"allow_external": True})
    found = open_runs(tmp_path / "runs.zarr")
    k = found.parameters["k"]
    np.testing.assert_allclose(found.outputs["p"], np.stack([k, k**2], axis=1))
    np.testing.assert_array_equal(found.rows["y"], runs.rows["y"])

"""A program with an emulator in it: the path's own outputs, the right likelihood, words about what is wrong."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import sbmlang as sbm
from sbmlang.emulation import apply, emulate, path_outputs
from sbmlang.results import attributes

TEXT = """model decay
unit gC
time t [day] from 0 to 6
index cell = 1..3
data C0[cell] [gC]
param k [1/day] ~ Uniform(0.1, 1)
param f ~ LogitNormal(median=0.5, sd=0.1)
state C[cell] [gC] >= 0
sink CO2[cell]
init C[cell] = f*C0[cell]
flux out[cell] : C[cell] -> CO2[cell] at k*C[cell]
observe stock[cell] [gC] ~ Normal(2*C[cell] - 3 [gC], 0.2 [gC])
observe gone[cell] [gC] ~ LogNormal(median=f*change(CO2[cell], since last) + 0.1 [gC], sigma=0.1)
"""
TRUTH = {"k": np.array([0.4]), "f": np.array([0.5])}


@pytest.fixture(scope="module")
def decay():
    model = sbm.loads(TEXT)
    times, cells = np.arange(1.0, 7.0), ("1", "2", "3")
    rows = {"t": np.tile(times, 3), "cell": np.repeat(cells, 6), "stock": np.ones(18), "gone": np.ones(18)}
    covariates = {"cell": list(cells), "C0": [3.0, 4.0, 5.0]}
    plan = sbm.read_data(model, rows, forcing=covariates)
    drawn = model.compile("jax").predict(TRUTH, plan, seed=3)["observations"]
    rows |= {n: np.asarray(v)[0] for n, v in drawn.items()}
    return model, sbm.read_data(model, rows, forcing=covariates)


@pytest.fixture(scope="module")
def emulator(decay):
    return emulate(*decay, simulations=12, seed=1)


def test_outputs_are_what_the_laws_take_from_the_path(decay, emulator):
    model, data = decay
    true = path_outputs(model, data, TRUTH)
    f, k, t = 0.5, 0.4, data.channels["stock"].time
    c0 = np.array([3.0, 4.0, 5.0])[data.channels["stock"].index["cell"]]
    np.testing.assert_allclose(true["stock.mu"][0], 2 * f * c0 * np.exp(-k * t) - 3, rtol=1e-6, atol=1e-6)
    found = emulator.predict(TRUTH)
    for name, values in true.items():
        assert np.max(np.abs(found[name] - values)) < 5 * emulator.held_out[name].error + 1e-3


def test_the_error_is_integrated_as_a_covariance(decay, emulator):
    """Integrating the unknown errors out by quadrature gives the Gaussian with covariance S^2 + T^2 + M s^2 M'."""
    model, data = decay
    applied = apply(emulator, model, data)
    r = emulator.reduction
    assert not r.logarithm.any()  # the errors act linearly
    count = r.components
    # One component at a time: the others stay at zero.
    stock = next(f for f in emulator.fields if f.name == "stock.mu")
    gone = next(f for f in emulator.fields if f.name == "gone.mu")
    mode = (emulator.errors.component[:, None] * r.modes)[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    p = {n: v[0] for n, v in TRUTH.items()}
    terms = [
        float(applied.program.log_likelihood(p | {"emulator_error": np.eye(count)[0] * e}, applied.data))
        for e in nodes
    ]
    found = np.logaddexp.reduce(np.array(terms) + np.log(weights / np.sqrt(2 * np.pi)))
    y = {n: data.channels[n].value for n in ("stock", "gone")}
    mean = np.concatenate([emulator.predict(TRUTH)[n][0] for n in ("stock.mu", "gone.mu")])
    both = np.concatenate([mode[stock.places], mode[gone.places]])
    own = np.concatenate([0.2**2 + emulator.errors.truncation[stock.places] ** 2,
                          0.1**2 + emulator.errors.truncation[gone.places] ** 2])  # fmt: skip
    expected = (
        multivariate_normal(mean, np.diag(own) + np.outer(both, both)).logpdf(
            np.concatenate([y["stock"], np.log(y["gone"])])
        )
        - np.log(y["gone"]).sum()
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_both_backends_have_the_same_density(decay, emulator):
    model, data = decay
    jax, torch = (apply(emulator, model, data, backend=b) for b in ("jax", "torch"))
    u = np.linspace(-0.4, 0.4, jax.program.dimension(jax.data))
    assert float(torch.program.log_density(u, torch.data)) == pytest.approx(
        float(jax.program.log_density(u, jax.data)), rel=1e-9
    )


def test_an_emulator_of_other_rows_is_refused(decay, emulator):
    _, data = decay
    other = sbm.loads(TEXT.replace("2*C[cell]", "3*C[cell]"))
    with pytest.raises(sbm.SbmError) as raised:
        apply(emulator, other, data)
    assert raised.value.codes == ("E887",)
    wider = sbm.loads(TEXT.replace("0.2 [gC])", "0.3 [gC])").replace("sd=0.1", "sd=0.2"))
    assert apply(emulator, wider, data).emulator is emulator  # priors and error laws are no part of the map


def test_what_cannot_be_emulated_is_refused():
    still = sbm.loads("model m\ntime t [day]\nparam mu ~ Normal(0, 1)\nobserve y ~ Normal(mu, 1)")
    with pytest.raises(sbm.SbmError) as raised:
        emulate(still, sbm.read_data(still, {"t": [1.0, 2.0], "y": [0.1, 0.2]}))
    assert raised.value.codes == ("E884",)
    with pytest.raises(sbm.SbmError) as raised:
        emulate(sbm.loads(TEXT))
    assert raised.value.codes == ("E885",)
    walk = sbm.loads(
        "model w\ntime t [day] step 1\nparam q ~ HalfNormal(1)\nstate x\ninit x = 0\nnext x ~ Normal(x, q)\nobserve y ~ Normal(x, 1)"
    )
    with pytest.raises(sbm.SbmError) as raised:
        emulate(walk, sbm.read_data(walk, {"t": [1.0, 2.0], "y": [0.1, 0.2]}))
    assert raised.value.codes == ("E883",)


@pytest.mark.slow
def test_nuts_on_the_emulator_is_nuts_on_the_path(decay, emulator):
    model, data = decay
    options = {"draws": 500, "warmup": 300, "chains": 2, "seed": 0}
    exact = model.compile("jax").infer(data, method="nuts", **options)["posterior"]
    tree = apply(emulator, model, data).infer(method="nuts", **options)
    for name in ("k", "f"):
        a, b = exact[name].to_numpy().ravel(), tree["posterior"][name].to_numpy().ravel()
        assert abs(a.mean() - b.mean()) < 0.5 * a.std()  # as wide as the emulator is wrong
        assert 0.8 < b.std() / a.std() < 2
    told = attributes(tree)
    assert told["emulator_r2"]["stock.mu"] == emulator.held_out["stock.mu"].r2
    assert "stock_stock.row" not in tree["posterior_predictive"].coords


@pytest.mark.slow
def test_results_tell_of_a_poor_emulator_and_of_draws_beyond_the_runs(decay):
    model, data = decay
    from sbmlang.runs import Runs

    random = np.random.default_rng(0)
    narrow = Runs(
        {"k": random.uniform(0.7, 1.0, 10), "f": random.uniform(0.6, 0.9, 10)}, (data,), np.zeros(10, int), {}
    )
    poor = emulate(model, data, runs=narrow, explained=0.5)
    tree = apply(poor, model, data).infer(method="nuts", draws=100, warmup=100, chains=2, seed=0)
    notes = " ".join(attributes(tree)["notes"])
    assert "W881" in notes
    assert "W880" in notes

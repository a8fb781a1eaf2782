"""Flows for paths: densities against hand-written ones, the structured Gaussian against exact smoothers."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sbmlang as sbm  # noqa: E402
from sbmlang.backends.torch import path_coordinates as coordinates  # noqa: E402
from sbmlang.backends.torch.path_gaussian import GaussianPath  # noqa: E402
from sbmlang.backends.torch.path_joint import JointPath  # noqa: E402
from sbmlang.backends.torch.path_linear import LinearPath  # noqa: E402
from sbmlang.backends.torch.path_reference import evidence, no_corrections, path_mode, reference  # noqa: E402
from sbmlang.backends.torch.path_renorm import BatchRenorm  # noqa: E402
from sbmlang.backends.torch.path_target import PathTarget  # noqa: E402
from sbmlang.backends.torch.path_tridiagonal import normal_path  # noqa: E402
from sbmlang.backends.torch.path_windows import WindowPath  # noqa: E402

torch.set_num_threads(1)

# Two linear states with irregular steps; both channels have gaps, one has two values at one time.
LINEAR = """
model pair
time t [day] from 0 to 12 step 0.5
param k [1/day] ~ LogNormal(median=0.3, sigma=0.3)
param s [1/day^(1/2)] ~ LogNormal(median=0.4, sigma=0.3)
state A
state B
d A/dt = 1 [1/day] - k*A
d B/dt = k*A - 0.2 [1/day]*B
noise A = s
noise B = 0.3 [1/day^(1/2)]
init A ~ Normal(2, 0.5)
init B ~ Normal(1, 0.5)
observe a ~ Normal(A, 0.3)
observe total ~ Normal(A + 2*B, 0.4)
"""
ROWS = {
    "t": [0.0, 1.0, 1.0, 2.2, 5.0, 9.5, 12.0],
    "a": [2.1, 2.3, 2.0, np.nan, 2.9, np.nan, 3.1],
    "total": [np.nan, 4.4, np.nan, 5.0, np.nan, 7.1, np.nan],
}
ROOT = """
model pool
time t [day] from 0 to 40 step 1
param k [1/day] ~ LogNormal(median=0.1, sigma=0.3)
param s [1/day] ~ LogNormal(median=0.05, sigma=0.3)
state C >= 0
d C/dt = 0.5 [1/day] - k*C
noise C = sqrt(s*C)
init C START
observe c ~ Normal(C, 0.4)
"""


def joint_of(text, rows):
    model = sbm.loads(text)
    return JointPath.build(model.compile("torch", states="sampled"), sbm.read_data(model, rows)), model


@pytest.fixture(scope="module")
def pair():
    return joint_of(LINEAR, ROWS)


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(3)
    rows = {"t": np.arange(2.0, 41, 4), "c": 5 + rng.normal(size=10)}
    joint, model = joint_of(ROOT.replace("START", "~ Normal(5, 0.5)"), rows)
    return reference(joint), model


def flat(joint, u):
    """A flat path inside the bounds for parameters u."""
    at = joint.parameters(u[None])
    x = coordinates.inside(joint.path.maps, joint.path.start(at.theta).mean[:, 0])
    y = coordinates.places(joint.path.maps, x)
    return y[..., None].expand(-1, -1, joint.path.steps + 1).clone()


def unconstrained(joint, **p):
    return joint.program.unconstrain(
        {n: torch.tensor(v, dtype=torch.float64) for n, v in p.items()}, joint.dataset
    )


# --- the density ------------------------------------------------------------------------------------------


def test_path_density_is_that_written_by_hand(pair):
    """Euler-Maruyama of the pair, step by step in numpy."""
    joint, _ = pair
    k, s, h = 0.35, 0.5, joint.path.plan.width
    rng = np.random.default_rng(0)
    x = 2 + np.cumsum(0.2 * rng.normal(size=(2, joint.path.steps + 1)), axis=1)

    def normal(value, mean, sd):
        return -0.5 * ((value - mean) / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi)

    mean = np.array([x[0, :-1] + h * (1 - k * x[0, :-1]), x[1, :-1] + h * (k * x[0, :-1] - 0.2 * x[1, :-1])])
    hand = normal(x[:, 0], np.array([2, 1]), 0.5).sum()
    hand += (
        normal(x[0, 1:], mean[0], s * np.sqrt(h)).sum() + normal(x[1, 1:], mean[1], 0.3 * np.sqrt(h)).sum()
    )
    at = joint.parameters(unconstrained(joint, k=k, s=s)[None])
    path = torch.tensor(x)[:, None, None]
    assert float(joint.path.log_density(at.theta, path)) == pytest.approx(hand, rel=1e-10)

    place = {t: i for i, t in enumerate(np.round(np.concatenate([[0], np.cumsum(h)]), 9))}
    a, total = x[0], x[0] + 2 * x[1]
    rows = sum(
        normal(v, a[place[t]], 0.3) for t, v in zip(ROWS["t"], ROWS["a"], strict=True) if np.isfinite(v)
    )
    rows += sum(
        normal(v, total[place[t]], 0.4)
        for t, v in zip(ROWS["t"], ROWS["total"], strict=True)
        if np.isfinite(v)
    )
    found = sum(float(r.sum()) for r in joint.rows(at.c, path).values())
    assert found == pytest.approx(rows, rel=1e-10)


@pytest.mark.parametrize("kind", ["identity", "root", "log", "interval"])
def test_coordinates_go_there_and_back(kind):
    one = (
        coordinates.Coordinate(kind, 0.5, 3.0, bend=0.1)
        if kind != "root"
        else coordinates.Coordinate(kind, bend=0.1)
    )
    y = torch.linspace(-0.5 if kind == "root" else -2, 2, 41, dtype=torch.float64, requires_grad=True)
    x = one.state(y)
    assert torch.allclose(one.of(x), y, atol=1e-9)
    (steep,) = torch.autograd.grad(x.sum(), y, create_graph=True)
    (bent,) = torch.autograd.grad(steep.sum(), y) if steep.requires_grad else (torch.zeros_like(y),)
    slopes = one.slopes(y)
    assert torch.allclose(one.log_jacobian(y), torch.log(steep.abs()), atol=1e-10)
    assert torch.allclose(slopes.first, 1 / steep, rtol=1e-9)
    assert torch.allclose(slopes.second, -bent / steep**3, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("times", [1, 2, 3, 6, 7, 13])
def test_cyclic_reduction_is_the_dense_normal_law(times):
    n, rng = 2, torch.Generator().manual_seed(times)
    diagonal = torch.randn(times, n, n, generator=rng, dtype=torch.float64)
    diagonal = diagonal @ diagonal.mT + 6 * torch.eye(n, dtype=torch.float64)
    upper = torch.randn(max(times - 1, 0), n, n, generator=rng, dtype=torch.float64)
    pull = torch.randn(times, n, generator=rng, dtype=torch.float64)
    whole = torch.block_diag(*diagonal)
    for t, block in enumerate(upper):
        whole[n * t : n * t + n, n * t + n : n * t + 2 * n] = block
        whole[n * t + n : n * t + 2 * n, n * t : n * t + n] = block.T
    law = normal_path(diagonal.permute(1, 2, 0), upper.permute(1, 2, 0), pull.T)
    mean = law.draw(torch.zeros(n, times, dtype=torch.float64)).T.ravel()
    units = torch.eye(n * times, dtype=torch.float64)
    root = torch.stack([law.draw(e.reshape(times, n).T).T.ravel() - mean for e in units], dim=1)
    assert torch.allclose(mean, torch.linalg.solve(whole, pull.ravel()), atol=1e-12)
    assert torch.allclose(root @ root.T, torch.linalg.inv(whole), atol=1e-12)
    assert float(law.log_det) == pytest.approx(float(torch.logdet(whole)), abs=1e-11)


# --- the structured Gaussian ------------------------------------------------------------------------------


def test_at_fixed_parameters_it_is_the_exact_smoother(pair):
    """The weights log p - log q of a linear Gaussian model are constant: the marginal likelihood, as the Kalman
    filter has it; so q is the law of the path, with irregular, repeated and missing rows."""
    joint, model = pair
    exact = model.compile("torch", states="exact")
    for k, s in ((0.2, 0.3), (0.5, 0.8)):
        u = unconstrained(joint, k=k, s=s)
        path = flat(joint, u)
        family = GaussianPath(joint, path, u, torch.eye(2, dtype=torch.float64))
        at = joint.parameters(u.expand(20, -1))
        with torch.no_grad():
            y, log_q = family(at, u.expand(20, -1), torch.Generator().manual_seed(0))
            weight = joint.log_density(at, y) - log_q
        assert float(weight.std()) < 1e-8
        assert float(weight.mean()) == pytest.approx(float(exact.log_density(u, joint.dataset)), rel=1e-9)


def test_its_moments_are_those_of_a_dense_gaussian(pair):
    """Mean and covariance against the Hessian of the log density, which is quadratic."""
    joint, _ = pair
    u = unconstrained(joint, k=0.3, s=0.5)
    at, path = joint.parameters(u[None]), flat(joint, u)
    shape = path[:, None].shape

    def density(y):
        return joint.log_density(at, y.reshape(shape))[0]

    zero = torch.zeros(path.numel(), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(density(zero), zero, create_graph=True)
    precision = -torch.stack([torch.autograd.grad(s, zero, retain_graph=True)[0] for s in slope])
    mean = torch.linalg.solve(precision, slope.detach())
    with torch.no_grad():
        law = LinearPath(joint.path, path).law(at.theta, no_corrections(joint))
        units = torch.eye(path.numel(), dtype=torch.float64).reshape(-1, *shape)
        centre = law.draw(torch.zeros(shape, dtype=torch.float64))
        root = torch.stack([(law.draw(e) - centre).ravel() for e in units], dim=1)
    assert torch.allclose((centre + path[:, None]).ravel(), mean, atol=1e-6)
    assert torch.allclose(root @ root.T, torch.linalg.inv(precision), atol=1e-6)


def test_known_starts_and_logarithms_too():
    """A random walk of the logarithm from a known start is as exact as the Kalman filter of its logarithm."""
    text = """
model growth
time t [day] step 1
param r ~ LogNormal(median=1.1, sigma=0.1)
param sd ~ LogNormal(median=0.2, sigma=0.2)
param first ~ LogNormal(median=2, sigma=0.2)
state N
init N = first
next N ~ LogNormal(r*N, sd)
observe n ~ LogNormal(N, 0.1)
"""
    joint, model = joint_of(text, {"t": [1.0, 2, 5, 9], "n": [2.0, 2.4, 3.3, 4.1]})
    u = unconstrained(joint, r=1.05, sd=0.25, first=1.8)
    family = GaussianPath(joint, flat(joint, u), u, torch.eye(3, dtype=torch.float64))
    at = joint.parameters(u.expand(5, -1))
    with torch.no_grad():
        y, log_q = family(at, u.expand(5, -1), torch.Generator().manual_seed(0))
        weight = joint.log_density(at, y) - log_q
    exact = float(model.compile("torch", states="exact").log_density(u, joint.dataset))
    assert weight.numpy() == pytest.approx(exact, rel=1e-9)


def test_noise_that_grows_with_the_state_leaves_little_in_the_weights(pool):
    """In coordinates where the noise is constant the smoother is nearer to the path's law than in the state itself."""
    found, _ = pool
    joint, u = found.joint, found.base.mean

    def spread_of(joint, path):
        family = GaussianPath(joint, path, u, found.base.root)
        at = joint.parameters(u.expand(400, -1))
        with torch.no_grad():
            y, log_q = family(at, u.expand(400, -1), torch.Generator().manual_seed(0))
            weight = joint.log_density(at, y) - log_q
        return float(weight[torch.isfinite(weight)].std())

    assert joint.path.maps[0].kind == "root"
    plain = joint.mapped_by((coordinates.Coordinate(),))
    path = path_mode(plain, u, coordinates.states(joint.path.maps, found.path))
    assert spread_of(joint, found.path) < 0.85 * spread_of(plain, path)  # 0.69 of it; the errors are 4 %


def test_the_laplace_evidence_of_a_linear_model_is_exact(pair):
    joint, model = pair
    exact = model.compile("torch", states="exact")
    us = torch.stack([unconstrained(joint, k=0.2, s=0.3), unconstrained(joint, k=0.6, s=0.5)])
    found = evidence(joint, flat(joint, us[0]), us)
    assert found.detach().numpy() == pytest.approx(exact.log_density(us, joint.dataset).numpy(), rel=1e-9)


def test_members_of_a_batch_have_paths_of_their_own():
    text = LINEAR.replace("param k", "index plot = 1..2\nparam k").replace("state A", "state A[plot]").replace(
        "state B", "state B[plot]").replace("d A/dt", "d A[plot]/dt").replace("d B/dt", "d B[plot]/dt")  # fmt: skip
    for name in "AB":
        text = text.replace(f"k*{name}", f"k*{name}[plot]").replace(f"]*{name}", f"]*{name}[plot]")
        text = text.replace(f"noise {name}", f"noise {name}[plot]").replace(
            f"init {name}", f"init {name}[plot]"
        )
    text = text.replace("observe a ~ Normal(A,", "observe a[plot] ~ Normal(A[plot],")
    text = text.replace(
        "observe total ~ Normal(A + 2*B,", "observe total[plot] ~ Normal(A[plot] + 2*B[plot],"
    )
    rows = {n: np.concatenate([v, v]) for n, v in ROWS.items()} | {"plot": [1] * 7 + [2] * 7}
    rows["a"] = rows["a"] + np.repeat([0, 0.7], 7)
    joint, model = joint_of(text, rows)
    u = unconstrained(joint, k=0.3, s=0.5)
    assert joint.path.members == 2
    found = evidence(joint, flat(joint, u), u[None])
    exact = model.compile("torch", states="exact").log_density(u, joint.dataset)
    assert float(found) == pytest.approx(float(exact), rel=1e-9)


# --- windows ------------------------------------------------------------------------------------------------


def test_log_q_of_windows_is_the_jacobian_of_its_map(pool):
    found, _ = pool
    joint, u = found.joint, found.base.mean[None]
    family = WindowPath(joint, found.path, found.base.mean, found.base.root, layers=2).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for w in family.layers.parameters():
            w.add_(0.2 * torch.randn_like(w))
    at, times = joint.parameters(u), joint.path.steps + 1

    def path(white):
        x, volume = family.layers(white.reshape(1, 1, 1, times), u)
        x = x * torch.exp(family.log_spread)[:, None, None, None]
        for i, share in enumerate(family.memory):
            x = x + share[:, None, None, None] * torch.nn.functional.pad(x, (2**i, 0))[..., :times]
        return x.ravel(), volume

    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        y, log_q = family(at, u, generator)
        again = torch.randn(1, 1, 1, times, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        at_again = path(again.ravel())
    steep = torch.autograd.functional.jacobian(lambda w: path(w)[0], again.ravel())
    expected = -(again.square() + math.log(2 * math.pi)).sum() / 2 - torch.linalg.slogdet(steep)[1]
    assert float(log_q) == pytest.approx(float(expected), rel=1e-9)
    assert torch.allclose((y - found.path[:, None]).ravel(), at_again[0])


def test_windows_begin_near_the_smoother_and_training_and_evaluation_agree(pool):
    """ELBO in training mode and in evaluation: the same draws give the same bound (batch renormalisation), up to the
    small move of the running statistics; before training it is within a few nats of the structured Gaussian's."""
    found, _ = pool
    joint = found.joint
    u = found.base.mean.expand(64, -1)
    at = joint.parameters(u)
    family = WindowPath(joint, found.path, found.base.mean, found.base.root, layers=2)
    target = PathTarget(
        lambda u: u, 2, joint=joint, family=family, generator=torch.Generator().manual_seed(0), rate=1e-3
    )
    for _ in range(30):
        target.value_and_grad(found.base.outward(torch.randn(8, 2, dtype=torch.float64)))

    def bound(module):
        with torch.no_grad():
            y, log_q = module(at, u, torch.Generator().manual_seed(7))
            return joint.log_density(at, y) - log_q

    trained, evaluated = bound(family.train()), bound(family.eval())
    error = float(evaluated.std()) / 8
    assert abs(float(trained.mean() - evaluated.mean())) < 2 * error
    smoother = bound(GaussianPath(joint, found.path, found.base.mean, found.base.root))
    assert float(smoother.mean()) - 5 < float(evaluated.mean()) < float(smoother.mean()) + 3 * error + 0.5


def test_batch_renormalisation_gives_running_values_and_batch_gradients():
    layer = BatchRenorm(3).double()
    torch.manual_seed(0)
    for _ in range(300):
        layer(2 * torch.randn(8, 3, 50, dtype=torch.float64) + 1)
    x = (2 * torch.randn(8, 3, 50, dtype=torch.float64) + 1).requires_grad_()
    mean, variance = layer.mean.clone(), layer.variance.clone()
    value = layer.train()(x)
    assert torch.allclose(value, (x - mean[:, None]) / torch.sqrt(variance + 1e-5)[:, None], atol=1e-12)
    (slope,) = torch.autograd.grad(value[0].sum(), x)
    assert float(slope[1].abs().max()) > 0  # through the statistics of the batch


# --- whole runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "iterations", "off"),
    [("gaussian", 120, 0.15), pytest.param("windows", 250, 0.3, marks=pytest.mark.slow)],
)
def test_a_run_gives_draws_of_parameters_and_path(path, iterations, off):
    """Against a grid over both parameters of the exact marginal, in units of its standard deviation. The smoother is
    exact here, so that its weights are those of the parameters alone; windows are not."""
    model = sbm.loads(LINEAR)
    data = sbm.read_data(model, ROWS)
    program = model.compile("torch", states="sampled")
    options = {
        "draws": 1000,
        "chains": 1,
        "iterations": iterations,
        "batch": 8 if path == "gaussian" else 16,
        "seed": 1,
        "transforms": 2,
    }
    tree = program.infer(data, method="flow", path=path, **options)
    exact = model.compile("torch", states="exact")
    z = torch.linspace(-4, 4, 41, dtype=torch.float64) * 0.3
    grid = torch.stack(torch.meshgrid(z + math.log(0.3), z + math.log(0.4), indexing="ij"), dim=-1).reshape(
        -1, 2
    )
    weight = torch.softmax(exact.log_density(grid, data), 0)
    for k, name in enumerate(("k", "s")):
        mean = float((weight * grid[:, k]).sum())
        sd = float(torch.sqrt((weight * (grid[:, k] - mean) ** 2).sum()))
        drawn = np.log(tree["posterior"][name].to_numpy().ravel())
        assert abs(drawn.mean() - mean) < off * sd
        assert abs(drawn.std() / sd - 1) < off
    if path == "gaussian":
        assert tree.attrs["pareto_k"] < 0.7
        assert tree.attrs["corrected"] == "psis"
    assert tree["posterior"]["A"].shape == (1, 1000, len(data.grid))
    assert {"approximation", "training"} <= set(tree.children)
    assert np.isfinite(tree["log_likelihood"]["total"]).all()


def test_paths_stay_inside_enforced_bounds():
    text = (
        ROOT.replace(">= 0", ">= 4 enforced")
        .replace("sqrt(s*C)", "sqrt(s)*1")
        .replace("START", "~ Normal(5, 0.5)")
    )
    model = sbm.loads(text)
    data = sbm.read_data(model, {"t": [4.0, 12, 30], "c": [4.1, 4.2, 4.6]})
    tree = model.compile("torch", states="sampled").infer(
        data, method="laplace", draws=50, chains=1, proposals=50
    )
    assert tree["posterior"]["C"].to_numpy().min() > 4


def test_draws_are_those_of_the_seed():
    model = sbm.loads(ROOT.replace("START", "= 5"))
    data = sbm.read_data(model, {"t": [4.0, 12, 30], "c": [5.1, 4.2, 5.6]})
    program = model.compile("torch", states="sampled")

    def run(seed):
        options = {"draws": 20, "chains": 1, "iterations": 12, "proposals": 40, "seed": seed}
        return program.infer(data, method="flow", **options)["posterior"]["C"].to_numpy()

    assert np.array_equal(run(2), run(2))
    assert not np.array_equal(run(2), run(3))
    assert (run(2) > 0).all()

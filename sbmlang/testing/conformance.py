"""The laws of a backend: each takes a program with data and raises ``AssertionError`` when it is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.testing import reference


def path_agrees(program: Any, data: Dataset, *, draws: int = 2, seed: int = 0, rtol: float = 2e-5) -> None:
    """The states of a program are those of the reference, relative to each state's largest value."""
    p = program.prior_draws(data, draws, seed)
    simulated = program.predict(p, data)
    for k in range(draws):
        one = {n: np.asarray(v)[k] for n, v in p.items()}
        values = program.functions.values(one, program.arrays(data))
        exact = reference.path(program.model, one, data, {n: v for n, v in values.items() if n not in one})
        for name, found in simulated["states"].items():
            scale = np.abs(exact[name]).max() + 1e-12
            assert np.abs(found[k] - exact[name]).max() <= rtol * scale, (
                f"state {name}, draw {k}: off by {np.abs(found[k] - exact[name]).max() / scale:.2g} of its largest value"
            )


def prior_agrees(program: Any, data: Dataset, *, draws: int = 3, seed: int = 0) -> None:
    """``log_prior`` is the sum of scipy's log densities to 1e-9."""
    p = program.prior_draws(data, draws, seed)
    for k in range(draws):
        one = {n: np.asarray(v)[k] for n, v in p.items()}
        np.testing.assert_allclose(
            float(program.log_prior(one, data)), reference.log_prior(program.model, one), rtol=1e-9
        )


def density_is_consistent(program: Any, data: Dataset, *, seed: int = 0) -> None:
    """log_density(u) = log_prior + log_likelihood + log |Jacobian|, the last by differences; u survives the round trip."""
    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, seed).items()}
    u = np.asarray(program.unconstrain(p, data), float)
    back = program.constrain(u, data)
    for name, value in p.items():
        np.testing.assert_allclose(np.asarray(back[name]), value, rtol=1e-9, atol=1e-12)
    jacobian = np.stack(
        [_difference(lambda v: _flat(program, v, data), u, e) for e in np.eye(len(u))], axis=1
    )
    sign, log_size = np.linalg.slogdet(jacobian)
    assert sign != 0
    total = float(program.log_prior(p, data)) + float(program.log_likelihood(p, data)) + log_size
    np.testing.assert_allclose(float(program.log_density(u, data)), total, rtol=1e-7)


def gradient_is_right(program: Any, data: Dataset, *, seed: int = 0, rtol: float = 1e-4) -> None:
    """The gradient of ``log_density`` is that of central differences in a random direction."""
    p = {n: np.asarray(v)[0] for n, v in program.prior_draws(data, 1, seed).items()}
    u = np.asarray(program.unconstrain(p, data), float)
    direction = np.random.default_rng(seed).normal(size=u.shape)
    direction /= np.linalg.norm(direction)
    f = program.value_and_grad(data)
    slope = float(np.asarray(f(u)[1]) @ direction)
    difference = float(_difference(lambda v: np.asarray(f(v)[0]), u, direction, 1e-4))
    assert abs(slope - difference) <= rtol * max(1.0, abs(slope), abs(difference)), (
        f"gradient {slope} against {difference}"
    )


def _difference(
    f: Callable[[np.ndarray], np.ndarray], u: np.ndarray, e: np.ndarray, h: float = 1e-3
) -> np.ndarray:
    """The derivative along ``e``, by central differences of fourth order."""
    return (8 * (f(u + h * e) - f(u - h * e)) - (f(u + 2 * h * e) - f(u - 2 * h * e))) / (12 * h)


def _flat(program: Any, u: np.ndarray, data: Dataset) -> np.ndarray:
    """All parameters as one vector; simplexes without their last member, as densities count them."""
    simplexes = {i.name for i in program.parameters if i.bijection == "simplex"}
    parts = {n: np.asarray(v) for n, v in program.constrain(u, data).items()}
    return np.concatenate([np.ravel(v[..., :-1] if n in simplexes else v) for n, v in parts.items()])


# --- two backends --------------------------------------------------------------------------------------


def priors_agree(
    one: Any, other: Any, data: Dataset, *, draws: int = 3, seed: int = 0, rtol: float = 1e-8
) -> None:
    """``log_prior`` of two programs of one model at draws of the prior, and the same unconstrained vectors."""
    p = _draws(one, data, draws, seed)
    ours = np.array([float(one.log_prior(_one(p, k), data)) for k in range(draws)])
    theirs = np.array([float(other.log_prior(_one(p, k), data)) for k in range(draws)])
    np.testing.assert_allclose(theirs, ours, rtol=rtol)
    for k in range(draws):
        u = np.asarray(one.unconstrain(_one(p, k), data))
        np.testing.assert_allclose(np.asarray(other.unconstrain(_one(p, k), data)), u, rtol=rtol, atol=1e-12)


def densities_agree(
    one: Any, other: Any, data: Dataset, *, draws: int = 3, seed: int = 0, rtol: float = 1e-8
) -> None:
    """``log_likelihood``, ``log_density`` and its gradient of two programs of one model at draws of the prior.

    Gradients agree relative to their largest entry. At least one density has to be finite, or nothing is compared.
    """
    p = _draws(one, data, draws, seed)
    ours, theirs = one.value_and_grad(data), other.value_and_grad(data)
    finite = 0
    for k in range(draws):
        u = np.asarray(one.unconstrain(_one(p, k), data), float)
        (v, g), (w, h) = ([np.asarray(x, float) for x in f(u)] for f in (ours, theirs))
        np.testing.assert_allclose(w, v, rtol=rtol, err_msg=f"log density, draw {k}")
        np.testing.assert_allclose(
            float(other.log_density(u, data)), float(v), rtol=rtol, err_msg=f"log density alone, draw {k}"
        )
        if np.isfinite(v):
            finite += 1
            scale = np.abs(g).max() if len(g) else 1.0
            np.testing.assert_allclose(h, g, rtol=rtol, atol=rtol * scale, err_msg=f"gradient, draw {k}")
            likelihood = float(one.log_likelihood(_one(p, k), data))
            np.testing.assert_allclose(float(other.log_likelihood(_one(p, k), data)), likelihood, rtol=rtol)
    assert finite, "no draw of the prior has a finite density"


def batches_are_many_of_one(program: Any, data: Dataset, *, draws: int = 3, seed: int = 0) -> None:
    """``log_density`` of vectors (2, draws, dimension) is that of each of them."""
    p = _draws(program, data, draws, seed)
    u = np.stack([np.asarray(program.unconstrain(_one(p, k), data)) for k in range(draws)])
    whole = np.asarray(program.log_density(np.stack([u, u[::-1]]), data))
    each = np.array([float(program.log_density(v, data)) for v in u])
    np.testing.assert_allclose(whole, [each, each[::-1]], rtol=1e-10)


def simulators_agree(
    one: Any, other: Any, data: Dataset, params: Mapping[str, Any], *, draws: int, seed: int = 0
) -> None:
    """Means and variances of drawn observations of two programs at one parameter set, within five standard errors.

    The error of a variance is that of the draws' fourth moments.
    """
    whole = {n: np.broadcast_to(np.asarray(v), (draws, *np.shape(v))) for n, v in params.items()}
    ours, theirs = (p.predict(whole, data, seed=seed + k)["observations"] for k, p in enumerate((one, other)))
    for name in ours:
        x, y = np.asarray(ours[name], float), np.asarray(theirs[name], float)
        for what, a, b in (("mean", x, y), ("variance", (x - x.mean(0)) ** 2, (y - y.mean(0)) ** 2)):
            error = np.sqrt((a.var(0) + b.var(0)) / draws) + 1e-12
            gap = np.abs(a.mean(0) - b.mean(0)) / error
            assert gap.max() < 5, f"{what} of {name}: {gap.max():.1f} standard errors apart"


def _draws(program: Any, data: Dataset, draws: int, seed: int) -> dict[str, np.ndarray]:
    return {n: np.asarray(v) for n, v in program.prior_draws(data, draws, seed).items()}


def _one(p: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
    return {n: v[k] for n, v in p.items()}

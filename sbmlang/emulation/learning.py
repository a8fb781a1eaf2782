"""Predictors learned from runs, and which kind suits: candidates compete by cross-validation.

- polynomials: terms chosen along the path of least angles, the number of them by the corrected leave-one-out error
  of the least-squares fit (Blatman & Sudret, 2011, Journal of Computational Physics 230, 2345-2367);
- Gaussian processes: hyperparameters by marginal likelihood;
- networks of one hidden layer, where there are runs enough.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from sbmlang.errors import SbmError, error

from .predictors import GaussianProcess, Network, Polynomial, Predictor, basis

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Learner = Callable[[Floats, Floats, Bools], Predictor]  # of x (run, d), y (run,), uniform (d,)

TERMS = 400  # at most so many candidates for the terms of a polynomial
PROCESS_RUNS = 300  # hyperparameters of a process are found on so many runs at most
NETWORK_RUNS = 100  # fewer teach a network nothing that a polynomial does not know
UNITS = 24


def require_package() -> None:
    """Raises ``SbmError`` E805 without scikit-learn."""
    if find_spec("sklearn") is None:
        raise SbmError(
            error("E805", "an emulator needs the package 'scikit-learn', which is not installed",
                  help="pip install 'sbmlang[emulate]'")
        )  # fmt: skip


def learners(runs: int, dimension: int) -> dict[str, Learner]:
    """The candidates for so many runs of so many coordinates."""
    found: dict[str, Learner] = {
        f"polynomial {degree}": _polynomial(degree) for degree in (1, 2, 3)
        if len(powers(dimension, degree)) <= TERMS
    }  # fmt: skip
    found["process"] = gaussian_process
    if runs >= NETWORK_RUNS:
        found["network"] = network
    return found


def folds(runs: int, count: int, seed: int = 0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(those to learn from, those held out) of each fold; every run is held out once."""
    order = np.random.default_rng(seed).permutation(runs)
    for part in np.array_split(order, min(count, runs)):
        yield np.setdiff1d(order, part), part


def powers(dimension: int, degree: int) -> NDArray[np.int64]:
    """Degrees (term, dimension) of all products with a total degree up to ``degree``."""
    terms = [
        np.bincount(np.array(chosen, np.int64), minlength=dimension)
        for total in range(degree + 1)
        for chosen in combinations_with_replacement(range(dimension), total)
    ]
    return np.array(terms, np.int64)


def _polynomial(degree: int) -> Learner:
    return lambda x, y, uniform: polynomial(x, y, uniform, degree)


def polynomial(x: Floats, y: Floats, uniform: Bools, degree: int) -> Polynomial:
    """A sparse polynomial of at most this total degree through y (run,) at x (run, d)."""
    terms = powers(x.shape[1], degree)
    psi = basis(np, x, terms, uniform)
    order = _order(psi, y)
    chosen = order[: 1 + int(np.argmin(_left_out(psi[:, order], y)))]
    coefficients, *_ = np.linalg.lstsq(psi[:, chosen], y, rcond=None)
    return Polynomial(terms[chosen], coefficients, uniform)


def _order(psi: Floats, y: Floats) -> NDArray[np.int64]:
    """Terms in the order in which least-angle regression takes them, the constant first; two fewer than runs."""
    from sklearn.linear_model import lars_path

    columns = psi[:, 1:] - psi[:, 1:].mean(axis=0)
    norms = np.linalg.norm(columns, axis=0)
    usable = np.flatnonzero(norms > 1e-12)
    most = min(len(usable), len(y) - 2)
    if most < 1 or np.ptp(y) == 0:
        return np.array([0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nearly collinear terms, which the score judges
        _, order, _ = lars_path(columns[:, usable] / norms[usable], y - y.mean(), method="lar", max_iter=most)
    return np.concatenate([[0], 1 + usable[list(order)]])


def _left_out(psi: Floats, y: Floats) -> Floats:
    """Mean square of the leave-one-out residuals of least squares on the first 1, 2, ... columns of psi (run, term),
    with the correction for few runs; inf from the first column on that depends on those before it."""
    runs, terms = psi.shape
    q, r = np.linalg.qr(psi)
    steep = np.abs(np.diag(r))
    sound = np.cumprod(steep > 1e-10 * steep[0]).astype(bool)
    r[~sound] = np.eye(terms)[~sound]
    leverage = np.cumsum(q**2, axis=1)
    residual = y[:, None] - np.cumsum(q * (q.T @ y), axis=1)
    inverse = solve_triangular(r, np.eye(terms))
    trace = np.cumsum(
        (inverse**2).sum(axis=0)
    )  # the leading block of the inverse is that of the leading block
    count = np.arange(1, terms + 1)
    correction = runs / np.maximum(runs - count, 1) * (1 + trace)
    errors = np.mean((residual / np.maximum(1 - leverage, 1e-12)) ** 2, axis=0) * correction
    return np.where(sound & (count < runs), errors, np.inf)


def gaussian_process(x: Floats, y: Floats, uniform: Bools, kernel: Any = None) -> GaussianProcess:
    """A process whose hyperparameters have the highest marginal likelihood, unless they are given in ``kernel``.

    y is taken as it is (mean near 0).
    """
    del uniform
    found = _kernel(x, y) if kernel is None else kernel
    smooth, linear = found.k1.k1, found.k1.k2
    weights = np.linalg.solve(found(x) + 1e-10 * np.var(y) * np.eye(len(y)), y)
    return GaussianProcess(
        points=x, weights=weights, lengths=np.broadcast_to(smooth.k2.length_scale, (x.shape[1],)).astype(float),
        amplitude=float(smooth.k1.constant_value), slope=float(linear.k1.constant_value),
        offset=float(linear.k2.sigma_0**2),
    )  # fmt: skip


def _kernel(x: Floats, y: Floats) -> Any:
    """The covariance function fitted to (at most ``PROCESS_RUNS``) runs."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    d, scale = x.shape[1], float(np.var(y)) or 1.0
    bumps = ConstantKernel(scale, (1e-4 * scale, 1e3 * scale)) * RBF(np.full(d, 3.0), (0.3, 100.0))
    slopes = ConstantKernel(scale, (1e-6 * scale, 1e3 * scale)) * DotProduct(1.0, (1e-2, 1e2))
    kernel = bumps + slopes + WhiteKernel(1e-4 * scale, (1e-9 * scale, scale))
    few = np.random.default_rng(0).permutation(len(y))[:PROCESS_RUNS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hyperparameters at an end of their range: what does not matter
        return GaussianProcessRegressor(kernel, random_state=0).fit(x[few], y[few]).kernel_


def tuned(learner: Learner, x: Floats, y: Floats, uniform: Bools) -> Learner:
    """The same learner with hyperparameters found once on all runs, for many runs, where it has any."""
    return partial(gaussian_process, kernel=_kernel(x, y)) if learner is gaussian_process else learner


def network(x: Floats, y: Floats, uniform: Bools) -> Network:
    """One hidden layer, trained to the end by L-BFGS with a small penalty."""
    from sklearn.neural_network import MLPRegressor

    del uniform
    spread = float(y.std()) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that it could be trained longer: cross-validation judges it as it is
        fit = MLPRegressor(
            hidden_layer_sizes=(UNITS,),
            activation="tanh",
            solver="lbfgs",
            alpha=1e-2,
            max_iter=500,
            random_state=0,
        ).fit(x, y / spread)
    (inner, outer), (bias, shift) = fit.coefs_, fit.intercepts_
    return Network(inner, bias, outer[:, 0] * spread, float(shift[0]) * spread)

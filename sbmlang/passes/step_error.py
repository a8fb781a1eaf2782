"""How far an Euler step is from the exact step of a linear stochastic equation.

The exact step is the law of the equation with its coefficients held, by one matrix exponential (Van Loan
1978, IEEE Trans. Automatic Control 23, 395-404).
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.model import Law, Model, Sde
from sbmlang.ir.moments import moments
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.passes.linear import LinearSystem, linear_system
from sbmlang.passes.parts import Parts
from sbmlang.passes.values import NeedsData, Point

_SMALL = 0.1  # of the noise of a step, up to which the difference hardly shows in a posterior


def step_error(model: Model) -> Fact | None:
    """The difference between an Euler step and the exact one at the medians of the priors and the start.

    That of the means is given in standard deviations of the noise of a step, that of the covariances relative
    to the variances. None where there is no such comparison: no step, other schemes, drifts that are not
    linear, noise that depends on the states, states without noise only, or values that only the data have.
    """
    dynamics, width = model.dynamics, model.time.step
    if not isinstance(dynamics, Sde) or width is None or (model.time.scheme or "euler") != "euler":
        return None
    parts = Parts(model, "observed")
    drift = {x: parts.written_out(e) for x, e in parts.equations.items()}
    noise = {x: parts.written_out(e) for x, e in parts.diffusion.items()}
    system = linear_system(drift, noise, parts.wieners)
    if system.offender is not None:
        return None
    try:
        mean, cov = _difference(model, parts, system, noise, width)
    except NeedsData:
        return None
    unit = model.time.unit
    reason = (
        f"a step of {width:g} {unit} differs from the exact one by {mean:.2g} standard deviations of its noise "
        f"in the mean and by {100 * cov:.2g} % in the covariance (medians of the priors)"
    )
    return Fact(max(mean, cov) <= _SMALL, reason)


def _difference(
    model: Model, parts: Parts, system: LinearSystem, noise: dict[Ref, Expr], width: float
) -> tuple[float, float]:
    """Of the means in standard deviations of the exact step, of the covariances relative to variances."""
    import numpy as np

    point, states = Point(model), list(parts.equations)
    start = model.time.start + (width if model.time.forcing_at == "end" else 0.0)

    def number(e: Expr, at: float = start) -> float:
        return point.value(e, {Ref(model.time.name): at})

    A = np.array([[number(system.slopes.get((x, y), sp.S.Zero)) for y in states] for x in states])
    b = np.array([number(system.offsets[x]) for x in states])
    L = np.array([[number(noise.get(x, sp.S.Zero).diff(w)) for w in parts.wieners] for x in states])
    x0 = np.array([number(_start(model, parts, x), model.time.start) for x in states])
    F, shift, exact = exact_step(A, b, L @ L.T, width)
    noisy = np.diag(exact) > 0
    if not noisy.any():
        raise NeedsData("noise")
    sd = np.sqrt(np.diag(exact)[noisy])
    mean = (F @ x0 + shift - (x0 + width * (A @ x0 + b)))[noisy]
    cov = (exact - width * L @ L.T)[np.ix_(noisy, noisy)]
    return float(np.max(np.abs(mean) / sd)), float(np.max(np.abs(cov) / np.outer(sd, sd)))


def _start(model: Model, parts: Parts, state: Ref) -> Expr:
    law: Law | None = parts.step.start.get(state)
    found = None if law is None else moments(law)
    return parts.step.init[state] if found is None else found[0]


def exact_step(A: Any, b: Any, S: Any, width: float) -> tuple[Any, Any, Any]:
    """Of dx = (A x + b) dt + dW with covariance ``S`` per time, all (n, n) or (n,): the matrix, shift and
    covariance of x(t + width) given x(t).
    """
    import numpy as np
    from scipy.linalg import expm

    n = len(b)
    joint = np.block([[-A, S], [np.zeros((n, n)), A.T]])
    grown = expm(joint * width)
    F = grown[n:, n:].T
    drift = np.zeros((n + 1, n + 1))
    drift[:n, :n], drift[:n, n] = A, b
    return F, expm(drift * width)[:n, n], F @ grown[:n, n:]

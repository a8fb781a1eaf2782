"""Means, slopes and covariances of a step: the matrices of a Kalman filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import sympy as sp

from sbmlang.ir.moments import moments
from sbmlang.ir.stepping import Emission, GaussianEmission, GaussianModel, Matrix
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.passes.derivatives import smooth
from sbmlang.passes.linear import affine, linear_system
from sbmlang.passes.simplify import tidy
from sbmlang.passes.unit_noise import Form, argument, log

Kind = Literal["exact", "moments", "linearised"]


def gaussian_model(form: Form, kind: Kind) -> GaussianModel:
    """The matrices of a form whose draws, starts and emissions all have moments."""
    mean, slopes, noise = _system(form) if form.is_continuous else _step(form)
    start_mean, start_cov = _starts(form)
    memories = [(form.states.index(m.state), form.out(m.expr)) for m in form.step.memories]
    return GaussianModel(
        kind=kind,
        step=form.step,
        start_mean=start_mean,
        start_cov=start_cov,
        mean=mean,
        slopes=slopes,
        noise=noise,
        emissions=tuple(_emission(form, e) for e in form.step.emissions),
        jumps={place: (value, _row(form, value)) for place, value in memories},
        logarithmic=form.logs,
        transition="matrix exponential" if form.is_continuous else "entries",
    )


def _step(form: Form) -> tuple[tuple[Expr, ...], Matrix, Matrix]:
    """Mean, slopes and covariance of x', at xi = 0 where u is not linear in it."""
    mean = tuple(tidy(_mean(form, form.update[x])) for x in form.states)
    slopes = {(i, j): e for i, m in enumerate(mean) for j, e in _row(form, m).items()}
    return mean, slopes, squared(spread(form), len(form.states))


def _mean(form: Form, value: Expr) -> Expr:
    """The mean of u over its noises, to second order where it is not linear in them."""
    bends = [value.diff(w, 2).xreplace(form.still) / 2 for w in form.noises if w in value.free_symbols]
    return value.xreplace(form.still) + sp.Add(*map(smooth, bends))


def spread(form: Form) -> dict[tuple[int, int], Expr]:
    """G = du/dxi at xi = 0 by (state, noise), where it is not zero."""
    found = {
        (i, k): slope(form.update[x], w).xreplace(form.still)
        for i, x in enumerate(form.states)
        for k, w in enumerate(form.noises)
        if w in form.update[x].free_symbols
    }
    return {place: e for place, e in found.items() if e != 0}


def _system(form: Form) -> tuple[tuple[Expr, ...], Matrix, Matrix]:
    """b, A and L L^T of a continuous linear system."""
    wieners = [r for r, _ in form.step.draws]
    noise = {x: form.out(e) for x, e in form.step.diffusion.items()}
    system = linear_system({x: form.out(form.step.drift[x]) for x in form.states}, noise, wieners)
    place = {x: k for k, x in enumerate(form.states)}
    slopes = {(place[x], place[y]): tidy(e) for (x, y), e in system.slopes.items()}
    loads = {(place[x], k): e.diff(w) for x, e in noise.items() for k, w in enumerate(wieners)}
    nonzero = {at: e for at, e in loads.items() if e != 0}
    return tuple(tidy(system.offsets[x]) for x in form.states), slopes, squared(nonzero, len(place))


def _row(form: Form, value: Expr) -> dict[int, Expr]:
    """Slopes of an expression with respect to the states, by position."""
    return {j: e for j, x in enumerate(form.states) if (e := slope(value, x)) != 0}


def _starts(form: Form) -> tuple[tuple[Expr, ...], Matrix]:
    mean, cov = [], {}
    for k, x in enumerate(form.states):
        law = form.step.start.get(x)
        if law is None:
            value = form.step.init[x]
            mean.append(log(value) if k in form.logs else value)
            continue
        found = (argument(law, "mu"), argument(law, "sigma") ** 2) if k in form.logs else moments(law)
        assert found is not None, "a start without moments is refused before"
        mean.append(found[0])
        cov[k, k] = found[1]
    return tuple(mean), cov


def _emission(form: Form, emission: Emission) -> GaussianEmission:
    found = form.emission_moments(emission)
    assert found is not None, "a law without moments is refused before"
    location, variance = found
    transform: Literal["log", "identity"] = "log" if emission.law.family == "LogNormal" else "identity"
    slopes = _row(form, location)
    return GaussianEmission(emission.channel, emission.index, location, slopes, variance, transform)


def slope(value: Expr, name: Ref) -> Expr:
    """The derivative, also where an affine form only shows after multiplying out."""
    if name not in value.free_symbols:
        return sp.S.Zero
    found = affine(value, [name])
    return tidy(found.slopes.get(name, sp.S.Zero) if found is not None else smooth(value.diff(name)))


def squared(loads: Mapping[tuple[int, int], Expr], size: int) -> dict[tuple[int, int], Expr]:
    """G G^T, upper triangle, from G by (state, noise)."""
    rows: dict[int, dict[int, Expr]] = {}
    for (i, k), e in loads.items():
        rows.setdefault(i, {})[k] = e
    found = {}
    for i in range(size):
        for j in range(i, size):
            shared = sorted(rows.get(i, {}).keys() & rows.get(j, {}).keys())
            entry = sp.Add(*(rows[i][k] * rows[j][k] for k in shared))
            if entry != 0:
                found[i, j] = tidy(entry)
    return found

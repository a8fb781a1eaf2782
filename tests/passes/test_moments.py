"""Moments of laws against scipy's."""

from __future__ import annotations

from typing import Any

import pytest
import sympy as sp

from sbmlang.ir import Law
from sbmlang.ir.moments import moments
from sbmlang.library.quantiles import frozen

LAWS: list[tuple[str, dict[str, Any]]] = [
    ("Normal", {"mu": 1.5, "sigma": 0.3}),
    ("LogNormal", {"mu": 0.4, "sigma": 0.7}),
    ("StudentT", {"df": 5, "loc": 1, "scale": 2}),
    ("Laplace", {"loc": -1, "scale": 0.8}),
    ("Uniform", {"lower": -1, "upper": 4}),
    ("TruncatedNormal", {"mu": 0.5, "sigma": 2, "lower": 0, "upper": 3}),
    ("TruncatedNormal", {"mu": 0.5, "sigma": 2, "lower": 0, "upper": sp.oo}),
    ("TruncatedNormal", {"mu": 0.5, "sigma": 2, "lower": -sp.oo, "upper": 1}),
    ("Gamma", {"shape": 3, "rate": 0.5}),
    ("InverseGamma", {"shape": 4, "scale": 3}),
    ("Exponential", {"rate": 2}),
    ("HalfNormal", {"sigma": 1.3}),
    ("Weibull", {"shape": 1.7, "scale": 2}),
    ("Beta", {"alpha": 2, "beta": 5}),
    ("Poisson", {"mean": 3.2}),
    ("NegativeBinomial", {"mean": 4, "dispersion": 2.5}),
    ("Binomial", {"n": 12, "p": 0.3}),
    ("Bernoulli", {"p": 0.3}),
    ("BetaBinomial", {"n": 9, "alpha": 2, "beta": 3}),
    ("Categorical", {"p": (0.2, 0.5, 0.3)}),
]


@pytest.mark.parametrize(("family", "args"), LAWS)
def test_moments_are_those_of_scipy(family: str, args: dict[str, Any]) -> None:
    symbolic = {
        k: tuple(map(sp.sympify, v)) if isinstance(v, tuple) else sp.sympify(v) for k, v in args.items()
    }
    found = moments(Law(family, symbolic))
    assert found is not None
    law = frozen(family, {k: float(v) if not isinstance(v, tuple) else v for k, v in args.items()})
    assert float(found[0]) == pytest.approx(law.mean(), rel=1e-9, abs=1e-12)
    assert float(found[1]) == pytest.approx(law.std() ** 2, rel=1e-8)


@pytest.mark.parametrize(
    ("family", "args"),
    [
        ("Cauchy", {"loc": 0, "scale": 1}),
        ("StudentT", {"df": 2, "loc": 0, "scale": 1}),
        ("InverseGamma", {"shape": 2, "scale": 1}),
        ("LogitNormal", {"mu": 0, "sigma": 1, "lower": 0, "upper": 1}),
    ],
)
def test_laws_without_moments_have_none(family: str, args: dict[str, Any]) -> None:
    assert moments(Law(family, {k: sp.sympify(v) for k, v in args.items()})) is None

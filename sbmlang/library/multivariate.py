"""The laws of several numbers at once: joint priors.

Entry i of a list belongs to member i and is in that member's unit. ``corr`` is the correlation of the
normal vector, a matrix or one number for all pairs.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from sbmlang.library.bounded import LOGIT_NORMAL
from sbmlang.library.family import Argument, ArgumentError, Distribution, Form, Value, constants

_ZERO, _ONE = sp.S.Zero, sp.S.One
_CORR = Argument("corr", "correlation", rank=2, broadcast=True)
_CANONICAL_CORR = Argument("corr", "correlation", rank=2)


def positive_definite(corr: tuple[tuple[sp.Expr, ...], ...], argument: str = "corr") -> Value:
    """The matrix itself if it can be a correlation.

    Entries that depend on parameters are not checked. Raises ``ArgumentError`` E544.
    """
    values = constants(corr)
    if values is None:
        return corr
    import numpy as np

    matrix = np.array(values)
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-12):
        raise _not_a_correlation(argument, "is not symmetric", "entry (i, j) must equal entry (j, i)")
    if not np.allclose(np.diag(matrix), 1, rtol=0, atol=1e-12):
        raise _not_a_correlation(argument, "has entries other than 1 on its diagonal", "put 1 there")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest <= 0:
        size = len(matrix)
        raise _not_a_correlation(
            argument,
            f"is not positive definite (smallest eigenvalue {smallest:.3g})",
            f"bring the correlations nearer to 0; one number for all {size} must lie between "
            f"{-1 / (size - 1):.4g} and 1" if size > 1 else "bring the correlations nearer to 0",
        )  # fmt: skip
    return corr


def _not_a_correlation(argument: str, what: str, help: str) -> ArgumentError:
    return ArgumentError("E544", f"{argument} {what}", (help,), argument)


def _from_covariance(mean: Value, cov: tuple[tuple[sp.Expr, ...], ...]) -> dict[str, Value]:
    for i, row in enumerate(cov):
        variance = constants(row[i])
        if variance is not None and variance <= 0:
            raise ArgumentError(
                "E543",
                f"entry ({i + 1}, {i + 1}) of cov is a variance and must be positive, found {variance:g}",
                ("the diagonal holds the squared standard deviations",),
                "cov",
            )
    sd = tuple(sp.sqrt(row[i]) for i, row in enumerate(cov))
    corr = tuple(
        tuple(_ONE if i == j else cij / (sd[i] * sd[j]) for j, cij in enumerate(row))
        for i, row in enumerate(cov)
    )
    return {"mu": mean, "sigma": sd, "corr": positive_definite(corr, "cov")}


_MEANS = Argument("mean", "location", rank=1, aliases=("loc", "mu"), broadcast=True)

MV_NORMAL = Distribution(
    "MvNormal",
    "correlated normal members with these means and standard deviations",
    (Argument("mu", "location", rank=1), Argument("sigma", "scale", rank=1), _CANONICAL_CORR),
    (
        Form(
            (_MEANS, Argument("sd", "scale", rank=1, aliases=("sigma", "scale"), broadcast=True), _CORR),
            lambda mean, sd, corr: {"mu": mean, "sigma": sd, "corr": positive_definite(corr)},
        ),
        Form((_MEANS, Argument("cov", "covariance", rank=2)), _from_covariance),
    ),
    lambda mu, sigma, corr: (None, None),
    event_rank=1,
)


def _vector_form(margin: Form) -> Form:
    """A form of LogitNormal, entry by entry, with the correlation of the logits."""
    arguments = tuple(
        Argument(a.name, a.role, 1, a.aliases, a.default, a.domain, broadcast=True) for a in margin.arguments
    )

    def build(corr: Any, **lists: Any) -> dict[str, Value]:
        entries = zip(*lists.values(), strict=True)
        margins = [
            _entry(i, margin, dict(zip(lists, entry, strict=True))) for i, entry in enumerate(entries, 1)
        ]
        columns = {name: tuple(m[name] for m in margins) for name in ("mu", "sigma", "lower", "upper")}
        return {**columns, "corr": positive_definite(corr)}

    # Positional order: median, sd, corr, lower, upper.
    return Form((*arguments[:2], _CORR, *arguments[2:]), build)


def _entry(number: int, margin: Form, arguments: dict[str, Any]) -> dict[str, Value]:
    try:
        return margin.build(**arguments)
    except ArgumentError as problem:
        message = f"entry {number}: {problem.message}"
        raise ArgumentError(problem.code, message, problem.help, problem.argument) from None


MV_LOGIT_NORMAL = Distribution(
    "MvLogitNormal",
    "members lower + (upper - lower)*expit(eta) with eta normal of correlation corr",
    (
        Argument("mu", "number", rank=1),
        Argument("sigma", "number", rank=1, domain="positive"),
        _CANONICAL_CORR,
        Argument("lower", "location", rank=1),
        Argument("upper", "location", rank=1),
    ),
    tuple(map(_vector_form, LOGIT_NORMAL.forms)),
    lambda mu, sigma, corr, lower, upper: (lower, upper),
    event_rank=1,
)

_ALPHA = Argument("alpha", "number", rank=1, aliases=("concentration",), domain="positive", broadcast=True)

DIRICHLET = Distribution(
    "Dirichlet",
    "fractions that sum to one, with means alpha/sum(alpha)",
    (Argument("alpha", "number", rank=1, domain="positive"),),
    (Form((_ALPHA,), lambda alpha: {"alpha": alpha}),),
    lambda alpha: (_ZERO, _ONE),
    event_rank=1,
    needs_dimensionless=True,
    constraint="simplex",
)

LKJ = Distribution(
    "LKJ",
    "correlation matrices with density proportional to det^(eta - 1); 1 is uniform, more is nearer to none",
    (Argument("eta", "number", domain="positive"),),
    (
        Form(
            (Argument("eta", "number", aliases=("concentration",), domain="positive"),),
            lambda eta: {"eta": eta},
        ),
    ),
    lambda eta: (-_ONE, _ONE),
    event_rank=2,
    constraint="correlation matrix",
)

FAMILIES = (DIRICHLET, MV_NORMAL, MV_LOGIT_NORMAL, LKJ)

"""The laws of counts and classes. The variable must be dimensionless."""

from __future__ import annotations

import math

import sympy as sp

from sbmlang.library.family import Argument, ArgumentError, Distribution, Form, Value, constants

_ZERO, _ONE = sp.S.Zero, sp.S.One
_N = Argument("n", "count")
_P = Argument("p", "probability")
_MEAN = Argument("mean", "number", aliases=("mu",), domain="non-negative")
_DISPERSION = Argument("dispersion", "number", aliases=("phi",), domain="positive")
_CLASSES = Argument("p", "probability", rank=1)

POISSON = Distribution(
    "Poisson",
    "count of independent events; variance = mean",
    (Argument("mean", "number", domain="non-negative"),),
    (
        Form(
            (Argument("mean", "number", aliases=("rate", "mu"), domain="non-negative"),),
            lambda mean: {"mean": mean},
        ),
    ),
    lambda mean: (_ZERO, None),
    closed=True,
    discrete=True,
    needs_dimensionless=True,
)

NEGATIVE_BINOMIAL = Distribution(
    "NegativeBinomial",
    "count more variable than Poisson; variance = mean + mean^2/dispersion",
    (Argument("mean", "number", domain="non-negative"), Argument("dispersion", "number", domain="positive")),
    (
        Form((_MEAN, _DISPERSION), lambda mean, dispersion: {"mean": mean, "dispersion": dispersion}),
        Form(
            (
                Argument("n", "number", domain="positive"),
                Argument("p", "probability", domain="strict probability"),
            ),
            lambda n, p: {"mean": n * (1 - p) / p, "dispersion": n},
        ),
    ),
    lambda mean, dispersion: (_ZERO, None),
    closed=True,
    discrete=True,
    needs_dimensionless=True,
)

BINOMIAL = Distribution(
    "Binomial",
    "number of successes in n trials of probability p",
    (_N, _P),
    (Form((_N, _P), lambda n, p: {"n": n, "p": p}),),
    lambda n, p: (_ZERO, n),
    closed=True,
    discrete=True,
    needs_dimensionless=True,
)

BERNOULLI = Distribution(
    "Bernoulli",
    "1 with probability p, else 0",
    (_P,),
    (Form((_P,), lambda p: {"p": p}),),
    lambda p: (_ZERO, _ONE),
    closed=True,
    discrete=True,
    needs_dimensionless=True,
)

_ALPHA = Argument("alpha", "number", domain="positive")
_BETA = Argument("beta", "number", domain="positive")

BETA_BINOMIAL = Distribution(
    "BetaBinomial",
    "number of successes in n trials whose probability is Beta(alpha, beta)",
    (_N, _ALPHA, _BETA),
    (Form((_N, _ALPHA, _BETA), lambda n, alpha, beta: {"n": n, "alpha": alpha, "beta": beta}),),
    lambda n, alpha, beta: (_ZERO, n),
    closed=True,
    discrete=True,
    needs_dimensionless=True,
)


def _sums_to_one(p: Value) -> Value:
    values = constants(p)
    if values is not None and abs(math.fsum(values) - 1) > 1e-8:
        raise ArgumentError(
            "E543",
            f"the probabilities p sum to {math.fsum(values):g}, not to 1",
            ("divide each by their sum",),
            "p",
        )
    return p


CATEGORICAL = Distribution(
    "Categorical",
    "one of the classes 1..K with probabilities p",
    (_CLASSES,),
    (Form((_CLASSES,), lambda p: {"p": _sums_to_one(p)}),),
    lambda p: (_ONE, sp.Integer(len(p))),
    closed=True,
    discrete=True,
    needs_dimensionless=True,
)

MULTINOMIAL = Distribution(
    "Multinomial",
    "how often each class occurs in n trials with probabilities p",
    (_N, _CLASSES),
    (Form((_N, _CLASSES), lambda n, p: {"n": n, "p": _sums_to_one(p)}),),
    lambda n, p: (_ZERO, n),
    closed=True,
    discrete=True,
    event_rank=1,
    needs_dimensionless=True,
)

FAMILIES = (POISSON, NEGATIVE_BINOMIAL, BINOMIAL, BERNOULLI, BETA_BINOMIAL, CATEGORICAL, MULTINOMIAL)

"""The laws of a step's random numbers: normals and what is made of them, uniforms, and samplers.

Normals come ready from a buffer that was filled in vectorised pairs; everything that is an expression of
normals or uniforms keeps the loop over particles vectorised. The others are calls of exact samplers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sbmlang.errors import NotYet, error
from sbmlang.kernels.ops import Depends, Tape, Value

GAUSSIAN = frozenset({"Normal", "LogNormal", "LogitNormal", "HalfNormal"})
"""Families that are a function of one standard normal."""

_SAMPLERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Poisson": ("poisson", ("mean",)),
    "NegativeBinomial": ("negative_binomial", ("mean", "dispersion")),
    "Binomial": ("binomial", ("n", "p")),
    "StudentT": ("student_t", ("df", "loc", "scale")),
    "Gamma": ("standard_gamma", ("shape",)),
    "InverseGamma": ("standard_gamma", ("shape",)),
    "Beta": ("beta", ("alpha", "beta")),
    "BetaBinomial": ("beta", ("alpha", "beta")),
    "TruncatedNormal": ("truncated_normal", ("mu", "sigma", "lower", "upper")),
}


@dataclass
class Draws:
    """Random numbers of one function, in order: ``normals`` of them, and the rest as lines of code.

    ``calls`` are (name of the number, function, arguments); the number is an input of the tape by that name.
    """

    tape: Tape
    normals: int = 0
    calls: list[tuple[str, str, tuple[Value, ...]]] = field(default_factory=list)

    def law(self, family: str, args: Mapping[str, Any]) -> Any:
        """A draw from a law. Raises ``NotYet`` E770 for a law of several numbers."""
        a: dict[str, Any] = {n: v if isinstance(v, tuple) else self.tape.value(v) for n, v in args.items()}
        match family:
            case "Normal":
                return a["mu"] + a["sigma"] * self.normal()
            case "LogNormal":
                return (a["mu"] + a["sigma"] * self.normal()).apply("exp")
            case "LogitNormal":
                eta = a["mu"] + a["sigma"] * self.normal()
                return a["lower"] + (a["upper"] - a["lower"]) * eta.apply("expit")
            case "HalfNormal":
                return a["sigma"] * self.normal().apply("abs")
            case "Uniform":
                return a["lower"] + (a["upper"] - a["lower"]) * self.uniform()
            case "Exponential":
                return -self.uniform().apply("log") / a["rate"]
            case "Weibull":
                return a["scale"] * ((-self.uniform().apply("log")).apply("log") / a["shape"]).apply("exp")
            case "Laplace":
                u = 2.0 * self.uniform() - 1.0
                size = -(1.0 - u.apply("abs")).apply("log")
                return a["loc"] + a["scale"] * (u < 0.0).select(-size, size)
            case "Cauchy":
                return a["loc"] + a["scale"] * (math.pi * (self.uniform() - 0.5)).apply("tan")
            case "HalfCauchy":
                return a["scale"] * (0.5 * math.pi * self.uniform()).apply("tan")
            case "Bernoulli":
                return (self.uniform() < a["p"]).select(1.0, 0.0)
            case "Categorical":
                return self._class(a["p"])
            case "Gamma":
                return self._sampled(family, a) / a["rate"]
            case "InverseGamma":
                return a["scale"] / self._sampled(family, a)
            case "BetaBinomial":
                return self._call("binomial", (a["n"], self._sampled(family, a)))
            case _ if family in _SAMPLERS:
                return self._sampled(family, a)
        raise NotYet(
            error("E770", f"particles cannot be moved by a draw from {family}",
                  help="draw one number at a time (Binomial draws one after the other make a Multinomial)")
        )  # fmt: skip

    def normal(self) -> Value:
        """A standard normal."""
        self.normals += 1
        return self.tape.input(f"z{self.normals - 1}", Depends.STATE)

    def uniform(self) -> Value:
        return self._call("uniform", ())

    def _sampled(self, family: str, a: Mapping[str, Any]) -> Value:
        function, names = _SAMPLERS[family]
        return self._call(function, tuple(a[n] for n in names))

    def _call(self, function: str, arguments: tuple[Value, ...]) -> Value:
        name = f"u{len(self.calls)}"
        self.calls.append((name, function, arguments))
        return self.tape.input(name, Depends.STATE)

    def _class(self, p: tuple[Value, ...]) -> Value:
        """1 + the number of cumulated probabilities (all but the last) that a uniform is above."""
        u, total, place = self.uniform(), self.tape.constant(0.0), self.tape.constant(1.0)
        for probability in p[:-1]:
            total = total + probability
            place = place + (u > total).select(1.0, 0.0)
        return place

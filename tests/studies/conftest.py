"""An engine whose posterior is known: a normal mean, drawn from exactly, or wrongly on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sbmlang as sbm
from sbmlang.driver import Model
from sbmlang.results import assemble

NORMAL = """model mean
time t [day] from 0 to 9 step 1
param mu [kg] ~ Normal(2, 3) "a level"
observe y [kg] ~ Normal(mu, 1.5 [kg]) "the level, with error"
"""
ERROR, PRIOR_MEAN, PRIOR_SD = 1.5, 2.0, 3.0


@dataclass(frozen=True)
class Conjugate:
    """A program whose ``infer`` draws from the exact posterior of ``mu``; ``scale`` multiplies its sd, ``shift`` is in
    posterior sds, and replications whose data have a mean above ``breaks`` fail."""

    program: Any
    scale: float = 1.0
    shift: float = 0.0
    breaks: float = np.inf
    pareto_k: float = 0.1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)

    def infer(
        self, data: Any, *, method: str, draws: int, chains: int, seed: int, **options: Any
    ) -> xr.DataTree:
        y = data.channels["y"].value
        if y.mean() > self.breaks:
            raise ArithmeticError("the level is too high for this engine")
        precision = 1 / PRIOR_SD**2 + len(y) / ERROR**2
        mean, sd = (PRIOR_MEAN / PRIOR_SD**2 + y.sum() / ERROR**2) / precision, precision**-0.5
        noise = np.random.default_rng(seed).normal(size=(chains, draws))
        mu = mean + sd * (self.shift + self.scale * noise)
        rows = -0.5 * ((y - mu[..., None]) / ERROR) ** 2 - np.log(ERROR) - 0.5 * np.log(2 * np.pi)
        return assemble(
            self.program.model, self.program.facts, data, posterior={"mu": mu}, log_likelihood={"y": rows},
            attrs={"independent_draws": True, "backend": "test", "method": method, "seed": seed,
                   "pareto_k": self.pareto_k},
        )  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """A model that compiles to ``Conjugate``, once."""

    model: Model
    program: Any
    change: Mapping[str, float]

    @property
    def ir(self) -> Any:
        return self.model.ir

    def compile(self, backend: str, **options: Any) -> Conjugate:
        return Conjugate(self.program, **self.change)


@pytest.fixture(scope="session")
def engine():
    """``engine(scale=0.7)``: the model with a changed engine."""
    model = sbm.loads(NORMAL)
    program = model.compile("jax")
    return lambda **change: Engine(model, program, change)

"""NUTS of the jax backend for a data set that the network is too far from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sbmlang import registry
from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError
from sbmlang.protocols import Program
from sbmlang.results import attributes
from sbmlang.results.scalars import convergence, scalars

if TYPE_CHECKING:
    from ..program import TorchProgram

CHAINS = 4
R_HAT = 1.02  # the largest of a parameter at which the chains count as one
_compiled: WeakKeyDictionary[Any, Program] = WeakKeyDictionary()  # by torch program, compiled once


@dataclass(frozen=True, eq=False)
class Fallback:
    """What NUTS gave: ``params`` (chains*draws, *dims) by name, None where it could not be run, and why."""

    params: Mapping[str, Tensor] | None
    reason: str
    chains: int = CHAINS
    stats: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def run(program: TorchProgram, data: Dataset, draws: int, seed: int) -> Fallback:
        """NUTS with ``draws`` in all, rounded up to a multiple of the chains."""
        try:
            other = _of_jax(program)
            tree = other.infer(
                data, method="nuts", draws=-(-draws // CHAINS), chains=CHAINS, seed=seed, warmup=500
            )
        except SbmError as problem:
            return Fallback(None, problem.diagnostics[0].message)
        group = tree["posterior"]
        params = {
            i.name: torch.as_tensor(np.asarray(group[i.name]).reshape(-1, *group[i.name].shape[2:]))
            for i in program.parameters
        }
        worst = max(convergence(list(scalars(group, ("parameter",)))).r_hat, default=np.nan)
        if not worst <= R_HAT:
            return Fallback(None, f"its chains disagree (R-hat {worst:.2f})")
        divergences = int(np.sum(tree["sample_stats"]["diverging"]))
        return Fallback(
            params, "", CHAINS, {"divergences": divergences, "cost": attributes(tree).get("cost")}
        )

    def attributes(self) -> dict[str, Any]:
        return {"reason": self.reason, "chains": self.chains, **self.stats}


def _of_jax(program: TorchProgram) -> Program:
    """The same model compiled by the jax backend. Raises ``SbmError`` E702 where it is not installed."""
    if program not in _compiled:
        options = {"outputs": program.functions.OUTPUTS} if program.outside.computed else {}
        _compiled[program] = registry.backend("jax").compile(program.model, program.facts, **options)
    return _compiled[program]

"""What learns the posterior: a law of z in R^d given a vector of features, and the registry of its kinds.

Everything amortized is built on this surface only, so that a new kind of network is one file and one row of
``CONDITIONALS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sbmlang.errors import SbmError, did_you_mean, error

from .training import Settings


class Conditional(nn.Module, ABC):
    """A law q(z | context) over z in R^d, float32, whose weights are drawn from ``seed``.

    Subclasses take ``(dimension, context, *, seed=0, **configuration)`` with plain values only and keep all of the
    configuration in ``configuration``, from which a saved network is built anew.
    """

    density_is_cheap: ClassVar[bool]
    """Whether ``log_prob`` costs about as much as a draw."""

    def __init__(self, dimension: int, context: int, **configuration: Any) -> None:
        super().__init__()
        self.dimension, self.context = dimension, context
        self.configuration = configuration

    @abstractmethod
    def loss(self, z: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        """What training lowers: (n,) of z (n, d) and contexts (n, c)."""

    @abstractmethod
    def sample(self, context: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """``count`` draws of z for each context: (c,) gives (count, d), (m, c) gives (m, count, d)."""

    @abstractmethod
    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Log densities: z (n, d) and a context (c,) give (n,); (m, n, d) and (m, c) give (m, n)."""


@runtime_checkable
class Drawn(Protocol):
    """A network that gives draws and their densities in one pass; ``wide`` as in ``flow.ConditionalFlow.draws``."""

    def draws(
        self, context: Tensor, count: int, generator: torch.Generator, *, wide: bool = False
    ) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Kind:
    """A kind of network: where its class is, as ``"module:Class"`` of this package, and how it is trained.

    ``steps`` gives the steps of training by the number of simulations, as (simulations, steps) pairs between which
    the logarithms are interpolated.
    """

    place: str
    about: str
    steps: tuple[tuple[int, int], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def make(self, dimension: int, context: int, **configuration: Any) -> Conditional:
        module, name = self.place.split(":")
        found: Conditional = getattr(import_module(f".{module}", __package__), name)(
            dimension, context, **configuration
        )
        return found

    def training(self, simulations: int, **wishes: Any) -> Settings:
        """The settings for so many simulations; ``wishes`` that are not None go before them."""
        own = Settings(steps=_interpolated(self.steps, simulations), **self.settings)
        return replace(own, **{n: v for n, v in wishes.items() if v is not None})


CONDITIONALS: dict[str, Kind] = {
    "npe": Kind(
        "flow:ConditionalFlow",
        "a neural spline flow: draws and densities in one pass",
        ((1_000, 2_000), (10_000, 5_500), (100_000, 12_000)),
    ),
    "diffusion": Kind(
        "denoiser:Denoiser",
        "a conditional denoiser: the choice where no density is at hand",
        ((1_000, 4_000), (10_000, 8_000), (100_000, 16_000)),
        {"repeats": 8},
    ),
    "flow-matching": Kind(
        "matching:FlowMatching",
        "a velocity field whose ODE carries noise to the posterior",
        ((1_000, 4_000), (10_000, 8_000), (100_000, 16_000)),
        {"repeats": 8},
    ),
}


def kind(method: str) -> Kind:
    """The kind of network of a method.

    Raises ``SbmError`` E860 for a method that no network belongs to.
    """
    if method not in CONDITIONALS:
        raise SbmError(
            error("E860", f"no network is trained by method='{method}'",
                  help=did_you_mean(method, CONDITIONALS) or f"methods: {', '.join(CONDITIONALS)}")
        )  # fmt: skip
    return CONDITIONALS[method]


def _interpolated(pairs: tuple[tuple[int, int], ...], simulations: int) -> int:
    from numpy import exp, interp, log

    at, steps = zip(*pairs, strict=True)
    return round(float(exp(interp(log(max(simulations, 1)), log(at), log(steps)))))

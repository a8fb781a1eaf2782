"""What the compiler found out about a model, each finding with its reason and place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sbmlang.ir.model import Stage
from sbmlang.ir.stepping import FiniteChain, GaussianModel, Step
from sbmlang.ir.symbols import Expr
from sbmlang.source import Span


@dataclass(frozen=True)
class Fact:
    """A yes or no with the reason for it, and the expression and place that decide it."""

    holds: bool
    reason: str
    expr: Expr | None = None
    span: Span | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return self.holds


@dataclass(frozen=True)
class Balance:
    """Mass balance of one flux, or of "all pools": ``created`` is what appears beyond what leaves.

    ``proven`` when the compiler showed that to be exactly zero. Otherwise ``condition`` says in words, as
    far as the supports of the priors allow, where it creates and where it loses ("creates where a21 > 1,
    loses where a21 < 1"), and ``always_loses`` that it cannot create. ``span`` is the flux.
    """

    flux: str
    created: Expr
    proven: bool
    condition: str
    always_loses: bool
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Engine:
    """One way to treat stochastic states, whether it fits the model, and why.

    ``name``: "exact" (Kalman filter), "forward" (finite state sets), "gaussian" (moment-exact or extended
    Kalman filter, approximate), "particle", "sampled" (the path beside the parameters). ``kind`` says more,
    for "gaussian" which filter.
    """

    name: Literal["exact", "forward", "gaussian", "particle", "sampled"]
    fits: Fact
    kind: str = ""


@dataclass(frozen=True)
class Facts:
    """Structure facts of a model, shown by ``sbm show`` and used by backends to choose methods.

    ``linear_drift``: affine in all states, sinks and accumulators included. ``constant_coefficients``: and
    nothing in it ever changes over time (the path is a matrix exponential); ``piecewise_constant``: nothing
    changes between the points of previous/next forcings and ``jump_times``. ``bounded``: states stay
    above their declared lower bounds by themselves. ``stiff`` is None where it was not asked for, or where
    only the data could tell. ``separable``: dims whose members never touch along the path. ``jacobian``:
    see ``passes.derivatives``; None with ``jacobian_reason`` where it is left out. ``stages`` covers
    definitions, fluxes and reports. ``jump_times`` are numbers in the time variable's unit.

    Stochastic models have ``engines`` in the order of preference, their ``step``, and where they exist the
    ``gaussian`` form (also for the "gaussian" engine) and the finite ``chain``. ``step_error`` says how far one
    Euler step is from the exact step of a linear equation at the medians of the priors, and holds when that
    is small against the noise of the step; None where it is not known.

    ``likelihood``: whether the log likelihood of a model with simulators can be computed; None without simulators.
    """

    linear_drift: Fact
    linear_observations: Fact
    gaussian_observations: Fact
    constant_coefficients: Fact
    piecewise_constant: Fact
    bounded: Fact
    stiff: Fact | None = None
    separable: tuple[str, ...] = ()
    balances: tuple[Balance, ...] = ()
    stages: Mapping[str, Stage] = field(default_factory=dict)
    jacobian: Mapping[tuple[str, str], Expr] | None = None
    jacobian_reason: str = ""
    jump_times: tuple[Expr, ...] = ()
    engines: tuple[Engine, ...] = ()
    step: Step | None = None
    gaussian: GaussianModel | None = None
    chain: FiniteChain | None = None
    step_error: Fact | None = None
    likelihood: Fact | None = None

    @property
    def engine(self) -> Engine | None:
        """The engine that ``states="auto"`` takes: the first that fits; None for deterministic states."""
        return next((e for e in self.engines if e.fits), None)

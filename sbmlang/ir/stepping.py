"""A stochastic model as one step of its path, and the forms of it that states can be integrated out of.

All of these are written member by member: every expression is scalar, over references with fixed members
(``C[layer#0]``). Along the dims of ``batch`` (separable: members never touch) the free index is kept, and
everything here is about one member of the batch. Values are in declared units, as everywhere.

What an expression may refer to
    states       the old values, at the start of the step (in an emission: the values at the row's time)
    time         the time at which the step's forcings are taken: its start, or its end where the file says
                 ``forcing at end`` (in an emission: the row's time)
    WIDTH        the width of the step in the time variable's unit
    forcings     at that time
    definitions  of ``definitions``, which are in the order to compute them in, and may be used by steps,
                 emissions and starts
    others       parameters, covariates, values of roots: known before the path begins
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sbmlang.ir.model import Censoring, Law
from sbmlang.ir.symbols import Expr, Ref
from sbmlang.source import Span

WIDTH = Ref("step.width")


@dataclass(frozen=True)
class Emission:
    """The law of one scalar observation: channel ``channel`` at the members ``index`` (dim -> position) of
    the coupled dims; rows along batch dims share it.

    ``law`` may refer to the states, and to ``Ref("CHANNEL.WINDOW")`` for the value of a window; those stand
    for memory states (see ``Memory``), never for anything else.
    """

    channel: str
    index: Mapping[str, int]
    law: Law
    censoring: Censoring | None = None
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Memory:
    """A state that an observation window needs: it holds the value of ``expr`` (of the states) at the start
    of the current row's window, and no step changes it. ``state`` is its reference.

    It is set at the window starts of the rows of (``channel``, ``index``), after all rows at that time.
    Windows from the path's start need none, and windows whose spans overlap cannot use one.
    """

    state: Ref
    expr: Expr
    channel: str
    window: str
    index: Mapping[str, int]


@dataclass(frozen=True)
class Step:
    """One step of the path: x(t + WIDTH) from x(t).

    ``states`` are those that anything observed or reported depends on, accumulators and memories last.
    ``draws`` are the random numbers of the step with their laws, in order; the increments of Wiener
    processes are among them as standard normals (``Ref`` of the process), with sqrt(WIDTH) written in
    ``update``. ``init`` is the start of each state: its location, with its law in ``start`` where it is random.
    ``width`` is the step in the time variable's unit; None when one step may span any gap (exact scheme with
    constant coefficients). ``theta`` are the scalars per parameter set that any expression here refers to,
    ``forcings`` the scalars of forcings, ``known`` those that the data or the compiler knows (covariates,
    definitions computed once, index variables).
    """

    time: Ref
    batch: tuple[str, ...]
    states: tuple[Ref, ...]
    definitions: tuple[tuple[Ref, Expr], ...]
    init: Mapping[Ref, Expr]
    start: Mapping[Ref, Law]
    draws: tuple[tuple[Ref, Law], ...]
    update: Mapping[Ref, Expr]
    emissions: tuple[Emission, ...]
    memories: tuple[Memory, ...]
    width: float | None
    forcing_at: Literal["start", "end"]
    theta: tuple[Ref, ...]
    forcings: tuple[Ref, ...]
    known: tuple[Ref, ...]


Matrix = Mapping[tuple[int, int], Expr]
"""Entries by (row, column) of states; what is missing is zero. Symmetric ones have row <= column only."""


@dataclass(frozen=True)
class GaussianEmission:
    """A scalar observation as Normal(location(x), variance(x)) of the (transformed) value.

    ``slopes`` is d location/d state by position. With ``transform`` "log" the observed value is log(y), and
    the density of y carries the factor 1/y.
    """

    channel: str
    index: Mapping[str, int]
    location: Expr
    slopes: Mapping[int, Expr]
    variance: Expr
    transform: Literal["identity", "log"] = "identity"


@dataclass(frozen=True)
class GaussianModel:
    """Means and covariances for a Kalman filter and its extensions.

    Predict: m' = mean(m), P' = F P F^T + Q with F = ``slopes``, Q = ``noise``; update with an emission's
    location, slopes and variance. Expressions may refer to the states, which then stand for the mean m:
    kind "exact": mean affine, slopes, noise and variances free of states: the marginal likelihood is exact;
    kind "moments": the same but noise affine in the states: first two moments of every step are exact;
    kind "linearised": the extended Kalman filter, slopes by differentiation.
    ``logarithmic`` are the positions of states that are kept as their logarithm (after exp they are the
    model's). ``jumps``: what a memory is set to, position of the memory -> (location, slopes), in the order of
    ``step.memories``.
    """

    kind: Literal["exact", "moments", "linearised"]
    step: Step
    start_mean: tuple[Expr, ...]
    start_cov: Matrix
    mean: tuple[Expr, ...]
    slopes: Matrix
    noise: Matrix
    emissions: tuple[GaussianEmission, ...]
    jumps: Mapping[int, tuple[Expr, Mapping[int, Expr]]]
    logarithmic: frozenset[int] = frozenset()


@dataclass(frozen=True)
class FiniteChain:
    """A hidden Markov model: one state with values 1..K.

    ``start`` (K,) and ``transition`` (K, K; row = old value) are probabilities, ``laws`` the emission laws
    with the state's value put in, one per value, for each of ``step.emissions``.
    """

    step: Step
    state: Ref
    start: tuple[Expr, ...]
    transition: tuple[tuple[Expr, ...], ...]
    laws: tuple[tuple[Law, ...], ...]

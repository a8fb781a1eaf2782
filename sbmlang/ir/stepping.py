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
    """A state that an observation window sets: at the start of each row's window ``state`` becomes the value
    of ``expr`` (of the states). Two forms: a state of its own that keeps the value and that no step changes,
    or an accumulator that only this window reads, set back to 0 (``expr`` is 0).

    It is set at the window starts of the rows of (``channel``, ``index``), after all rows at that time; at
    the path's start before them when ``first`` (windows since the start). Windows whose spans overlap cannot
    use one.
    """

    state: Ref
    expr: Expr
    channel: str
    window: str
    index: Mapping[str, int]
    first: bool = False


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
    definitions computed once, index variables). ``durations`` are lengths of windows, by the (channel,
    window) they belong to: known for each row (``Schedule.durations``), and used by emissions only.

    ``scheme`` is how ``update`` came about. For "exact" it is the closed form where no state touches another;
    where there is none ``update`` is empty, and the step is the law of the linear equation
    dx = ``drift`` dt + ``diffusion`` over WIDTH with everything but x held as it is at ``time``: ``drift`` is
    affine in the states, ``diffusion`` linear in the draws (dW, not xi) and free of the states.
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
    durations: Mapping[Ref, tuple[str, str]] = field(default_factory=dict)
    scheme: Literal["map", "euler", "milstein", "exact"] = "map"
    drift: Mapping[Ref, Expr] = field(default_factory=dict)
    diffusion: Mapping[Ref, Expr] = field(default_factory=dict)


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
    model's): ``mean`` and ``start_mean`` are of the logarithm, and wherever an expression here refers to such
    a state it means its logarithm. Definitions that depend on states are written out, so that expressions
    refer only to those of ``step.definitions`` that do not.
    ``jumps``: what a memory is set to, position of the memory -> (location, slopes), in the order of
    ``step.memories``.

    With ``transition`` "matrix exponential" (never kind "moments") the entries are those of the continuous
    system dx = (A x + b) dt + L dW: ``slopes`` is A, ``mean`` is b (free of the states), ``noise`` is L L^T. Over a
    step of width h, with C(s) = expm(A s): F = C(h), m' = F m + (integral of C over 0..h) b and
    Q = integral of C (L L^T) C^T over 0..h. All come from one matrix exponential (Van Loan 1978, IEEE Trans.
    Automatic Control 23, 395-404), which the backend computes. None of the entries contains WIDTH.
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
    transition: Literal["entries", "matrix exponential"] = "entries"


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

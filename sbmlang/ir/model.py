"""The symbolic model: one frozen record, named by mathematical role.

Values. Every named quantity holds its value in its own declared ``unit``, which is what the user puts in
and gets out. Expressions compute in one coherent unit system (``Model.system``): where a quantity is
referred to, lowering has already written the factor (``1000*k``), which is 1 almost always. A definition
without a declared unit, and every right-hand side, is in coherent units. So ``drift`` is d(state in its
own unit)/dt with t in the time variable's unit, and the arguments of a law are in the unit of the
quantity it describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal

import sympy as sp

from sbmlang.ir.indexing import free_dims
from sbmlang.ir.symbols import Along, Expr, Ref
from sbmlang.library.units import CoherentSystem, Unit
from sbmlang.source import Span


class Stage(IntEnum):
    """How often something has to be computed."""

    ONCE = 0
    PARAMETERS = 1
    TIME = 2
    STATE = 3

    def __str__(self) -> str:
        return ("once", "per parameter set", "per time", "per state")[self]


@dataclass(frozen=True)
class Dim:
    """A named dimension. ``size`` and ``labels`` are None when they come from the data.

    ``first`` is the label of the first member of a range; a set has ``labels`` and ``first`` 1.
    """

    name: str
    size: int | None
    labels: tuple[str, ...] | None = None
    first: int = 1
    cyclic: bool = False
    doc: str = ""


@dataclass(frozen=True)
class Law:
    """A probability law: a family of ``library.distributions`` and its canonical arguments.

    ``args`` values are sympy expressions, or tuples of them (nested for a matrix) for vector arguments.
    """

    family: str
    args: Mapping[str, Argument]

    def expressions(self) -> Iterator[Expr]:
        for value in self.args.values():
            yield from _leaves(value)

    def changed(self, change: Callable[[Expr], Expr]) -> Law:
        """The same family with every argument changed."""
        return Law(self.family, {name: _changed(value, change) for name, value in self.args.items()})


Argument = Expr | tuple["Argument", ...]


def _changed(value: Argument, change: Callable[[Expr], Expr]) -> Argument:
    return tuple(_changed(v, change) for v in value) if isinstance(value, tuple) else change(value)


def _leaves(value: Argument) -> Iterator[Expr]:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What every named thing has. ``unit`` is the declared unit, in which its values are kept."""

    name: str
    unit: Unit
    dims: tuple[str, ...] = ()
    doc: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Parameter(Quantity):
    """An unknown constant. Members of a joint prior share ``group`` and have ``law`` None (see ``Joint``).

    ``lower``/``upper`` is the prior's support in the declared unit (None: unbounded).
    ``role`` is "init" for the unknown start of a state declared by ``init S ~ ...``.
    """

    law: Law | None
    lower: Expr | None = None
    upper: Expr | None = None
    group: str | None = None
    role: Literal["param", "init"] = "param"


@dataclass(frozen=True)
class Joint:
    """A joint prior of several parameters, in this order along the law's event axis."""

    name: str
    members: tuple[str, ...]
    law: Law
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Covariate(Quantity):
    """A known constant that comes with the data. ``column`` is its name there."""

    column: str


@dataclass(frozen=True, kw_only=True)
class Forcing(Quantity):
    """A function of time given by data points. ``column`` is its name there."""

    interpolation: Literal["linear", "previous", "next", "cubic"]
    column: str


@dataclass(frozen=True, kw_only=True)
class Definition(Quantity):
    """A named value: ``const``, ``let`` or an expression ``forcing``; ``stage`` is set by the stages pass."""

    expr: Expr
    kind: Literal["const", "let", "forcing", "steady"]
    stage: Stage | None = None


@dataclass(frozen=True, kw_only=True)
class Root:
    """Names defined together as the root of ``residuals`` = 0 (a steady state without closed form).

    ``dims`` holds the dims of each name, which are also those of its residual: an indexed name is an array
    of unknowns and its residual an array over the same free indices. ``guess`` is where Newton starts
    (positive where the states are), one number per name, used for all members; None where it would need
    the data, and then the states' start values serve. ``linear`` when one Newton step is exact.
    """

    names: tuple[str, ...]
    units: tuple[Unit, ...]
    residuals: tuple[Expr, ...]
    dims: tuple[tuple[str, ...], ...]
    guess: tuple[float, ...] | None = None
    linear: bool = False
    stage: Stage = Stage.PARAMETERS


@dataclass(frozen=True, kw_only=True)
class State(Quantity):
    """A component of the path. ``kind`` tells declared states from sinks and window accumulators.

    ``lower``/``upper`` are declared bounds (numbers, in the declared unit), facts unless ``enforced``.
    ``init`` is the value at the start, in the declared unit. In a stochastic model the start may be random:
    ``start`` is its law then and ``init`` the law's location. Such a start belongs to the path, not to the
    parameters. A state with ``values`` K takes the values 1..K.
    """

    init: Expr
    start: Law | None = None
    values: int | None = None
    lower: float | None = None
    upper: float | None = None
    enforced: bool = False
    kind: Literal["state", "sink", "accumulator"] = "state"


@dataclass(frozen=True)
class Flux:
    """Material that moves: ``rate`` (of the source's unit per time) leaves ``source``, ``coefficient``
    times it enters each target. Kept for the mass balance and the diagram; the drift holds it already.
    """

    name: str
    dims: tuple[str, ...]
    source: Ref | None
    targets: tuple[tuple[Expr, Ref], ...]
    rate: Expr
    doc: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Ode:
    """Deterministic dynamics: d state/dt for every state, in the state's unit per time unit."""

    drift: Mapping[str, Expr]

    @property
    def equations(self) -> Mapping[str, Expr]:
        """The right-hand side of each state's equation."""
        return self.drift

    def expressions(self) -> Iterator[Expr]:
        yield from self.drift.values()

    def changed(self, change: Callable[[Expr], Expr]) -> Ode:
        """The same dynamics with every expression changed."""
        return Ode({name: change(e) for name, e in self.drift.items()})

    def extended(self, integrals: Mapping[str, Expr], time: Time) -> Ode:
        """With further states that integrate these expressions over time."""
        return Ode({**self.drift, **integrals})


@dataclass(frozen=True, kw_only=True)
class Wiener:
    """A standard Wiener process; along ``dims`` each member is one of its own, independent of the others.

    ``owner`` is the state whose ``noise`` has no process named in it; the name is then ``STATE.noise``.
    """

    name: str
    dims: tuple[str, ...] = ()
    owner: str | None = None
    doc: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Sde:
    """dx = drift dt + diffusion dW, after Ito, on a stepped path (``Time.step``, ``Time.scheme``).

    ``drift`` has every state (sinks and accumulators too, which have no noise). ``diffusion`` has the states
    with noise: a form that is linear in references to Wiener processes, in the state's unit per square root
    of the time unit; ``s1*W1 + s2*W2`` makes noise that two states share.
    """

    drift: Mapping[str, Expr]
    diffusion: Mapping[str, Expr]
    wieners: tuple[Wiener, ...]

    @property
    def equations(self) -> Mapping[str, Expr]:
        """The drift of each state."""
        return self.drift

    def expressions(self) -> Iterator[Expr]:
        yield from self.drift.values()
        yield from self.diffusion.values()

    def changed(self, change: Callable[[Expr], Expr]) -> Sde:
        """The same dynamics with every expression changed."""
        return Sde({name: change(e) for name, e in self.drift.items()},
                   {name: change(e) for name, e in self.diffusion.items()}, self.wieners)  # fmt: skip

    def extended(self, integrals: Mapping[str, Expr], time: Time) -> Sde:
        """With further states that integrate these expressions over time."""
        return Sde({**self.drift, **integrals}, self.diffusion, self.wieners)


@dataclass(frozen=True, kw_only=True)
class Draw(Quantity):
    """A random number drawn anew in every step; its law may depend on the old states and earlier draws.

    ``next S ~ Law`` is a draw named ``STATE.next`` that becomes the new value of the state.
    """

    law: Law


@dataclass(frozen=True)
class Map:
    """Discrete time: every state's value one step later, from the old values and the draws of the step.

    The step is ``Time.step``, or 1 in the time variable's unit.
    """

    update: Mapping[str, Expr]
    draws: tuple[Draw, ...] = ()

    @property
    def equations(self) -> Mapping[str, Expr]:
        """The new value of each state."""
        return self.update

    def expressions(self) -> Iterator[Expr]:
        yield from self.update.values()
        for draw in self.draws:
            yield from draw.law.expressions()

    def changed(self, change: Callable[[Expr], Expr]) -> Map:
        """The same dynamics with every expression changed."""
        return Map({name: change(e) for name, e in self.update.items()},
                   tuple(replace(d, law=d.law.changed(change)) for d in self.draws))  # fmt: skip

    def extended(self, integrals: Mapping[str, Expr], time: Time) -> Map:
        """With further states that sum these expressions times the step, from the left of each step."""
        step = sp.Float(time.step or 1.0)
        sums = {n: Ref(n, tuple(map(Along, sorted(free_dims(e))))) + step * e for n, e in integrals.items()}
        return Map({**self.update, **sums}, self.draws)


Dynamics = Ode | Sde | Map


@dataclass(frozen=True, kw_only=True)
class Window:
    """A functional of the path over (start, t] of each observation row; see ``WindowValue``.

    ``integral``: of ``expr`` over time (the windows pass turns ``expr`` into a reference to an
    accumulator state, and the value into its change). ``mean``: that divided by the duration.
    ``change``: value of ``expr`` at t minus its value at the window's start.
    ``length`` belongs to ``past`` and is in the time variable's unit.
    """

    name: str
    kind: Literal["integral", "mean", "change"]
    span_kind: Literal["since last", "since start", "past", "interval"]
    expr: Expr
    length: Expr | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Censoring:
    """How values are not seen whole: ``below`` (``above``) a limit only that they are below (above) it is
    known, and the data hold the limit there; ``rounded`` to multiples of ``limit``. In the observation's unit.
    """

    kind: Literal["below", "above", "rounded"]
    limit: Expr


@dataclass(frozen=True, kw_only=True)
class Observation(Quantity):
    """An observation operator with its error law, for the data column ``column``.

    An output that is observed itself, without an error, has the law ``Exactly`` with the one argument ``value``, a
    reference to the output.
    """

    law: Law
    column: str
    windows: tuple[Window, ...] = ()
    censoring: Censoring | None = None

    @property
    def exactly(self) -> Ref | None:
        """The output that is observed without an error; None for an observation with a law of errors."""
        value = self.law.args["value"] if self.law.family == "Exactly" else None
        return value if isinstance(value, Ref) else None


@dataclass(frozen=True, kw_only=True)
class Report(Quantity):
    """A derived quantity carried into the results; ``expr`` is in the declared (or coherent) unit."""

    expr: Expr
    stage: Stage | None = None


@dataclass(frozen=True, kw_only=True)
class Output(Quantity):
    """What a simulator gives for a parameter set. ``columns`` are the columns of a table that hold its members,
    in C order; none: they are found by name (``data.run_table``).
    """

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A forward map that is not in the file: ``outputs`` as a function of the parameters ``inputs``.

    ``source`` says where it is: a table of runs, ``"file.py:function"``, or a command line. ``random``: other
    outputs from call to call. ``density``: the log density of all outputs together, given the parameters, where
    it is known; an expression without free indices in outputs, parameters and what is made of them.
    """

    name: str
    kind: Literal["table", "python", "command"]
    source: str
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    random: bool = False
    density: Expr | None = None
    doc: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Time:
    """The independent variable. Numbers are in its unit; ``step`` belongs to stochastic paths. A model that says nothing
    of time has one that is not ``declared``."""

    name: str
    unit: Unit
    start: float = 0.0
    stop: float | None = None
    step: float | None = None
    forcing_at: Literal["start", "end"] = "start"
    origin: str | None = None
    column: str | None = None
    scheme: str | None = None
    doc: str = ""
    declared: bool = True


@dataclass(frozen=True, kw_only=True)
class Model:
    name: str
    doc: str = ""
    text: str = field(default="", compare=False, repr=False)
    path: str = field(default="<model>", compare=False)
    system: CoherentSystem
    time: Time
    dims: Mapping[str, Dim]
    parameters: tuple[Parameter, ...]
    joints: tuple[Joint, ...] = ()
    covariates: tuple[Covariate, ...] = ()
    forcings: tuple[Forcing, ...] = ()
    simulators: tuple[Simulator, ...] = ()
    definitions: tuple[Definition | Root, ...] = ()
    states: tuple[State, ...] = ()
    fluxes: tuple[Flux, ...] = ()
    dynamics: Dynamics = field(default_factory=lambda: Ode({}))
    observations: tuple[Observation, ...] = ()
    reports: tuple[Report, ...] = ()

    def replace(self, **changes: object) -> Model:
        return replace(self, **changes)  # type: ignore[arg-type]

    def quantities(self) -> Iterator[Quantity]:
        """Everything an expression can refer to by name, roots apart."""
        yield from self.parameters
        yield from self.covariates
        yield from self.forcings
        yield from self.outputs
        yield from (d for d in self.definitions if isinstance(d, Definition))
        yield from self.states
        if isinstance(self.dynamics, Map):
            yield from self.dynamics.draws

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What all simulators give."""
        return tuple(o for s in self.simulators for o in s.outputs)

    @property
    def is_stochastic(self) -> bool:
        """Whether the path is random given the parameters."""
        match self.dynamics:
            case Ode():
                return False
            case Sde():
                return True
            case Map(draws=draws):
                return bool(draws) or any(s.start is not None for s in self.states)

    def quantity(self, name: str) -> Quantity:
        return next(q for q in self.quantities() if q.name == name)

    def state(self, name: str) -> State:
        return next(s for s in self.states if s.name == name)

"""What a backend must offer; the core and the command line know backends by these types only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from xarray import DataTree

    from sbmlang.data.dataset import Dataset
    from sbmlang.ir import Model
    from sbmlang.ir.facts import Facts

Params = Mapping[str, Any]


@dataclass(frozen=True)
class ParameterInfo:
    """One unknown of a program, in the order every backend uses.

    ``lower``/``upper`` is the support in the declared unit (None: unbounded; a string where it depends on
    other parameters); ``bijection`` names the map from the real line: identity, exp, interval, ...
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    doc: str
    lower: float | str | None
    upper: float | str | None
    bijection: str


@dataclass(frozen=True)
class Progress:
    """How far an inference is; given to the progress callback every fraction of a second."""

    stage: str  # "compile", "warmup", "sample", "predict"
    done: int
    total: int
    details: Mapping[str, float]  # e.g. divergences, step_size, steps
    message: str = ""  # something to be told once, e.g. which engine runs


ProgressCallback = Callable[[Progress], None]


@runtime_checkable
class Program(Protocol):
    """A compiled model: pure functions of parameters and data, and the source they came from.

    ``params`` are dicts of arrays in declared units, one entry per parameter, shape = the parameter's
    dims (``simulate`` also takes a leading draw axis). Densities are with respect to these natural
    parameters; ``log_density`` is over the unconstrained vector and includes the log Jacobian.
    """

    @property
    def model(self) -> Model: ...
    @property
    def facts(self) -> Facts: ...
    @property
    def source(self) -> str: ...
    @property
    def solver(self) -> str:
        """How the path is solved, e.g. "explicit" or "exponential"."""
        ...

    @property
    def parameters(self) -> tuple[ParameterInfo, ...]: ...

    def log_prior(self, params: Params) -> Any: ...
    def log_likelihood(self, params: Params, data: Dataset) -> Any: ...
    def log_density(self, u: Any, data: Dataset) -> Any: ...
    def value_and_grad(self, data: Dataset) -> Callable[[Any], tuple[Any, Any]]:
        """``log_density`` with its gradient in one compiled call: what samplers use."""
        ...

    def simulate(
        self, data: Dataset | None = None, *, draws: int = 100, params: Params | None = None, seed: int = 0
    ) -> DataTree: ...
    def infer(
        self,
        data: Dataset,
        *,
        method: str = "nuts",
        draws: int = 1000,
        chains: int = 4,
        seed: int = 0,
        progress: ProgressCallback | None = None,
        **options: Any,
    ) -> DataTree: ...


class Backend(Protocol):
    """Turns a model with facts into a program. Found by the entry point group ``sbmlang.backends``."""

    name: str
    methods: tuple[str, ...]

    def compile(self, model: Model, facts: Facts, **options: Any) -> Program: ...


class Network(Protocol):
    """A trained network: the posterior of one model for any data set of the designs it was trained for."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was trained on and how that ended, in plain values."""
        ...

    @property
    def designs(self) -> tuple[Dataset, ...]:
        """Some of the data sets, without values, that it was trained for."""
        ...

    def describe(self) -> tuple[str, ...]: ...
    def posterior(
        self, data: Dataset, draws: int = 1000, correct: str = "auto", seed: int = 0, **options: Any
    ) -> DataTree: ...
    def table(
        self,
        sites: Mapping[str, Dataset],
        draws: int = 1000,
        correct: str = "auto",
        seed: int = 0,
        **options: Any,
    ) -> DataTree: ...
    def save(self, path: str | Path) -> Path: ...


@runtime_checkable
class Amortizing(Protocol):
    """A program that can train networks and take them from files."""

    def amortize(self, method: str = "npe", **options: Any) -> Network: ...
    def load_network(self, path: str | Path) -> Network: ...


@runtime_checkable
class Networks(Protocol):
    """A backend that can say which model the network in a file belongs to: text, path, name and method."""

    def read_network(self, path: str | Path) -> Mapping[str, Any]: ...

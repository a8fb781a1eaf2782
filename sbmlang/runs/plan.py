"""How many simulations are cut into shards, each of which depends on its number and the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from uuid import uuid4

import numpy as np

from sbmlang.data.dataset import Dataset, Floats, Ints
from sbmlang.errors import SbmError, error
from sbmlang.runs.runs import in_a_row
from sbmlang.studies.simulated import seed_of

SHARD = 1000  # runs in one shard


@dataclass(frozen=True, eq=False)
class Plan:
    """What shall be simulated: ``draws`` runs, dealt evenly to the designs, ``shard`` of them at a time.

    ``source`` is a model (anything with ``compile(backend, **options)``), which every process compiles once, or a
    program.
    """

    source: Any
    designs: tuple[Dataset, ...]
    draws: int
    seed: int = 0
    backend: str = "torch"
    compile: Mapping[str, Any] = field(default_factory=dict)
    shard: int = SHARD
    key: str = field(default_factory=lambda: uuid4().hex)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.key == other.key

    @property
    def is_compiled(self) -> bool:
        """Whether a program was given, which cannot go to another process."""
        return hasattr(self.source, "predict")

    @property
    def program(self) -> Any:
        return self.source if self.is_compiled else _compiled(self)

    @property
    def model(self) -> Any:
        """The symbolic model."""
        return self.source.model if self.is_compiled else self.source.ir

    @property
    def shards(self) -> int:
        return -(-self.draws // self.shard)

    def runs_of(self, shard: int) -> slice:
        """Where the runs of a shard are among all."""
        return slice(shard * self.shard, min((shard + 1) * self.shard, self.draws))

    @cached_property
    def design(self) -> Ints:
        """The design (run,) of each run: blocks of one design, in random order, alike in length but for one run.

        A block at a time, because designs are simulated one by one and a program is fast for many draws at once.
        """
        count = len(self.designs)
        order = np.random.default_rng(seed_of(self.seed, 2)).permutation(count)
        return np.asarray(order[np.arange(self.draws) * count // self.draws], dtype=np.int64)

    @cached_property
    def widths(self) -> dict[str, int]:
        """The rows of each observed channel in the design that has most of it."""
        names = {n: None for d in self.designs for n, c in d.channels.items() if len(c)}
        return {n: max(len(d.channels[n]) for d in self.designs) for n in names}


@lru_cache(maxsize=4)
def _compiled(plan: Plan) -> Any:
    return plan.source.compile(plan.backend, **plan.compile)


@dataclass(frozen=True, eq=False)
class Shard:
    """The runs of one shard; ``ok`` (run,) is False where a path could not be followed or a row is not finite."""

    number: int
    parameters: Mapping[str, Floats]
    rows: Mapping[str, Floats]
    outputs: Mapping[str, Floats]
    ok: Any


def simulate_shard(plan: Plan, number: int) -> Shard:
    """Draws parameters and observations; the same whichever process does it and whatever went before."""
    design = plan.design[plan.runs_of(number)]
    parts = [_of_design(plan, number, k, count) for k, count in _blocks(design)]
    return Shard(
        number,
        in_a_row([p.parameters for p in parts]),
        in_a_row([p.rows for p in parts]),
        in_a_row([p.outputs for p in parts]),
        np.concatenate([p.ok for p in parts]),
    )


def _blocks(design: Ints) -> Iterator[tuple[int, int]]:
    """Runs of one design that follow each other: the design and how many."""
    ends = np.flatnonzero(np.diff(design, append=-1)) + 1
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield int(design[start]), int(end - start)


def _of_design(plan: Plan, number: int, k: int, count: int) -> Shard:
    program, design = plan.program, plan.designs[k]
    drawn = program.prior_draws(design, count, seed_of(plan.seed, 0, number, k))
    found = program.predict(drawn, design, seed=seed_of(plan.seed, 1, number, k), states=False, draws=count)
    rows = {
        n: _padded(found["observations"].get(n), count, len(design.channels[n]), width)
        for n, width in plan.widths.items()
    }
    finite = [np.isfinite(y[:, : len(design.channels[n])]).all(axis=1) for n, y in rows.items()]
    ok = np.logical_and.reduce([np.asarray(found["ok"], dtype=bool), *finite])
    parameters = {n: np.asarray(p, dtype=np.float64) for n, p in drawn.items()}
    outputs = {n: np.asarray(y, dtype=np.float64) for n, y in found.get("outputs", {}).items()}
    return Shard(number, parameters, rows, outputs, ok)


def _padded(values: Any, count: int, length: int, width: int) -> Floats:
    full = np.full((count, width), np.nan)
    if length:
        full[:, :length] = values
    return full


def require_designs(model: Any, designs: Sequence[Dataset]) -> None:
    """Raises ``SbmError`` E855 for designs without rows, or whose members do not make parameters of one shape."""
    if not any(len(c) for d in designs for c in d.channels.values()):
        raise SbmError(
            error("E855", "no design has a place where anything is observed, so there is nothing to simulate",
                  help=("give data with the times and members of a study: --data FILE (its values are replaced)",
                        "or an end of time in the model: time t [day] from 0 to 100"))
        )  # fmt: skip
    for p in model.parameters:
        for dim in p.dims:
            sizes = [d.sizes[dim] for d in designs]
            if len(set(sizes)) > 1:
                raise SbmError(
                    error("E855", f"'{p.name}' has one value per {dim}, and the designs have from {min(sizes)} to {max(sizes)} of them",
                          help=(f"give designs with equally many {dim}",
                                f"or declare a model of one {dim}, without the index, and make each one a design of its own"))
                )  # fmt: skip

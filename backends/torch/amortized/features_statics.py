"""What a design is like beside its rows: covariates and forcings that differ from one design to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset, Floats


@dataclass(frozen=True)
class Surroundings:
    """Names of the covariates and forcings that ``vary`` between the designs a network is trained on, and the common
    values (plain lists) of those that do not."""

    covariates: tuple[str, ...]
    forcings: tuple[str, ...]
    fixed: Mapping[str, Any]

    @staticmethod
    def of(designs: Sequence[Dataset]) -> Surroundings:
        first = designs[0]
        covariates = [
            n for n in first.covariates if any(_covariate(d, n) != _covariate(first, n) for d in designs)
        ]
        forcings = [n for n in first.forcings if any(_series(d, n) != _series(first, n) for d in designs)]
        fixed = {f"data {n}": _covariate(first, n) for n in first.covariates if n not in covariates}
        fixed |= {f"forcing {n}": _series(first, n) for n in first.forcings if n not in forcings}
        return Surroundings(tuple(covariates), tuple(forcings), fixed)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.covariates, *self.forcings)

    def strange(self, data: Dataset) -> str | None:
        """The first covariate or forcing that is another than the only one known; None where there is none."""
        for name, values in self.fixed.items():
            kind, own = name.split(" ", 1)
            here = _covariate(data, own) if kind == "data" else _series(data, own)
            if not _same(here, values):
                return name
        return None

    def numbers(self, design: Dataset) -> Floats:
        """Covariates member by member; of each forcing mean, sd, least and largest value."""
        parts = [np.ravel(design.covariates[n]) for n in self.covariates]
        for n in self.forcings:
            v = design.forcings[n].value.reshape(len(design.forcings[n].time), -1)
            parts += [v.mean(0), v.std(0), v.min(0), v.max(0)]
        return np.concatenate([np.zeros(0), *parts])

    def labels(self, design: Dataset) -> tuple[str, ...]:
        """A name for each of ``numbers``."""
        found = [f"{n}#{k}" if np.size(design.covariates[n]) > 1 else n
                 for n in self.covariates for k in range(np.size(design.covariates[n]))]  # fmt: skip
        for n in self.forcings:
            size = int(np.prod(design.forcings[n].value.shape[1:], dtype=int))
            found += [f"{of} of {n}" for of in ("mean", "sd", "least", "largest") for _ in range(size)]
        return tuple(found)

    def along_time(self, design: Dataset, time: Floats) -> Floats:
        """The varying forcings (time, forcing), the mean of their members, at these times."""
        columns = []
        for n in self.forcings:
            s = design.forcings[n]
            columns.append(np.interp(time, s.time, s.value.reshape(len(s.time), -1).mean(1)))
        return np.stack(columns, axis=1) if columns else np.zeros((len(time), 0))

    def state(self) -> dict[str, Any]:
        return {
            "covariates": list(self.covariates),
            "forcings": list(self.forcings),
            "fixed": dict(self.fixed),
        }

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Surroundings:
        return Surroundings(tuple(state["covariates"]), tuple(state["forcings"]), dict(state["fixed"]))


def _covariate(design: Dataset, name: str) -> list[float] | None:
    return np.ravel(design.covariates[name]).astype(float).tolist() if name in design.covariates else None


def _series(design: Dataset, name: str) -> list[float] | None:
    s = design.forcings.get(name)
    return None if s is None else [*s.time.tolist(), *np.ravel(s.value).tolist()]


def _same(a: list[float] | None, b: list[float] | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=1e-9, atol=0))

"""Designs as a few flat arrays, so that hundreds of them are a few files and a store of runs needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sbmlang.data.dataset import Channel, Dataset, Series

Packed = tuple[dict[str, Any], str]  # flat arrays by name, and how they are cut, as JSON


def packed(designs: Sequence[Dataset]) -> Packed:
    """Everything in designs but the values of their rows: arrays of one kind one after the other."""
    pieces: dict[str, list[Any]] = {}
    plans = []
    for design in designs:
        shapes: dict[str, list[int]] = {}
        for name, array in _arrays(design).items():
            pieces.setdefault(name, []).append(np.ravel(array))
            shapes[name] = list(np.shape(array))
        plans.append({"labels": {d: list(m) for d, m in design.labels.items()}, "shapes": shapes})
    return {n: np.concatenate(p) for n, p in pieces.items()}, json.dumps(plans)


def unpacked(arrays: Mapping[str, Any], plans: str) -> tuple[Dataset, ...]:
    """The designs that ``packed`` was given, all of their rows NaN."""
    used = dict.fromkeys(arrays, 0)

    def cut(name: str, shape: Sequence[int]) -> Any:
        start = used[name]
        used[name] += int(np.prod(shape, dtype=int))
        return np.asarray(arrays[name][start : used[name]]).reshape(shape)

    return tuple(
        _design(p["labels"], {n: cut(n, s) for n, s in p["shapes"].items()}) for p in json.loads(plans)
    )


def _arrays(design: Dataset) -> dict[str, Any]:
    """By names whose parts a point divides, as no name of a model has one."""
    found: dict[str, Any] = {"grid": design.grid}
    for name, c in design.channels.items():
        found[f"channel.{name}.time"] = c.time
        found |= {f"channel.{name}.index.{d}": i for d, i in c.index.items()}
        found |= {f"channel.{name}.start.{w}": t for w, t in c.start.items()}
    for name, f in design.forcings.items():
        found |= {f"forcing.{name}.time": f.time, f"forcing.{name}.value": f.value}
    return found | {f"covariate.{n}": np.asarray(v, dtype=np.float64) for n, v in design.covariates.items()}


def _design(labels: Mapping[str, Sequence[str]], arrays: Mapping[str, Any]) -> Dataset:
    def under(prefix: str) -> dict[str, Any]:
        return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

    def names(kind: str) -> list[str]:
        return list(dict.fromkeys(n.split(".")[0] for n in under(f"{kind}.")))

    def channel(name: str) -> Channel:
        own = f"channel.{name}."
        time = arrays[f"{own}time"]
        return Channel(time, np.full(len(time), np.nan), under(f"{own}index."), under(f"{own}start."))

    return Dataset(
        sizes={d: len(m) for d, m in labels.items()},
        labels={d: tuple(m) for d, m in labels.items()},
        channels={n: channel(n) for n in names("channel")},
        forcings={
            n: Series(arrays[f"forcing.{n}.time"], arrays[f"forcing.{n}.value"]) for n in names("forcing")
        },
        covariates=under("covariate."),
        grid=arrays["grid"],
    )

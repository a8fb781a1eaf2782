"""A dataset as plain containers of arrays and words, to be kept in a file of any kind, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmlang.data.dataset import Channel, Dataset, Series


def plain_dataset(data: Dataset) -> dict[str, Any]:
    """Nested dicts and lists of arrays, numbers and words; ``dataset_of_plain`` gives the dataset back, without notes."""
    return {
        "sizes": {n: int(s) for n, s in data.sizes.items()},
        "labels": {n: list(m) for n, m in data.labels.items()},
        "channels": {
            n: {"time": c.time, "value": c.value, "index": dict(c.index), "start": dict(c.start)}
            for n, c in data.channels.items()
        },
        "forcings": {n: {"time": s.time, "value": s.value} for n, s in data.forcings.items()},
        "covariates": dict(data.covariates),
        "grid": data.grid,
    }


def dataset_of_plain(plain: Mapping[str, Any]) -> Dataset:
    """The dataset of ``plain_dataset``."""

    def whole(arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {n: np.asarray(a, dtype=np.int64) for n, a in arrays.items()}

    def number(values: Any) -> Any:
        return np.asarray(values, dtype=np.float64)

    return Dataset(
        dict(plain["sizes"]),
        {n: tuple(m) for n, m in plain["labels"].items()},
        {
            n: Channel(number(c["time"]), number(c["value"]), whole(c["index"]), {w: number(s) for w, s in c["start"].items()})
            for n, c in plain["channels"].items()
        },
        {n: Series(number(s["time"]), number(s["value"])) for n, s in plain["forcings"].items()},
        {n: number(a) for n, a in plain["covariates"].items()},
        number(plain["grid"]),
    )  # fmt: skip

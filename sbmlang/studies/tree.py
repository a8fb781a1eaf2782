"""A study as a tree in the form of all results, so that it is saved, opened and drawn like a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sbmlang.results import assemble
from sbmlang.studies.replication import Asked, quantities

if TYPE_CHECKING:
    from sbmlang.studies.study import Study

NUMBERS = [f.name for f in fields(Asked) if f.name not in ("unit", "role")]
OF_REPLICATION = ("seconds", "divergences", "r_hat", "pareto_k", "failure")


def tree_of(
    study: Study, method: str, groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]
) -> xr.DataTree:
    """The design, the settings and group ``replications``, with the tables of a study beside them."""
    root = assemble(
        study.program.model,
        study.program.facts,
        study.design,
        attrs={**study.settings, **attrs, "kind": method},
    )
    parts = {"replications": replications(study), **groups}
    return xr.DataTree.from_dict(
        {"/": root.to_dataset(), **{n: g.to_dataset() for n, g in root.children.items()}, **parts},
        name=root.name,
    )


def replications(study: Study) -> xr.Dataset:
    """Everything that was found, (replication, quantity) or (replication,); NaN where a replication failed."""
    asked, records = quantities(study.good), study.records
    values = {
        n: np.array([[getattr(r.asked[q.label], n) if q.label in r.asked else np.nan for q in asked] for r in records],
                    dtype=np.float64).reshape(len(records), len(asked))
        for n in NUMBERS
    }  # fmt: skip
    of_each = {n: ("replication", np.array([getattr(r, n) for r in records])) for n in OF_REPLICATION}
    coordinates = {
        "replication": [r.number for r in records],
        "quantity": [q.label for q in asked],
        "unit": ("quantity", [q.unit for q in asked]),
        "role": ("quantity", [q.role for q in asked]),
        "prior_sd": ("quantity", [study.prior_sd.get(q.label, np.nan) for q in asked]),
    }
    return xr.Dataset({n: (("replication", "quantity"), v) for n, v in values.items()} | of_each, coordinates)

"""Fits compared, held-out rows among it: each fit is opened up and its model predicts them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from sbmlang.driver import read_data
from sbmlang.errors import SbmError
from sbmlang.results.compare import Comparison
from sbmlang.results.compare import compare as compared
from sbmlang.results.compare_fits import require_names
from sbmlang.results.compare_holdout import Prediction, predict_held
from sbmlang.results.store import open_fit
from sbmlang.studies.fitted import open_up

PathLike = str | os.PathLike[str]


def compare(
    fits: Mapping[str, xr.DataTree | PathLike],
    *,
    reference: str | None = None,
    holdout: Any = None,
    forcing: Any = None,
    sbc: Mapping[str, xr.DataTree | PathLike] | None = None,
    draws: int = 400,
    seed: int = 0,
    allow_external: bool = False,
) -> Comparison:
    """Compares fits of one model and one data set, or of several models of the same data.

    ``fits`` are trees or files by name; the others are measured against the ``reference`` (default: the first).
    ``holdout`` is a table or a list of tables as ``read_data`` takes them, with rows that no fit has seen; ``forcing`` goes
    with it where the model has forcings from data. Each fit predicts them with ``draws`` of its posterior and its own
    data. ``sbc`` are calibrations made by ``sbm sbc``. Simulators that the held-out rows need are run
    with ``allow_external``. See ``results.compare.Comparison`` for what comes of it.

    Raises ``SbmError``: E801 to E803 (fits), E804 and E807 (held-out rows), E805 (missing packages), E806 (no
    calibration), and what reading files raises.
    """
    require_names(fits, reference)
    trees = {n: t if isinstance(t, xr.DataTree) else open_fit(t) for n, t in fits.items()}
    made: dict[str, Prediction] = {}
    refused: dict[str, str] = {}
    for name, tree in trees.items() if holdout is not None else ():
        try:
            fitted = open_up(tree, allow_external=allow_external)
        except SbmError as problem:
            refused[name] = problem.diagnostics[0].message
            continue
        held = read_data(fitted.model, *_tables(holdout), forcing=_tables(forcing) or None)
        made[name] = predict_held(fitted.program, tree, fitted.data, held, draws=draws, seed=seed)
    studies = {n: t if isinstance(t, xr.DataTree) else open_fit(t) for n, t in (sbc or {}).items()}
    return compared(trees, reference=reference, predictions=made, refused=refused, sbc=studies, seed=seed)


def _tables(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]

"""Which of several fits to trust, and what each cost: everything a comparison finds, as one value.

found = compare({"nuts": fit, "flow": other})
print(found)                       # tables and the verdict
found.to_html("report.html")       # one file with figures, opens offline
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from sbmlang.results.compare_agreement import Agreement, agreement
from sbmlang.results.compare_cost import Cost, cost
from sbmlang.results.compare_fits import Alignment, Fit, align, named, require_names
from sbmlang.results.compare_holdout import HeldOut, Prediction, held_out
from sbmlang.results.compare_prediction import (
    Check,
    Forward,
    ScoreDifference,
    Seen,
    checks,
    leave_future_out,
    leave_one_out,
    score_differences,
    seen,
)
from sbmlang.results.compare_trust import Calibrated, Trust, calibrated, trust
from sbmlang.results.loo import LooRow
from sbmlang.results.store import open_fit


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several fits beside each other, in the order given; see the modules of each part.

    ``alignments`` and ``agreements`` are by name of the other fits, against ``reference``; only fits of the same
    posterior have an agreement. ``refused`` has by name why a fit's held-out rows could not be predicted.
    """

    fits: tuple[Fit, ...]
    reference: str
    alignments: Mapping[str, Alignment]
    agreements: Mapping[str, Agreement]
    trust: Mapping[str, Trust]
    calibration: tuple[Calibrated, ...]
    loo: Mapping[str, tuple[LooRow, ...]]
    forward: Mapping[str, Forward]
    scores: tuple[ScoreDifference, ...]
    checks: tuple[Check, ...]
    seen: tuple[Seen, ...]
    held: Mapping[str, tuple[HeldOut, ...]]
    predictions: Mapping[str, Prediction]
    refused: Mapping[str, str]
    cost: Mapping[str, Cost]

    def fit(self, name: str) -> Fit:
        """The fit of that name."""
        return next(f for f in self.fits if f.name == name)

    def __str__(self) -> str:
        from sbmlang.results.compare_text import text

        return text(self)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report: one file with all figures in it, which opens offline.

        Raises ``SbmError`` E805 without jinja2, and E651 to E654 as ``results.save``.
        """
        from sbmlang.results.report import html
        from sbmlang.results.store import write_whole

        page = html(self).encode()
        return write_whole(path, lambda file: file.write(page))


def compare(
    fits: Mapping[str, xr.DataTree | str | os.PathLike[str]],
    *,
    reference: str | None = None,
    predictions: Mapping[str, Prediction] | None = None,
    refused: Mapping[str, str] | None = None,
    sbc: Mapping[str, xr.DataTree] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares fits (trees or their files) by name; the first is the ``reference`` without a wish.

    Posteriors are compared where model, priors and data are the same; of the rest only predictions and cost.
    ``predictions`` are of rows that no fit has seen (``compare_holdout.predict_held``; ``sbmlang.compare`` makes them from
    data), ``refused`` why a fit has none. ``sbc`` are calibrations (``sbm sbc``) by name.

    Raises ``SbmError``: E801 to E803 for fits that cannot stand beside each other, E805 without the packages of
    ``sbmlang[compare]``, E806 for a file that is no calibration, and as ``open_fit`` for files.
    """
    require_names(fits, reference)
    trees = {n: t if isinstance(t, xr.DataTree) else open_fit(t) for n, t in fits.items()}
    found, first = named(trees, reference)
    base = next(f for f in found if f.name == first)
    others = [f for f in found if f is not base]
    alignments = {f.name: align(f, base) for f in others}
    agreements = {
        f.name: agreement(f, base, alignments[f.name], seed) for f in others if alignments[f.name].posteriors
    }
    scored = [f for f in found if f is base or alignments[f.name].channels]
    comparable = [f for f in found if f is base or alignments[f.name].same_data]
    forward = {f.name: s for f in found if (s := leave_future_out(f)) is not None}
    common = [str(n) for n in (base.tree["observed_data"].data_vars if "observed_data" in base.tree.children else ())
              if all(n in alignments[f.name].channels for f in scored if f is not base)]  # fmt: skip
    return Comparison(
        found, first, alignments, agreements,
        trust={f.name: trust(f) for f in found},
        calibration=tuple(calibrated(n, t) for n, t in (sbc or {}).items()),
        loo={f.name: rows for f in found if (rows := leave_one_out(f))},
        forward=forward,
        scores=tuple(score_differences(scored, [forward[f.name] for f in comparable if f.name in forward], common)),
        checks=tuple(c for f in found for c in checks(f)),
        seen=tuple(s for f in found for s in seen(f)),
        held={n: held_out(n, p) for n, p in (predictions or {}).items()},
        predictions=predictions or {},
        refused=refused or {},
        cost={f.name: cost(f) for f in found},
    )  # fmt: skip

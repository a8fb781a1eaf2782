"""Simulation-based calibration: does an engine give the posterior of the model that was written down?

Parameters are drawn from the prior, data from the model at them, and the engine is asked for the posterior of each
data set. Over many replications true values must lie anywhere among the draws equally often (``ranks``, ``ecdf``), an
interval of 90 % must hold nine of ten of them, and the engine's own failures are counted, not dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.stats import beta, norm

from sbmlang.errors import Diagnostic, error
from sbmlang.results.scalars import Floats
from sbmlang.studies import ecdf
from sbmlang.studies.replication import LEVELS, quantities
from sbmlang.studies.study import Study, study
from sbmlang.studies.tree import tree_of

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset

FAMILYWISE = 0.01  # how often a right engine is called wrong, over all quantities together
SUSPECT = 0.05
ENOUGH = 50  # replications below which silence means little


@dataclass(frozen=True)
class CalibrationRow:
    """One scalar over all replications that gave draws.

    ``p`` is the exact chance that a right engine strays as far (``ecdf.p_value``). With g the normal score of where
    truth lies, N(0, 1) for a right engine: ``bias`` is its mean (positive: estimates too low) and ``spread`` its
    standard deviation (above 1: intervals too narrow). ``z_mean`` and ``z_sd`` are of (mean - truth)/sd.
    ``contraction`` is 1 - posterior variance/prior variance, averaged (NaN without a prior spread). ``coverage`` has
    by level the share of central intervals that hold the truth, with the 95 % bounds of that share.
    """

    label: str
    unit: str
    role: str
    replications: int
    p: float
    bias: float
    spread: float
    z_mean: float
    z_sd: float
    contraction: float
    coverage: Mapping[float, tuple[float, float, float]]
    ess: float

    @property
    def fault(self) -> str:
        """What is wrong in words, if something is."""
        n = self.replications
        off, wide = abs(self.bias) * np.sqrt(n), abs(self.spread - 1) * np.sqrt(2 * n)
        if wide >= off and wide > 2:
            much = f"the true value lies {self.spread:.2f} times as far out as it should"
            return f"intervals are too {'narrow' if self.spread > 1 else 'wide'}: {much}"
        if off > 2:
            return f"estimates are too {'low' if self.bias > 0 else 'high'}, by {abs(self.bias):.2f} posterior sd"
        return "true values lie unevenly among the draws"


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result of ``sbc``."""

    study: Study
    rows: tuple[CalibrationRow, ...]

    @property
    def wrong(self) -> list[CalibrationRow]:
        """The quantities that a right engine would give in one of a hundred studies only."""
        return [r for r in self.rows if r.p * len(self.rows) < FAMILYWISE]

    @property
    def calibrated(self) -> bool:
        """Whether nothing speaks against the engine."""
        return bool(self.rows) and not self.wrong

    @property
    def verdict(self) -> str:
        """One or two sentences."""
        good, count = len(self.study.good), len(self.study.records)
        failed = f" {count - good} of {count} replications failed." if good < count else ""
        what = f"{self.study.settings['backend']}, {self.study.settings['method']}"
        if not self.rows:
            return f"Nothing can be said: no replication gave draws.{failed}"
        if self.wrong:
            worst = min(self.wrong, key=lambda r: r.p)
            others = f" (and {len(self.wrong) - 1} more)" if len(self.wrong) > 1 else ""
            return f"NOT calibrated ({what}): for {worst.label}{others} {worst.fault} (p = {worst.p:.1g}).{failed}"
        least = min(self.rows, key=lambda r: r.p)
        if least.p * len(self.rows) < SUSPECT:
            return f"Doubtful ({what}): {least.label} strays (p = {least.p:.2g}); more replications will tell.{failed}"
        few = "" if good >= ENOUGH else f" {good} replications see gross faults only."
        return (
            f"Calibrated ({what}): true values lie evenly among the draws of all {len(self.rows)} quantities"
            f" (smallest p = {least.p:.2g}).{few}{failed}"
        )

    def notes(self) -> tuple[Diagnostic, ...]:
        """W820 failed replications, W821 chains worth too little, W822 divergences or chains that disagree."""
        return notes_of(self.study)

    def tree(self) -> xr.DataTree:
        """Groups ``replications`` (replication, quantity), ``calibration`` (quantity), the design and the settings."""
        rows = {
            f: [getattr(r, f) for r in self.rows]
            for f in ("p", "bias", "spread", "z_mean", "z_sd", "contraction")
        }
        shares = np.array([[r.coverage[level] for level in LEVELS] for r in self.rows]).reshape(
            -1, len(LEVELS), 3
        )
        z = ecdf.points(len(self.study.good))
        curves = np.array([_curves(self.study, r.label, z) for r in self.rows]).reshape(-1, 3, len(z))
        table = xr.Dataset(
            {n: ("quantity", np.asarray(v)) for n, v in rows.items()}
            | {
                "coverage": (("quantity", "level"), shares[..., 0]),
                "coverage_bounds": (("quantity", "level", "bound"), shares[..., 1:]),
                "ecdf_difference": (("quantity", "point"), curves[:, 0]),
                "band": (("quantity", "bound", "point"), curves[:, 1:]),
            },
            {
                "quantity": [r.label for r in self.rows],
                "level": list(LEVELS),
                "bound": ["lower", "upper"],
                "point": z,
            },
        )
        return tree_of(self.study, "sbc", {"calibration": table}, {"verdict": self.verdict})

    def save(self, path: str | Path) -> Path:
        """Writes the tree (see ``results.save``)."""
        from sbmlang.results import save

        return save(self.tree(), path)


def sbc(model: Any, design: Dataset | None = None, **options: Any) -> Calibration:
    """Simulation-based calibration of an engine on a design.

    ``model`` is what ``sbmlang.load`` gives; ``design`` a dataset whose times, members, forcings and gaps are taken and whose
    values are replaced (default: the model's own times). Options as for ``study.study``: backend, method,
    replications, draws, chains, ranked, seed, workers, scheduler, output, compile, options, progress.

    Raises ``SbmError`` E820 to E825. Talts et al. (2018), arXiv:1804.06788; Modrák et al. (2023), Bayesian Analysis;
    Säilynoja et al. (2022), Statistics and Computing 32, 32.
    """
    found = study("sbc", model, design, **options)
    return Calibration(found, tuple(_rows(found)))


def _rows(found: Study) -> list[CalibrationRow]:
    good = found.good
    made = [
        row_of(
            q.label,
            q.unit,
            q.role,
            [r.asked[q.label] for r in good if q.label in r.asked],
            found.prior_sd.get(q.label),
        )
        for q in quantities(good)
    ]
    return [r for r in made if r.replications >= 2]


def row_of(label: str, unit: str, role: str, asked: list[Any], prior_sd: float | None) -> CalibrationRow:
    """What was asked about one scalar in all replications, as one row."""
    u, share, truth, mean, sd, ess = (
        np.array([getattr(a, f) for a in asked]) for f in ("u", "share", "truth", "mean", "sd", "ess")
    )
    z, g = (mean - truth) / sd, norm.ppf(u)
    contraction = float("nan") if not prior_sd else float(1 - np.mean(sd**2) / prior_sd**2)
    return CalibrationRow(
        label, unit, role, len(asked), ecdf.p_value(u), float(g.mean()), float(g.std(ddof=1)), float(z.mean()),
        float(z.std(ddof=1)), contraction, {level: covered(share, level) for level in LEVELS}, float(np.median(ess)),
    )  # fmt: skip


def _curves(found: Study, label: str, z: Floats) -> tuple[Floats, ...]:
    """The distribution function of the ranks less the uniform one, and its simultaneous 95 % band, (3, point)."""
    u = np.array([r.asked[label].u for r in found.good if label in r.asked])
    own, band = ecdf.points(len(u)), ecdf.band(len(u))
    return tuple(np.interp(z, own, c / len(u) - own) for c in (ecdf.counts(u), band.lower, band.upper))


def covered(share: Floats, level: float) -> tuple[float, float, float]:
    """How many central intervals hold the truth, and the 95 % bounds of that share (Jeffreys)."""
    inside, n = int(np.sum(np.abs(share - 0.5) <= level / 2)), len(share)
    low, high = beta.ppf((0.025, 0.975), inside + 0.5, n - inside + 0.5)
    return inside / n, float(low) if inside else 0.0, float(high) if inside < n else 1.0


def notes_of(found: Study) -> tuple[Diagnostic, ...]:
    """What a study has to say about its own replications: W820, W821, W822."""
    good, count = found.good, len(found.records)
    notes = []
    failed = [r for r in found.records if r.failure]
    if failed:
        first = failed[0]
        notes.append(error(
            "W820", f"{len(failed)} of {count} replications failed and tell nothing; the first, number {first.number}: {first.failure}",
            help=("if they are those of extreme parameters, what is left is not the prior and the verdict is biased",
                  "a narrower prior, another solver or more steps mend most of them"),
        ))  # fmt: skip
    ranked = int(found.settings["ranked"])
    short = [r for r in good if any(a.of < min(ranked, 50) for a in r.asked.values())]
    if len(short) > 0.1 * max(len(good), 1):
        notes.append(error(
            "W821", f"in {len(short)} of {len(good)} replications the draws are worth fewer than {min(ranked, 50)} independent ones",
            help="ranks are coarse and small faults hide; take more draws (--draws)",
        ))  # fmt: skip
    apart = [r for r in good if r.r_hat > 1.05 or r.divergences > 0 or r.pareto_k > 0.7]
    if len(apart) > 0.1 * max(len(good), 1):
        notes.append(error(
            "W822", f"in {len(apart)} of {len(good)} replications the engine itself has doubts (divergences, R-hat above 1.05"
            " or Pareto k-hat above 0.7); they are counted like the others",
            help="a verdict of 'not calibrated' may then be about too short a run: more warm-up, more draws",
        ))  # fmt: skip
    return tuple(notes)

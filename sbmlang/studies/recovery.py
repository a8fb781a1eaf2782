"""Parameter recovery: how near does an engine come to the values that made the data, and how sure is it?

Calibration asks whether intervals are right; recovery asks whether a design tells the parameters at all. True values are
drawn from the prior, or given: then bias and coverage are those at that point, where a Bayesian interval need not
cover at its nominal rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.studies.calibration import covered, notes_of
from sbmlang.studies.replication import quantities
from sbmlang.studies.study import Study, study
from sbmlang.studies.tree import tree_of

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset
    from sbmlang.protocols import Params

LEVELS = (0.5, 0.9, 0.95)
WEAK = 0.2  # contraction below which the data hardly speak


@dataclass(frozen=True)
class RecoveryRow:
    """One scalar over all replications that gave draws; errors are posterior mean minus truth.

    ``bias`` with its Monte Carlo error and ``rmse`` are in prior standard deviations where there is one, else in those of
    the true values (``scale``, in the declared unit; NaN where neither spreads: then they are in the declared unit).
    ``bias_sd`` is the bias in posterior standard deviations. ``contraction`` is 1 - posterior variance/prior variance.
    ``coverage`` has by level the share of central intervals that hold the truth, with its 95 % bounds.
    """

    label: str
    unit: str
    role: str
    replications: int
    truth: float | None  # where it is the same in all replications
    scale: float
    bias: float
    bias_error: float
    rmse: float
    bias_sd: float
    contraction: float
    coverage: Mapping[float, tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class Recovery:
    """The result of ``recover``."""

    study: Study
    rows: tuple[RecoveryRow, ...]

    @property
    def verdict(self) -> str:
        """What is recovered and what is not, in words."""
        good, count = len(self.study.good), len(self.study.records)
        failed = f" {count - good} of {count} replications failed." if good < count else ""
        rows = [r for r in self.rows if r.role == "parameter"]
        if not rows:
            return f"Nothing can be said: no replication gave draws.{failed}"
        weak = [r.label for r in rows if r.contraction < WEAK]
        off = [r for r in rows if abs(r.bias) > 3 * r.bias_error and abs(r.bias_sd) > 0.25]
        missed = [r for r in rows if r.coverage[0.9][2] < 0.9]
        parts = [
            f"the data hardly tell {', '.join(weak)}: the posterior is nearly the prior" if weak else "",
            "; ".join(f"{r.label} comes out too {'high' if r.bias > 0 else 'low'} by {abs(r.bias_sd):.2f} posterior sd" for r in off),
            f"90 % intervals hold the truth too rarely for {', '.join(f'{r.label} ({r.coverage[0.9][0]:.0%})' for r in missed)}"
            if missed else "",
        ]  # fmt: skip
        said = "; ".join(p for p in parts if p)
        return f"{said or 'All parameters are recovered'}.{failed}"

    def notes(self) -> tuple[Diagnostic, ...]:
        """W820 failed replications, W821 chains worth too little, W822 divergences or chains that disagree."""
        return notes_of(self.study)

    def tree(self) -> xr.DataTree:
        """Groups ``replications`` (replication, quantity), ``recovery`` (quantity), the design and the settings."""
        names = ("scale", "bias", "bias_error", "rmse", "bias_sd", "contraction")
        shares = np.array([[r.coverage[v] for v in LEVELS] for r in self.rows]).reshape(-1, len(LEVELS), 3)
        table = xr.Dataset(
            {n: ("quantity", np.array([getattr(r, n) for r in self.rows], dtype=np.float64)) for n in names}
            | {
                "coverage": (("quantity", "level"), shares[..., 0]),
                "coverage_bounds": (("quantity", "level", "bound"), shares[..., 1:]),
            },
            {"quantity": [r.label for r in self.rows], "level": list(LEVELS), "bound": ["lower", "upper"]},
        )
        return tree_of(self.study, "recover", {"recovery": table}, {"verdict": self.verdict})

    def save(self, path: str | Path) -> Path:
        """Writes the tree (see ``results.save``)."""
        from sbmlang.results import save

        return save(self.tree(), path)


def recover(
    model: Any,
    design: Dataset | None = None,
    *,
    params: Params | None = None,
    replications: int = 50,
    **options: Any,
) -> Recovery:
    """How well an engine gives back the parameters that made the data.

    ``params`` fixes some or all true values (declared units, (*dims)); the others are drawn from the prior.
    Everything else as for ``calibration.sbc``. Raises ``SbmError`` E820 to E826.
    """
    _require_known(model, params or {})
    found = study("recover", model, design, params=params, replications=replications, **options)
    good = found.good
    made = (_row(found, q.label, q.unit, q.role, [r.asked[q.label] for r in good if q.label in r.asked])
            for q in quantities(good) if q.role != "statistic")  # fmt: skip
    return Recovery(found, tuple(r for r in made if r.replications >= 2))


def _require_known(model: Any, params: Params) -> None:
    known = [p.name for p in model.ir.parameters]
    wrong = [n for n in params if n not in known]
    if wrong:
        raise SbmError(
            error("E826", f"true values are given for {', '.join(wrong)}, which the model does not have",
                  help=(*did_you_mean(wrong[0], known), f"parameters: {', '.join(known)}"))
        )  # fmt: skip


def _row(found: Study, label: str, unit: str, role: str, asked: list[Any]) -> RecoveryRow:
    truth, mean, sd, share = (
        np.array([getattr(a, f) for a in asked]) for f in ("truth", "mean", "sd", "share")
    )
    spread = float(truth.std(ddof=1)) if len(truth) > 1 else 0.0
    same = spread <= 1e-12 * abs(float(truth[0]))
    scale = found.prior_sd.get(label) or (float("nan") if same else spread)
    by = scale if np.isfinite(scale) else 1.0
    wrong = (mean - truth) / by
    return RecoveryRow(
        label, unit, role, len(asked), float(truth[0]) if same else None, float(scale), float(wrong.mean()),
        float(wrong.std(ddof=1) / np.sqrt(len(wrong))) if len(wrong) > 1 else float("nan"),
        float(np.sqrt(np.mean(wrong**2))), float(np.mean((mean - truth) / sd)),
        float(1 - np.mean(sd**2) / scale**2), {v: covered(share, v) for v in LEVELS},
    )  # fmt: skip

"""What each fit says about itself: chains, sample sizes, importance weights, calibration, what data taught it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.results.compare_fits import Fit
from sbmlang.results.diagnostics import R_HAT, bfmi, diagnose
from sbmlang.results.scalars import moves, scalars
from sbmlang.results.tree import attributes

FAMILYWISE = 0.01  # as in studies.calibration: how often a right engine is called wrong
FEW_DIVERGENCES = 0.01  # of the draws: fewer are a warning, and agreement with another method outweighs them
GOOD_K = (
    0.7  # Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72): importance weights are reliable below
)


@dataclass(frozen=True)
class Trust:
    """Diagnostics of a fit; None where a method has no such thing.

    ``r_hat`` and ``ess`` (bulk) and ``ess_tail`` are of the worst parameter (``..._at``). ``pareto_k`` is of the
    importance weights against the exact log density, ``correction`` what they were used for (``Fit.correction``). ``elbo`` with its standard error is for show: it does not
    rank fits by calibration. ``contraction`` is 1 - posterior variance/prior variance by label.
    """

    fit: str
    r_hat: float | None
    r_hat_at: str
    ess: float
    ess_at: str
    ess_tail: float
    divergences: int | None
    draws: int
    bfmi: float | None
    pareto_k: float | None
    correction: str
    amortized: bool
    elbo: float | None
    elbo_error: float | None
    approximate_filter: bool
    contraction: Mapping[str, float]
    findings: tuple[Diagnostic, ...]
    notes: tuple[str, ...]

    @property
    def corrected(self) -> bool:
        """Whether draws of an approximation were made those of the posterior."""
        return bool(self.correction)

    @property
    def unchecked(self) -> bool:
        """Whether these are a network's draws as they are, of which nothing in the fit says how good they are."""
        return self.amortized and not self.corrected

    @property
    def sound(self) -> bool:
        """Whether nothing here speaks against the draws."""
        chains = self.r_hat is None or self.r_hat <= R_HAT
        weights = self.pareto_k is None or self.pareto_k < GOOD_K or self.correction == "nuts"
        diverged = (self.divergences or 0) > FEW_DIVERGENCES * self.draws
        return chains and weights and not diverged and not any(f.code in _SERIOUS for f in self.findings)


_SERIOUS = ("W701", "W702", "W705", "W706", "W709")


@dataclass(frozen=True)
class Calibrated:
    """What a simulation-based calibration (``sbm sbc``, ``sbm calibrate``) found: its verdict in words, the engine it is about, how
    many replications there were and how many failed, and scalars whose ranks are not uniform.
    """

    file: str
    model: str
    how: str
    verdict: str
    replications: int
    failed: int
    wrong: tuple[str, ...]


def trust(fit: Fit) -> Trust:
    """What a fit's own diagnostics say."""
    a, found, labels = fit.attributes, fit.convergence, list(fit.scalars)
    chains = fit.tree["posterior"].sizes["chain"] > 1 and not fit.independent
    r_hat = _extreme(found.r_hat, labels, largest=True) if chains else (None, "")
    bulk, tail = fit.effective(found.ess_bulk), fit.effective(found.ess_tail)
    ess = _extreme(bulk, labels, largest=False)
    stats = fit.tree["sample_stats"].to_dataset() if "sample_stats" in fit.tree.children else xr.Dataset()
    energies = bfmi(fit.tree)
    return Trust(
        fit.name, r_hat[0], r_hat[1], np.nan if ess[0] is None else ess[0], ess[1],
        float(np.nanmin(tail)) if np.isfinite(tail).any() else np.nan,
        int(stats["diverging"].sum()) if "diverging" in stats else None, fit.draws,
        float(energies.min()) if len(energies) else None,
        _number(a.get("pareto_k")), fit.correction, fit.amortized, _number(a.get("elbo")), _number(a.get("elbo_se")),
        fit.approximate_filter, _contraction(fit), diagnose(fit.tree), tuple(map(str, a.get("notes", ()))),
    )  # fmt: skip


def calibrated(name: str, tree: xr.DataTree) -> Calibrated:
    """Reads a file of ``sbm sbc`` or ``sbm calibrate``. Raises ``SbmError`` E806 for another one."""
    if "calibration" not in tree.children:
        raise SbmError(
            error("E806", f"'{name}' holds no calibration", help="make one: sbm sbc FILE --method nuts -o sbc.nc", place=name)
        )  # fmt: skip
    a, table = attributes(tree), tree["calibration"].to_dataset()
    p = table["p"].values.astype(np.float64)
    tests = dict(zip(map(str, table["quantity"].values), p.tolist(), strict=True))
    if "coverage" in tree.children:  # of all parameters together, by sbm calibrate
        whole = tree["coverage"].to_dataset()
        tests |= dict(zip(map(str, whole["kind"].values), whole["p"].values.tolist(), strict=True))
    wrong = tuple(name for name, v in tests.items() if v * len(tests) < FAMILYWISE)
    each = tree["replications"].to_dataset()
    return Calibrated(
        name, str(a.get("model_name", "")), f"{a.get('backend', '')} {a.get('method', '')}".strip(), str(a.get("verdict", "")),
        int(each.sizes["replication"]), int((each["failure"].values.astype(str) != "").sum()), wrong,
    )  # fmt: skip


def _extreme(values: np.ndarray, labels: list[str], *, largest: bool) -> tuple[float | None, str]:
    if not np.isfinite(values).any():
        return None, ""
    k = int(np.nanargmax(values) if largest else np.nanargmin(values))
    return float(values[k]), labels[k]


def _contraction(fit: Fit) -> dict[str, float]:
    if "prior" not in fit.tree.children:
        return {}
    prior = {s.label: s for s in scalars(fit.tree["prior"].to_dataset())}
    return {
        label: float(1 - s.draws.var(ddof=1) / prior[label].draws.var(ddof=1))
        for label, s in fit.scalars.items()
        if label in prior and moves(prior[label].draws)
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float | np.number) and np.isfinite(float(value)) else None

"""Do two sets of draws come from one posterior? Moments, quantiles and paths against Monte Carlo error.

Differences are given twice over: in posterior standard deviations of the reference, which says whether they
matter, and in units of their Monte Carlo error, which says whether they are there at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from sbmlang.results.c2st import TwoSample, two_sample
from sbmlang.results.compare_fits import Alignment, Fit
from sbmlang.results.scalars import Floats, array_stats, moves

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
FAMILYWISE = 0.01  # how often equal posteriors are called different, over all parameters of a comparison


@dataclass(frozen=True)
class Difference:
    """One parameter of a fit against the reference.

    ``shift`` is (mean - reference mean)/reference sd, ``gap`` the largest difference of a quantile (``gap_at``) in
    the same unit, ``sd_ratio`` the sd over the reference's; each with its Monte Carlo error (of both fits).
    """

    label: str
    unit: str
    shift: float
    shift_error: float
    sd_ratio: float
    sd_ratio_error: float
    gap: float
    gap_error: float
    gap_at: float

    @property
    def shift_z(self) -> float:
        return self.shift / self.shift_error

    @property
    def sd_z(self) -> float:
        return (self.sd_ratio - 1) / self.sd_ratio_error

    @property
    def gap_z(self) -> float:
        return self.gap / self.gap_error


@dataclass(frozen=True)
class PathDifference:
    """A state's path: root mean square over time (and members) of the shift, and the median ratio of sds."""

    state: str
    shift: float
    sd_ratio: float


@dataclass(frozen=True)
class PairDifference:
    """Two parameters whose correlations differ: in the fit, in the reference, and in Monte Carlo errors."""

    x: str
    y: str
    rho: float
    reference: float
    z: float


@dataclass(frozen=True)
class Agreement:
    """A fit against the reference, parameters in the model's order; ``critical`` is the |z| beyond which a
    difference is called real (1 % over all parameters together). ``pairs`` has the most different first.
    """

    fit: str
    reference: str
    differences: tuple[Difference, ...]
    paths: tuple[PathDifference, ...]
    pairs: tuple[PairDifference, ...]
    c2st: TwoSample
    critical: float

    @property
    def worst(self) -> tuple[Difference, ...]:
        """The largest differences first."""
        return tuple(sorted(self.differences, key=lambda d: -_size(d)))


def agreement(fit: Fit, reference: Fit, alignment: Alignment, seed: int = 0) -> Agreement:
    """Compares the parameters that both have; see ``Agreement``."""
    labels = [k for k in alignment.labels if moves(reference.scalars[k].draws)]
    found = differences(fit, reference, labels)
    x, y = (independent(f, labels) for f in (fit, reference))
    return Agreement(
        fit.name, reference.name, found, _paths(fit, reference), _pairs(labels, x, y), two_sample(x, y, seed),
        float(norm.isf(FAMILYWISE / 2 / max(1, len(labels)))),
    )  # fmt: skip


def differences(fit: Fit, reference: Fit, labels: Sequence[str]) -> tuple[Difference, ...]:
    """The marginal differences of these parameters."""
    return tuple(_difference(fit, reference, label) for label in labels)


def independent(fit: Fit, labels: Sequence[str]) -> Floats:
    """Draws (sample, parameter) thinned to about their effective number, so that they count as independent."""
    sizes = fit.effective(fit.convergence.ess_bulk)
    effective = float(np.nanmin(sizes, initial=np.inf)) if len(sizes) else np.inf
    stacked = np.stack([fit.scalars[k].draws for k in labels], axis=-1)
    step = max(1, int(np.ceil(fit.draws / max(4.0, effective))))
    return np.asarray(stacked[:, ::step].reshape(-1, len(labels)))


def _size(d: Difference) -> float:
    return max(abs(d.shift), abs(np.log(d.sd_ratio)), abs(d.gap) / 2)


def _difference(fit: Fit, reference: Fit, label: str) -> Difference:
    a, b = (f.scalars[label].draws for f in (fit, reference))
    scale, widen = float(b.std(ddof=1)), (fit.repeats, reference.repeats)

    def error_of(method: str, **given: float) -> float:
        errors = [
            k * float(array_stats.mcse(x, method=method, **given)) for x, k in zip((a, b), widen, strict=True)
        ]
        return float(np.hypot(errors[0], errors[1]))

    sd, sd_error = float(a.std(ddof=1)), error_of("sd")
    gaps = [float(np.quantile(a, p) - np.quantile(b, p)) / scale for p in PROBABILITIES]
    k = int(np.argmax(np.abs(gaps)))
    return Difference(
        label, fit.scalars[label].unit,
        float(a.mean() - b.mean()) / scale, error_of("mean") / scale,
        sd / scale, sd_error / scale,
        gaps[k], error_of("quantile", prob=PROBABILITIES[k]) / scale, PROBABILITIES[k],
    )  # fmt: skip


def _pairs(labels: Sequence[str], x: Floats, y: Floats) -> tuple[PairDifference, ...]:
    """Fisher's z transform of correlations, of draws that count as independent."""
    if len(labels) < 2 or min(len(x), len(y)) < 8:
        return ()
    a, b = (np.clip(np.corrcoef(v.T), -1 + 1e-12, 1 - 1e-12) for v in (x, y))
    z = (np.arctanh(a) - np.arctanh(b)) / np.sqrt(1 / (len(x) - 3) + 1 / (len(y) - 3))
    found = [
        PairDifference(labels[i], labels[j], float(a[i, j]), float(b[i, j]), float(z[i, j]))
        for i in range(len(labels)) for j in range(i)
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda p: -abs(p.z)))


def _paths(fit: Fit, reference: Fit) -> tuple[PathDifference, ...]:
    ours, theirs = (f.tree["posterior"].to_dataset() for f in (fit, reference))
    found = []
    for name, path in theirs.data_vars.items():
        if path.attrs.get("role") != "state" or name not in ours or "time" not in path.dims:
            continue
        a, b = (v.transpose("chain", "draw", ...).values for v in (ours[name], path))
        if a.shape[2:] != b.shape[2:]:
            continue
        sd = b.std((0, 1))
        free = sd > 1e-12 * np.abs(b).max(initial=1e-300)  # not where the path is known
        if free.any():
            shift = ((a.mean((0, 1)) - b.mean((0, 1)))[free] / sd[free]) ** 2
            found.append(PathDifference(str(name), float(np.sqrt(shift.mean())),
                                        float(np.median(a.std((0, 1))[free] / sd[free]))))  # fmt: skip
    return tuple(found)

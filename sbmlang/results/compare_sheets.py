"""The tables of a comparison, the same for terminal and report: words, not layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, log10
from typing import TYPE_CHECKING

import numpy as np

from sbmlang.results.compare_agreement import Agreement, Difference
from sbmlang.results.compare_prediction import is_sequential
from sbmlang.results.verdict import GAP, SHIFT, SPREAD

if TYPE_CHECKING:
    from sbmlang.results.compare import Comparison

ROWS = 12  # of the largest differences of a fit; the report has all


@dataclass(frozen=True)
class Head:
    """A column's heading; ``left`` for words; the higher ``spare`` the sooner it is left out for want of room."""

    name: str
    left: bool = False
    spare: int = 0


@dataclass(frozen=True)
class Cell:
    """A table entry; ``mark`` is "" or "off", for what is beyond a tolerance."""

    text: str
    mark: str = ""

    def __str__(self) -> str:
        return self.text + (" *" if self.mark else "")


@dataclass(frozen=True)
class Sheet:
    """A table in a ``section`` of a comparison, with a sentence on how to read it."""

    section: str
    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def sheets(found: Comparison, rows: int | None = ROWS) -> tuple[Sheet, ...]:
    """All tables; of agreements only so many ``rows``, the largest differences first (None: all)."""
    made = [
        _fits(found), *(_agreement(a, rows) for a in found.agreements.values()), _paths(found), _trust(found),
        _contraction(found, rows), _calibration(found), *_loo(found), _forward(found), _scores(found), _held(found),
        _seen(found), _checks(found), _cost(found),
    ]  # fmt: skip
    return tuple(s for s in made if s is not None and s.rows)


def num(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; a dash for none."""
    if value is None or not isfinite(value):
        return "–"
    if value and not -4 <= log10(abs(value)) < 6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def pm(value: float, error: float) -> str:
    """``value ± error``, both with the decimals that two digits of the error call for."""
    if not isfinite(value) or not isfinite(error):
        return num(value)
    places = max(0, 1 - int(np.floor(log10(error)))) if error > 0 else 2
    return f"{value:.{min(places, 8)}f} ± {error:.{min(places, 8)}f}"


def _row(*cells: str | Cell) -> tuple[Cell, ...]:
    return tuple(c if isinstance(c, Cell) else Cell(c) for c in cells)


def _fits(found: Comparison) -> Sheet:
    def same(name: str) -> str:
        if name == found.reference:
            return "reference"
        a = found.alignments[name]
        odd = [word for word, good in (("model", a.same_model), ("data", a.same_data)) if not good]
        return f"other {' and '.join(odd)}" if odd else "same model and data"

    return Sheet(
        "fits", "the fits", (Head("fit", True), Head("model", True, 4), Head("how", True), Head("draws"), Head("compared as", True)),
        tuple(_row(f.name, str(f.tree.attrs.get("model_name", "")), f.how, str(f.draws), same(f.name)) for f in found.fits),
    )  # fmt: skip


def _agreement(a: Agreement, rows: int | None) -> Sheet:
    shown = a.worst if rows is None else a.worst[:rows]
    hidden = len(a.differences) - len(shown)

    def row(d: Difference) -> tuple[Cell, ...]:
        off = abs(d.shift) > SHIFT and abs(d.shift_z) > a.critical
        wide = abs(d.sd_ratio - 1) > SPREAD and abs(d.sd_z) > a.critical
        apart = abs(d.gap) > GAP and abs(d.gap_z) > a.critical
        return _row(
            d.label, Cell(pm(d.shift, d.shift_error), "off" if off else ""), f"{d.shift_z:+.1f}",
            Cell(pm(d.sd_ratio, d.sd_ratio_error), "off" if wide else ""), f"{d.sd_z:+.1f}",
            Cell(pm(d.gap, d.gap_error), "off" if apart else ""), f"{d.gap_at:.0%}",
        )  # fmt: skip

    note = (
        f"Differences of means and of the quantile that differs most in posterior sds of {a.reference}, ± Monte Carlo error; z in "
        f"units of that error, real beyond {a.critical:.1f}. * real and more than {SHIFT} sd (means), {SPREAD:.0%} (sds), {GAP} sd (quantiles)."
    )
    if isfinite(a.c2st.accuracy):
        note += (f" A classifier tells {a.c2st.draws} draws of each apart with an accuracy of {a.c2st.accuracy:.3f} ± "
                 f"{a.c2st.error:.3f} (0.5: not at all).")  # fmt: skip
    else:
        note += f" {a.c2st.draws} independent draws are too few for a classifier."
    if hidden:
        note += f" {hidden} parameters with smaller differences are not shown."
    heads = (
        Head("parameter", True), Head("mean"), Head("z", spare=2), Head("sd ratio"), Head("z of sd", spare=3),
        Head("quantile", spare=4), Head("at", spare=5),
    )  # fmt: skip
    return Sheet("agreement", f"{a.fit} against {a.reference}", heads, tuple(map(row, shown)), note)


def _paths(found: Comparison) -> Sheet:
    rows = [
        _row(a.fit, p.state, num(p.shift, 2), num(p.sd_ratio))
        for a in found.agreements.values()
        for p in a.paths
    ]
    return Sheet(
        "agreement", f"paths of the states against {found.reference}",
        (Head("fit", True), Head("state", True), Head("shift"), Head("sd ratio")), tuple(rows),
        "Root mean square over time of the shift in posterior sds (Monte Carlo error included), median ratio of sds.",
    )  # fmt: skip


def _trust(found: Comparison) -> Sheet:
    rows = []
    for t in found.trust.values():
        elbo = "–" if t.elbo is None else (pm(t.elbo, t.elbo_error) if t.elbo_error else num(t.elbo, 6))
        codes = ", ".join(dict.fromkeys(f.code for f in t.findings))
        rows.append(_row(
            t.fit, Cell(num(t.r_hat, 4), "off" if t.r_hat is not None and t.r_hat > 1.01 else ""), num(t.ess, 4), t.ess_at,
            num(t.ess_tail, 4), Cell("–" if t.divergences is None else str(t.divergences), "off" if t.divergences else ""),
            num(t.bfmi, 2), Cell(num(t.pareto_k, 2), "off" if t.pareto_k is not None and t.pareto_k >= 0.7 else ""), elbo, codes or "none",
        ))  # fmt: skip
    heads = (
        Head("fit", True), Head("R-hat"), Head("ESS"), Head("at", True, 4), Head("ESS tail", spare=3), Head("divergences"),
        Head("BFMI", spare=5), Head("k-hat"), Head("ELBO", spare=2), Head("findings", True, 1),
    )  # fmt: skip
    return Sheet("trust", "what the fits say about themselves", heads, tuple(rows),
                 "The worst parameter counts. The ELBO does not rank fits by calibration and is used nowhere. "
                 "sbm explain CODE tells what a finding means.")  # fmt: skip


def _contraction(found: Comparison, rows: int | None) -> Sheet:
    labels = list(found.fit(found.reference).scalars)
    known = {k: [t.contraction.get(k) for t in found.trust.values()] for k in labels}
    some = [(k, v) for k, v in known.items() if any(x is not None for x in v)]
    some.sort(key=lambda kv: min(x for x in kv[1] if x is not None))
    return Sheet(
        "trust", "what the data taught", (Head("parameter", True), *(Head(n) for n in found.trust)),
        tuple(_row(k, *(num(x, 2) for x in v)) for k, v in some[:rows]),
        "1 - posterior variance/prior variance: near 0 the data say nothing about a parameter. The least informed first.",
    )  # fmt: skip


def _calibration(found: Comparison) -> Sheet:
    return Sheet(
        "trust", "calibration by simulation",
        (Head("file", True), Head("model", True), Head("engine", True), Head("replications"), Head("failed"), Head("verdict", True)),
        tuple(_row(c.file, c.model, c.how, str(c.replications), str(c.failed), Cell(c.verdict, "off" if c.wrong else ""))
              for c in found.calibration),
    )  # fmt: skip


def _loo(found: Comparison) -> Iterator[Sheet]:
    rows = [
        _row(name, r.channel, pm(r.elpd, r.se), num(r.p_loo), str(r.rows), Cell(str(r.bad), "off" if r.bad else ""), num(r.worst_k, 2))
        for name, of in found.loo.items() for r in of
    ]  # fmt: skip
    heads = (Head("fit", True), Head("channel", True), Head("score"), Head("p_loo", spare=2), Head("rows"), Head("unreliable"), Head("worst k", spare=3))  # fmt: skip
    note = "Expected log predictive density of each row given all others (PSIS-LOO), summed over rows."
    silent = [f.name for f in found.fits if is_sequential(f)]
    if silent:
        note += (
            f" Rows of {', '.join(silent)} are scored given the rows before them: see the one-step scores."
        )
    yield Sheet("prediction", "rows left out one by one", heads, tuple(rows), note)


def _forward(found: Comparison) -> Sheet:
    rows = [
        _row(f.fit, num(f.total, 5), num(f.total / max(1, len(f.score))), str(len(f.score)), str(f.skipped))
        for f in found.forward.values()
    ]
    return Sheet(
        "prediction", "one step ahead",
        (Head("fit", True), Head("score"), Head("per time"), Head("times"), Head("times before, not scored")), tuple(rows),
        "Log predictive density of the rows of a time given all rows before it, by reweighting the posterior backwards "
        "from the end as long as the weights are reliable (k-hat below 0.7).",
    )  # fmt: skip


def _scores(found: Comparison) -> Sheet:
    rows = []
    for s in found.scores:
        clear = abs(s.difference) > max(4.0, 2 * s.error)
        better = (s.a if s.difference > 0 else s.b) if clear else "neither"
        rows.append(_row(s.kind, s.channel, f"{s.a} - {s.b}", pm(s.difference, s.error), str(s.rows), better))
    heads = (
        Head("kind", True),
        Head("channel", True),
        Head("fits", True),
        Head("difference"),
        Head("rows"),
        Head("clearly better", True),
    )
    return Sheet(
        "prediction",
        "differences of scores",
        heads,
        tuple(rows),
        "Paired over common rows (or times), ± standard error.",
    )


def _held(found: Comparison) -> Sheet:
    rows = []
    for of in found.held.values():
        for h in of:
            off = [
                not low <= got <= high for got, (low, high) in zip(h.inside, h.inside_expected, strict=True)
            ]
            shares = [
                Cell(f"{got:.0%} ({low:.0%} to {high:.0%})", "off" if bad else "")
                for got, (low, high), bad in zip(h.inside, h.inside_expected, off, strict=True)
            ]
            rows.append(_row(h.fit, h.channel, str(h.rows), pm(h.crps, h.crps_error),
                             f"{num(h.crps_expected[0])} to {num(h.crps_expected[1])}", *shares))  # fmt: skip
    heads = (
        Head("fit", True),
        Head("channel", True),
        Head("rows"),
        Head("CRPS"),
        Head("expected", spare=2),
        Head("in 50 %"),
        Head("in 90 %"),
    )
    return Sheet("prediction", "held-out rows", heads, tuple(rows),
                 "CRPS in the unit of the channel, smaller is better; in brackets and as expected: what the fit itself expects in 95 of 100 cases.")  # fmt: skip


def _seen(found: Comparison) -> Sheet:
    rows = [_row(s.fit, s.channel, str(s.rows), f"{s.inside50:.0%}", f"{s.inside90:.0%}") for s in found.seen]
    return Sheet("prediction", "rows that were fitted", (Head("fit", True), Head("channel", True), Head("rows"), Head("in 50 %"), Head("in 90 %")),
                 tuple(rows), "Shares of observed values within central posterior predictive intervals; a little more than nominal is usual.")  # fmt: skip


def _checks(found: Comparison) -> Sheet:
    rows = [
        _row(
            c.fit,
            c.channel,
            c.statistic,
            num(c.observed),
            num(c.replicated),
            Cell(f"{c.p:.3f}", "off" if c.extreme else ""),
        )
        for c in found.checks
    ]
    heads = (
        Head("fit", True),
        Head("channel", True),
        Head("statistic", True),
        Head("observed"),
        Head("replicated"),
        Head("p"),
    )
    return Sheet("prediction", "posterior predictive checks", heads, tuple(rows),
                 "p: share of replicates with a larger statistic than the data; * below 0.005 or above 0.995.")  # fmt: skip


def _cost(found: Comparison) -> Sheet:
    rows = [
        _row(c.fit, num(c.wall_s), num(c.cpu_s), num(c.compile_s), num(c.sampling_s), num(c.gradients, 6), num(c.simulations, 6),
             num(c.peak_memory_mb, 4), num(c.ess_per_second), num(c.ess_per_sampling_second), num(c.ess_per_1000_gradients))
        for c in found.cost.values()
    ]  # fmt: skip
    heads = (
        Head("fit", True), Head("wall s"), Head("CPU s"), Head("compile s", spare=3), Head("sampling s"), Head("gradients", spare=4),
        Head("simulations", spare=6), Head("peak MB", spare=5), Head("ESS/s"), Head("ESS/s of sampling", spare=2), Head("ESS/1000 gradients", spare=7),
    )  # fmt: skip
    return Sheet("cost", "cost", heads, tuple(rows),
                 "ESS is the smallest of a parameter. Gradients are leapfrog or training evaluations, simulations are particle paths, or what a network was trained on; a dash: not told.")  # fmt: skip


def columns(sheet: Sheet) -> Sequence[int]:
    """The columns that say anything."""
    return [
        k
        for k, h in enumerate(sheet.heads)
        if not h.spare or any(r[k].text not in ("–", "") for r in sheet.rows)
    ]

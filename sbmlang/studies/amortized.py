"""Can the answers of a trained network be trusted, on average over all data and at the observed ones?

Parameters are drawn from the prior and data simulated at them, none of which the network has seen. It is asked for the
posteriors of all of them at once, and true values are placed among the draws: parameter by parameter (ranks, posterior
contraction and z-scores), all together in regions of highest density (``regions``), and in balls about points chosen by
the data (``tarp``). At given data: the local classifier test, predictive checks, and whether the simulator gives such data.

Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788; Schad, Betancourt & Vasishth (2021), Toward a
principled Bayesian workflow in cognitive science, Psychological Methods 26, 103-126 (contraction and z-scores).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import ProgressCallback
from sbmlang.results.compare_fits import Fit
from sbmlang.results.compare_prediction import checks
from sbmlang.results.scalars import Floats, Scalar
from sbmlang.results.usual import Usual, unusual
from sbmlang.runs import Runs, simulate_runs
from sbmlang.studies.calibration import FAMILYWISE, SUSPECT, Calibration, row_of
from sbmlang.studies.local import AtData, at_data, flat
from sbmlang.studies.ranks import thinned
from sbmlang.studies.regions import Coverage, ellipsoid_coverage
from sbmlang.studies.replication import Asked, Record, ask
from sbmlang.studies.simulated import seed_of
from sbmlang.studies.study import Study
from sbmlang.studies.tarp import Tarp, normal_scores, references, tarp

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset

ANCHORS = 2000  # simulations beside those that are tested: points of reference, and what data are usual
LEAST = 20
OBSERVED = "observed"
LEVELS = (0.5, 0.9, 0.95)

Answer = Callable[[Mapping[str, "Dataset"]], xr.DataTree]
"""Posteriors of many data sets at once: parameters (chain, draw, site, *dims) in the group ``posterior``, and where
answers are corrected ``ess`` and ``pareto_k`` (site,) in ``sample_stats``."""


@dataclass(frozen=True)
class Said:
    """One sentence of the verdict."""

    level: Literal["good", "warning", "bad"]
    text: str


@dataclass(frozen=True, eq=False)
class AmortizedCalibration:
    """The result of ``calibrate``: parameter by parameter, all together, and at given data."""

    ranks: Calibration
    coverage: Coverage
    tarp: Tarp
    at: AtData | None

    @property
    def _tests(self) -> int:
        return len(self.ranks.rows) + 2

    @property
    def wrong(self) -> bool:
        """Whether an exact answer would fail as clearly in fewer than one of a hundred calibrations."""
        return any(s.level == "bad" for s in self.said)

    @property
    def said(self) -> tuple[Said, ...]:
        """The verdict, the most serious first."""
        alone = [*self._of_rows(), *self._of_regions()]
        of_all = alone if any(s.level == "bad" for s in alone) else [*alone, *self._of_tarp()]
        bad = [s for s in of_all if s.level == "bad"] or [s for s in of_all if s.level == "warning"]
        n = len(self.ranks.study.good)
        if not bad:
            few = "" if n >= 200 else f"; {n} simulations see gross faults only"
            bad = [Said("good", f"Calibrated: true values lie evenly among the draws, alone and together, over {n} simulated"
                        f" data sets{few}")]  # fmt: skip
        return (*bad, *self._at_data())

    @property
    def verdict(self) -> str:
        """All of it as one text."""
        return ". ".join(s.text for s in self.said) + "."

    def _level(self, p: float) -> Literal["bad", "warning"] | None:
        total = p * self._tests
        return "bad" if total < FAMILYWISE else "warning" if total < SUSPECT else None

    def _of_rows(self) -> list[Said]:
        found = []
        for r in sorted(self.ranks.rows, key=lambda r: r.p):
            if level := self._level(r.p):
                off, wide = abs(r.bias), abs(r.spread - 1)
                kind = "Biased" if off > wide else "Over-confident" if r.spread > 1 else "Under-confident"
                start = f"{kind}{'' if level == 'bad' else ', perhaps'}"
                found.append(Said(level, f"{start}: for {r.label} {r.fault} (p = {_p(r.p)})"))
        return found

    def _of_regions(self) -> list[Said]:
        level = self._level(self.coverage.p)
        if level is None:
            return []
        lean, inside = self.coverage.lean, self.coverage.at(0.9)
        kind = "Over-confident (or biased)" if lean > 0 else "Under-confident"
        size = "hold too few" if lean > 0 else "hold too many"
        start = f"{kind}{'' if level == 'bad' else ', perhaps'}"
        return [Said(level, f"{start}: regions of all parameters {size} true values, those of 90 % hold {inside:.0%}"
                     f" (p = {_p(self.coverage.p)})")]  # fmt: skip

    def _of_tarp(self) -> list[Said]:
        level = self._level(self.tarp.p)
        if level is None:
            return []
        middle = self.tarp.position.mean() - 0.5
        if abs(middle) * np.sqrt(12 * len(self.tarp.position)) < 3:
            why = "true values lie on the near or on the far side of the draws too often" if self.tarp.spread > 1 else (
                "true values lie amidst the draws too often")  # fmt: skip
        elif middle < 0:
            why = "draws lie farther than the truth from where the data point; the answer does not use all that the data tell"
        else:
            why = "draws lie nearer than the truth to where the data point; the answer takes the data for more than they are"
        start = "Inaccurate" if level == "bad" else "Inaccurate, perhaps"
        return [Said(level, f"{start}: {why} (TARP, p = {_p(self.tarp.p)})")]

    def _at_data(self) -> list[Said]:
        if self.at is None:
            return []
        found = [Said("warning", f"At the observed data: {d.message}") for d in self.at.unusual]
        local = self.at.local
        if local is not None and local.p <= 0.05:
            k = int(np.argmax(np.abs(local.shift) / 0.3 + np.abs(np.log(local.spread)) / 0.3))
            found.append(Said("warning", f"At the observed data the answer is off (local test, p = {_p(local.p)}): {self.at.labels[k]}"
                              f" lies about {local.shift[k]:+.1f} of its sd beside the answer's mean and {local.spread[k]:.1f} times"
                              " as far out"))  # fmt: skip
        for c in self.at.checks:
            if c.extreme:
                found.append(Said("warning", f"At the observed data: the {c.statistic} of {c.channel} is {c.observed:.4g}, in"
                                  f" replicates of the posterior {c.replicated:.4g} (p = {_p(min(c.p, 1 - c.p))})"))  # fmt: skip
        if not found:
            parts = [f"the local test sees nothing (p = {_p(local.p)})"] if local is not None else []
            parts += ["replicates look like the data"] if self.at.checks else []
            found.append(
                Said("good", "At the observed data: " + ", ".join([*parts, "the simulator gives such data"]))
            )
        return found

    def notes(self) -> tuple[Diagnostic, ...]:
        """W820 data sets without an answer, W821 draws worth little, W822 answers in doubt; W890, W891 unusual data."""
        return (*self.ranks.notes(), *(self.at.unusual if self.at else ()))

    def tree(self) -> xr.DataTree:
        """Groups of ``Calibration.tree`` with ``coverage`` (kind, point) of regions and balls with the band of exact
        answers and, for balls, that of resampled simulations; with data also ``local`` and ``predictive_checks``."""
        tree = self.ranks.tree()
        tree.attrs |= {"verdict": self.verdict, "kind": "calibrate"}
        kinds = (self.coverage, self.tarp)
        exact = {
            n: np.broadcast_to(getattr(self.coverage, n), (2, len(self.coverage.level)))
            for n in ("lower", "upper")
        }
        curves = {
            n: (("kind", "point"), v)
            for n, v in {"share": np.array([k.share for k in kinds]), **exact}.items()
        }
        positions = np.array([self.coverage.credibility, self.tarp.position])
        tree["coverage"] = xr.DataTree(xr.Dataset(
            {**curves, "position": (("kind", "replicated"), positions), "p": ("kind", [k.p for k in kinds]),
             "resampled": (("bound", "point"), np.array([self.tarp.lower, self.tarp.upper]))},
            {"kind": ["regions", "balls"], "point": self.coverage.level, "bound": ["lower", "upper"]},
        ))  # fmt: skip
        if self.at is not None and self.at.local is not None:
            local = self.at.local
            tree["local"] = xr.DataTree(xr.Dataset(
                {"null": ("trial", local.null), "statistic": local.statistic, "p": local.p,
                 "shift": ("quantity", local.shift), "spread": ("quantity", local.spread)},
                {"quantity": list(self.at.labels)},
            ))  # fmt: skip
        if self.at is not None and self.at.checks:
            c = self.at.checks
            tree["predictive_checks"] = xr.DataTree(xr.Dataset(
                {"observed": ("check", [x.observed for x in c]), "replicated": ("check", [x.replicated for x in c]),
                 "p": ("check", [x.p for x in c])},
                {"check": [f"{x.statistic} of {x.channel}" for x in c]},
            ))  # fmt: skip
        return tree

    def save(self, path: str | Path) -> Path:
        """Writes the tree (see ``results.save``)."""
        from sbmlang.results import save

        return save(self.tree(), path)

    def plain(self) -> dict[str, Any]:
        """What JSON can hold: the verdict, the rows, coverage at 50, 90 and 95 %, what was found at the data."""
        local = self.at.local if self.at else None
        return {
            "verdict": self.verdict,
            "wrong": self.wrong,
            "replications": len(self.ranks.study.good),
            "quantities": {
                r.label: {"unit": r.unit, "p": r.p, "bias": r.bias, "spread": r.spread, "z_mean": r.z_mean, "z_sd": r.z_sd,
                          "contraction": r.contraction, "coverage": {str(v): list(c) for v, c in r.coverage.items()}}
                for r in self.ranks.rows
            },
            "regions": {"p": self.coverage.p, **{str(v): self.coverage.at(v) for v in LEVELS}},
            "tarp": {"p": self.tarp.p, **{str(v): self.tarp.at(v) for v in LEVELS}},
            "at_data": None if self.at is None else {
                "local_p": None if local is None else local.p,
                "unusual": [d.message for d in self.at.unusual],
                "checks": [{"channel": c.channel, "statistic": c.statistic, "observed": c.observed,
                            "replicated": c.replicated, "p": c.p} for c in self.at.checks],
            },
        }  # fmt: skip


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def calibrate(
    program: Any,
    answer: Answer,
    designs: Dataset | Sequence[Dataset],
    *,
    simulations: int = 500,
    observed: Dataset | None = None,
    at_observed: xr.DataTree | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> AmortizedCalibration:
    """Checks an amortized answer on fresh simulations of its own model.

    ``program`` simulates on ``designs`` (data sets whose values are not used); ``answer`` gives the posteriors of many
    data sets in one call. With ``observed`` the design is that of these data, and the answer is checked there too;
    ``at_observed`` are the results for them with ``posterior_predictive`` (without it there are no predictive
    checks). ``settings`` go to the attributes of the results.

    Raises ``SbmError`` E890 for fewer than 20 simulations, E891 for a network that answers none, and what simulating and
    answering raise.
    """
    _require(simulations)
    places = (observed,) if observed is not None else designs
    fresh = simulate_runs(program, places, simulations, seed_of(seed, 10), progress=progress)
    anchors = simulate_runs(program, places, ANCHORS, seed_of(seed, 11), progress=progress)
    return judged(
        program, fresh, anchors, _answered(answer, fresh, observed), observed, at_observed, settings, seed
    )


def calibrated_on(
    program: Any,
    answer: Answer,
    runs: Runs,
    *,
    simulations: int = 500,
    observed: Dataset | None = None,
    at_observed: xr.DataTree | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> AmortizedCalibration:
    """``calibrate`` on given runs, which the network must not have seen: half of them, at most ``simulations``, are
    tested, the others tell what data are usual. Raises ``SbmError`` E890, E891."""
    _require(min(simulations, len(runs) // 2))
    fresh, anchors = runs.split(0.5, seed)
    fresh = fresh.take(slice(0, simulations))
    return judged(
        program, fresh, anchors, _answered(answer, fresh, observed), observed, at_observed, settings, seed
    )


def _require(simulations: int) -> None:
    if simulations < LEAST:
        raise SbmError(
            error("E890", f"{simulations} simulations tell nothing about calibration", help=f"at least {LEAST}; for a verdict 200 or more")
        )  # fmt: skip


def _answered(answer: Answer, fresh: Runs, observed: Dataset | None) -> xr.DataTree:
    sites = {str(i): fresh.data(i) for i in range(len(fresh))}
    return answer(sites if observed is None else sites | {OBSERVED: observed})


def judged(
    program: Any, fresh: Runs, anchors: Runs, answers: xr.DataTree, observed: Dataset | None = None,
    at_observed: xr.DataTree | None = None, settings: Mapping[str, Any] | None = None, seed: int = 0,
) -> AmortizedCalibration:  # fmt: skip
    """``calibrate`` without simulating and answering: ``answers`` has site "0" for the first of the ``fresh`` runs and
    so on, and "observed" for observed data; ``anchors`` are other runs of the same designs."""
    labels, truth = _scalars(fresh, program)
    if not any(np.isfinite(_draws(answers, str(i), labels)).all() for i in range(len(fresh))):
        raise SbmError(
            error(
                "E891",
                "the network gave no draws for any simulated data set",
                help="sbm apply on one of them tells why",
            )
        )
    _, others = _scalars(anchors, program)
    asked, drawn = _asked(program, labels, truth, answers, len(fresh), seed)
    prior_sd = dict(zip(labels, others.std(axis=0, ddof=1).tolist(), strict=True))
    about = {"backend": "torch", "method": "", "options": {}, "model_text": program.model.text, "seed": seed,
             "ranked": max(map(len, drawn)), **(settings or {})}  # fmt: skip
    study = Study(program, fresh.designs[0], asked, about, prior_sd)
    good = np.array([not r.failure for r in asked])
    rows = tuple(
        row_of(
            label, _unit(program, label), "parameter", [r.asked[label] for r in study.good], prior_sd[label]
        )
        for label in labels
    )
    scores, clouds = normal_scores(truth[good], others), [normal_scores(d, others) for d in drawn]
    rank = {id(d): flat(d.rows) for d in (fresh, anchors)}
    near = references(rank[id(fresh)][good], rank[id(anchors)], normal_scores(others, others))
    at = None
    if observed is not None:
        usual = Usual.of(program.model, anchors.designs, anchors.design, anchors.rows)
        odd = unusual(usual, observed)
        here = normal_scores(_draws(answers, OBSERVED, labels), others)
        y = np.concatenate([observed.channels[n].value for n in fresh.rows])
        local = None if odd else at_data(scores, clouds, rank[id(fresh)][good], here, y, seed)
        replicates = tuple(checks(Fit(OBSERVED, at_observed))) if at_observed is not None else ()
        at = AtData(local, tuple(labels), replicates, odd)
    return AmortizedCalibration(
        Calibration(study, rows),
        ellipsoid_coverage(scores, clouds, seed),
        tarp(scores, clouds, near, seed),
        at,
    )


def _scalars(runs: Runs, program: Any) -> tuple[list[str], Floats]:
    """The labels of all scalar parameters, and their values (run, parameter)."""
    labels, columns = [], []
    names = runs.designs[0].labels
    for p in program.parameters:
        values = np.asarray(runs.parameters[p.name], dtype=np.float64)
        for index in np.ndindex(values.shape[1:]):
            members = ", ".join(names[d][i] for d, i in zip(p.dims, index, strict=True))
            labels.append(f"{p.name}[{members}]" if members else p.name)
            columns.append(values[(slice(None), *index)])
    return labels, np.stack(columns, axis=1)


def _outer(answers: xr.DataTree) -> str:
    """The dim of the data sets."""
    return "data_set" if "data_set" in answers["posterior"].dims else "site"


def _draws(answers: xr.DataTree, site: str, labels: Sequence[str]) -> Floats:
    """The draws (draw, parameter) for one site."""
    group = answers["posterior"].to_dataset().sel({_outer(answers): site})
    columns = []
    for name in dict.fromkeys(label.split("[")[0] for label in labels):
        v = group[name].transpose("chain", "draw", ...).values
        columns.append(v.reshape(v.shape[0] * v.shape[1], -1))
    return np.concatenate(columns, axis=1).astype(np.float64)


def _asked(
    program: Any, labels: Sequence[str], truth: Floats, answers: xr.DataTree, count: int, seed: int
) -> tuple[tuple[Record, ...], list[Floats]]:
    """Where the truths lie, and of those replications that gave draws so many of them as they are worth."""
    stats = answers["sample_stats"].to_dataset() if "sample_stats" in answers.children else xr.Dataset()
    outer = _outer(answers)
    records, clouds = [], []
    for i in range(count):
        drawn = _draws(answers, str(i), labels)
        if not np.isfinite(drawn).all():
            why = str(stats["refused"].sel({outer: str(i)}).item()) if "refused" in stats else ""
            records.append(Record(i, 0.0, f"no finite draws{why and f': {why}'}"))
            continue
        here = stats.sel({outer: str(i)}) if stats.sizes else stats
        how = str(here["corrected"].item()) if "corrected" in here else "psis"
        worth = float(here["ess"]) if how == "psis" and "ess" in here else float(len(drawn))
        used = how != "none" and "pareto_k" in here  # weights that are only told cast no doubt on the draws
        k = float(here["pareto_k"]) if used else float("nan")
        rng = np.random.default_rng([seed, 3, i])
        asked: dict[str, Asked] = {
            label: ask(Scalar(label, label, _unit(program, label), "", "parameter", drawn[None, :, j]),
                       float(truth[i, j]), worth, len(drawn), rng)
            for j, label in enumerate(labels)
        }  # fmt: skip
        records.append(Record(i, 0.0, pareto_k=k, asked=asked))
        kept = thinned(np.arange(len(drawn), dtype=np.float64), worth, len(drawn)).astype(np.int64)
        clouds.append(drawn[kept])
    return tuple(records), clouds


def _unit(program: Any, label: str) -> str:
    name = label.split("[")[0]
    unit = next(str(p.unit) for p in program.parameters if p.name == name)
    return "" if unit == "1" else unit

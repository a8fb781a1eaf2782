"""The verdict of a comparison in words: each rule looks at one thing and says what it found, why, and what to do.

Rules are functions from a comparison to statements, tried in order. A difference counts where it is real (beyond
its Monte Carlo error, at 1 % over all parameters of a fit together) and matters (a mean off by more than 0.1
posterior sd, an sd by more than 10 %). The ELBO is never asked: it does not rank approximations by calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from sbmlang.results.compare_agreement import Agreement, Difference
from sbmlang.results.compare_prediction import Check
from sbmlang.results.compare_trust import FEW_DIVERGENCES, GOOD_K
from sbmlang.results.diagnostics import R_HAT

if TYPE_CHECKING:
    from sbmlang.results.compare import Comparison

SHIFT = 0.1  # of a posterior sd
SPREAD = 0.1  # of the reference's sd
GAP = 0.25  # of a posterior sd, at a quantile
TELLING = 0.02  # accuracy of a classifier above chance that matters
CLEAR = 4.0  # a difference of log scores below it is nothing to choose a model by (Sivula, Magnusson & Vehtari 2020)
_NAMED = 4

Level = Literal["good", "note", "warning", "bad"]


@dataclass(frozen=True)
class Statement:
    """One sentence of the verdict about a fit (empty: about all), with its advice; ``rule`` is who said it."""

    rule: str
    level: Level
    fit: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.advice}" if self.advice else self.text


Rule = Callable[["Comparison"], Iterator[Statement]]


def verdict(found: Comparison) -> tuple[Statement, ...]:
    """What all rules say, in their order; the last statement names the fit to use, if there is one."""
    return tuple(chain.from_iterable(rule(found) for rule in RULES))


def not_comparable(found: Comparison) -> Iterator[Statement]:
    """What differs between fits is said, and their posteriors are not compared."""
    for name, aligned in found.alignments.items():
        for reason in aligned.reasons:
            yield Statement("not_comparable", "note", name, reason.message, "; ".join(reason.help))
        missing = [k for k in found.fit(found.reference).scalars if k not in aligned.labels]
        if aligned.posteriors and missing:
            yield Statement(
                "not_comparable", "note", name, f"{name} has no draws of {_few(missing)} that move"
            )


def chains(found: Comparison) -> Iterator[Statement]:
    """Chains that disagree, diverge or are stuck: nothing else about such a fit can be relied on."""
    for t in found.trust.values():
        if t.r_hat is not None and t.r_hat > R_HAT:
            yield Statement("chains", "bad", t.fit, f"the chains of {t.fit} disagree (R-hat {t.r_hat:.3f} at {t.r_hat_at})",
                            "run it longer, or mend the model, before its numbers are used")  # fmt: skip
        if t.divergences:
            level: Level = "bad" if t.divergences > FEW_DIVERGENCES * t.draws else "warning"
            yield Statement("chains", level, t.fit, f"{t.divergences} of {t.draws} draws of {t.fit} diverged",
                            "a part of its posterior may be missing; raise the target acceptance")  # fmt: skip
        other = [f.code for f in t.findings if f.code in ("W706", "W707", "W709")]
        if other:
            first = next(f for f in t.findings if f.code in other)
            yield Statement("chains", "warning", t.fit, f"{t.fit}: {first.message}")


def importance(found: Comparison) -> Iterator[Statement]:
    """Pareto k-hat of importance weights against the exact log density."""
    for t in found.trust.values():
        if t.pareto_k is None:
            continue
        if t.correction == "nuts":
            yield Statement("importance", "note", t.fit, f"the network behind {t.fit} was too far from the posterior (Pareto k-hat "
                            f"{t.pareto_k:.2f}, at most {GOOD_K} is good), so its draws are those of NUTS")  # fmt: skip
        elif t.pareto_k >= GOOD_K and t.correction == "adapted":
            yield Statement("importance", "good", t.fit, f"Pareto k-hat of {t.fit} is {t.pareto_k:.2f}, at most {GOOD_K} is good: its draws are "
                            "those of nearer proposals, learnt from its weights, whose own weights are reliable")  # fmt: skip
        elif t.pareto_k >= GOOD_K and t.amortized:
            yield Statement("importance", "bad", t.fit, f"Pareto k-hat of {t.fit} is {t.pareto_k:.2f}, at most {GOOD_K} is good: its "
                            "network misses a part of the posterior of these data and its draws cannot be corrected",
                            "train on more simulations, or use NUTS for these data")  # fmt: skip
        elif t.pareto_k >= GOOD_K:
            yield Statement("importance", "bad", t.fit, f"Pareto k-hat of {t.fit} is {t.pareto_k:.2f}, at most {GOOD_K} is good: "
                            f"its approximation misses a part of the posterior and its draws cannot be corrected",
                            "train a richer approximation, or use NUTS")  # fmt: skip
        else:
            how = {
                "": "they could correct its draws",
                "metropolis": "its draws are corrected by them and by short Metropolis chains",
            }.get(t.correction, "its draws are corrected by them")
            yield Statement("importance", "good", t.fit,
                            f"the importance weights of {t.fit} are reliable (Pareto k-hat {t.pareto_k:.2f}), {how}")  # fmt: skip


def unchecked(found: Comparison) -> Iterator[Statement]:
    """Answers of networks that nothing has compared with the declared likelihood."""
    for t in found.trust.values():
        if t.unchecked and t.pareto_k is None:
            yield Statement("unchecked", "warning", t.fit, f"{t.fit} holds a network's draws as they are",
                            "nothing in the fit tells how near they are; sbm calibrate does, and its file is shown here with --sbc")  # fmt: skip
        elif t.unchecked:
            yield Statement("unchecked", "warning", t.fit, f"{t.fit} holds a network's draws as they are",
                            "sbm apply without --correct none moves them to the posterior that the file declares")  # fmt: skip


def means(found: Comparison) -> Iterator[Statement]:
    """Means that are off by more than a tenth of a posterior sd."""
    for a in found.agreements.values():
        off = [d for d in a.differences if abs(d.shift) > SHIFT and abs(d.shift_z) > a.critical]
        if off:
            worst = max(off, key=lambda d: abs(d.shift))
            yield Statement("means", "bad", a.fit, f"{a.fit} {'over' if worst.shift > 0 else 'under'}estimates {worst.label} by "
                            f"{abs(worst.shift):.2f} posterior sd against {a.reference}{_more(off)}", _instead(found, a))  # fmt: skip


def spreads(found: Comparison) -> Iterator[Statement]:
    """Standard deviations that are off by more than 10 %."""
    for a in found.agreements.values():
        off = [d for d in a.differences if abs(d.sd_ratio - 1) > SPREAD and abs(d.sd_z) > a.critical]
        for side, members in (
            ("under", [d for d in off if d.sd_ratio < 1]),
            ("over", [d for d in off if d.sd_ratio > 1]),
        ):
            if members:
                worst = max(members, key=lambda d: abs(np.log(d.sd_ratio)))
                yield Statement("spreads", "bad", a.fit, f"{a.fit} {side}estimates the sd of {worst.label} by "
                                f"{abs(worst.sd_ratio - 1):.0%}{_more(members)}", _instead(found, a))  # fmt: skip


def quantiles(found: Comparison) -> Iterator[Statement]:
    """Tails that differ although means and spreads do not."""
    for a in found.agreements.values():
        said = {d.label for d in a.differences if abs(d.shift) > SHIFT or abs(d.sd_ratio - 1) > SPREAD}
        off = [
            d for d in a.differences if abs(d.gap) > GAP and abs(d.gap_z) > a.critical and d.label not in said
        ]
        if off:
            worst = max(off, key=lambda d: abs(d.gap))
            yield Statement("quantiles", "warning", a.fit, f"the {worst.gap_at:.0%} quantile of {worst.label} in {a.fit} is "
                            f"{abs(worst.gap):.2f} posterior sd {'above' if worst.gap > 0 else 'below'} that of {a.reference}{_more(off)}",
                            _instead(found, a))  # fmt: skip


def joint(found: Comparison) -> Iterator[Statement]:
    """Laws that a classifier tells apart although no single parameter shows it."""
    for a in found.agreements.values():
        if not _told_apart(a) or _off(a):
            continue
        pair = f"; look at {a.pairs[0].x} and {a.pairs[0].y}" if a.pairs else ""
        yield Statement("joint", "warning", a.fit, f"a classifier tells {a.fit} from {a.reference} with an accuracy of "
                        f"{a.c2st.accuracy:.3f} ± {a.c2st.error:.3f} although each parameter alone agrees{pair}",
                        "functions of several parameters may be off")  # fmt: skip


def agreeing(found: Comparison) -> Iterator[Statement]:
    """Fits that agree, and with what precision this is known."""
    for a in found.agreements.values():
        if _off(a) or _told_apart(a) or not a.differences:
            continue
        coarse = max(d.shift_error for d in a.differences) * a.critical
        count = len(a.differences)
        if coarse > 2 * SHIFT:
            yield Statement("agreeing", "note", a.fit, f"{a.fit} and {a.reference} do not differ visibly, but their draws are so "
                            f"few that means could be {coarse:.2f} posterior sd apart unseen", "take more draws")  # fmt: skip
        else:
            largest = max(a.differences, key=lambda d: abs(d.shift))
            told = (
                f"; classifier accuracy {a.c2st.accuracy:.3f} ± {a.c2st.error:.3f}"
                if np.isfinite(a.c2st.accuracy)
                else ""
            )
            each = "both means" if count == 2 else f"all {count} means" if count > 1 else "the mean"
            yield Statement("agreeing", "good", a.fit, f"{a.fit} agrees with {a.reference} on {each} and sds "
                            f"(largest difference of a mean {abs(largest.shift):.3f} sd, at {largest.label}{told})")  # fmt: skip


def reference_itself(found: Comparison) -> Iterator[Statement]:
    """A reference that is not sound measures nothing."""
    t = found.trust[found.reference]
    if found.agreements and not t.sound:
        yield Statement("reference_itself", "warning", t.fit, f"{t.fit}, against which the others are measured, is itself in doubt",
                        "a difference from it need not be the other's fault; take another with --reference")  # fmt: skip
    for name, a in found.trust.items():
        if a.approximate_filter:
            yield Statement("reference_itself", "note", name, f"{name} integrates its states out by an approximate filter",
                            "its posterior may differ from the exact one whatever the sampler does")  # fmt: skip


def elbo(found: Comparison) -> Iterator[Statement]:
    """The ELBO is in the table, and this says why nothing follows from it."""
    have = [t.fit for t in found.trust.values() if t.elbo is not None]
    if have:
        yield Statement("elbo", "note", "", f"the ELBO of {_few(have)} is shown but not used: approximations with nearly equal "
                        "ELBO can be calibrated very differently")  # fmt: skip


def calibration(found: Comparison) -> Iterator[Statement]:
    """What simulation-based calibrations say."""
    for c in found.calibration:
        level: Level = "bad" if c.wrong else "good"
        yield Statement("calibration", level, "", f"{c.file}: {c.verdict}")


def scores(found: Comparison) -> Iterator[Statement]:
    """Predictions of unseen rows that are clearly better."""
    for s in found.scores:
        if abs(s.difference) > CLEAR and abs(s.difference) > 2 * s.error:
            better, worse = (s.a, s.b) if s.difference > 0 else (s.b, s.a)
            where = "" if s.channel == "all" else f" of {s.channel}"
            yield Statement("scores", "note", better, f"{better} predicts rows{where} better than {worse} ({s.kind}: log score "
                            f"{abs(s.difference):.1f} ± {s.error:.1f} higher over {s.rows} {'times' if s.channel == 'all' else 'rows'})")  # fmt: skip


def holdout(found: Comparison) -> Iterator[Statement]:
    """Held-out rows outside of what the fit itself expects."""
    for rows in found.held.values():
        for h in rows:
            if h.too_narrow:
                yield Statement("holdout", "bad", h.fit, f"held-out rows of {h.channel}: the 90 % intervals of {h.fit} hold "
                                f"{h.inside[1]:.0%} of {h.rows} (50 % intervals {h.inside[0]:.0%}), fewer than it expects itself "
                                f"({h.inside_expected[1][0]:.0%} to {h.inside_expected[1][1]:.0%})",
                                "its predictions are too certain")  # fmt: skip
            elif h.too_wide:
                yield Statement("holdout", "warning", h.fit, f"held-out rows of {h.channel}: the intervals of {h.fit} hold more than it "
                                f"expects itself ({h.inside[1]:.0%} in 90 %)", "its predictions are too vague")  # fmt: skip
    for name, why in found.refused.items():
        yield Statement("holdout", "note", name, f"{name} has no predictions of held-out rows: {why}")


def replicates(found: Comparison) -> Iterator[Statement]:
    """Data that look unlike what fits make of themselves; one statement for each thing that is odd."""
    odd: dict[tuple[str, str], list[Check]] = {}
    for c in found.checks:
        if c.extreme:
            odd.setdefault((c.channel, c.statistic), []).append(c)
    for (channel, statistic), of in list(odd.items())[:_NAMED]:
        c = of[0]
        p = min(c.p, 1 - c.p)
        yield Statement("replicates", "warning", c.fit if len(of) == 1 else "", f"the {statistic} of {channel} is {c.observed:.4g} in "
                        f"the data and {c.replicated:.4g} in replicates of {_few([k.fit for k in of])} "
                        f"(p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'})", "the model does not make data like these")  # fmt: skip


def price(found: Comparison) -> Iterator[Statement]:
    """How much dearer one fit's independent draws are, of those whose draws are worth anything."""
    off = {a.fit for a in found.agreements.values() if _off(a) or _told_apart(a)}
    paid = {n: c.ess_per_second for n, c in found.cost.items() if found.trust[n].sound and n not in off}
    rates = {n: rate for n, rate in paid.items() if rate and np.isfinite(rate)}
    silent = [n for n in found.cost if found.cost[n].wall_s is None]
    if len(rates) > 1:
        fast, slow = max(rates, key=lambda n: rates[n]), min(rates, key=lambda n: rates[n])
        if rates[fast] > 1.5 * rates[slow]:
            yield Statement("price", "note", fast, f"{fast} gives {rates[fast] / rates[slow]:.1f} times as many effective draws per "
                            f"second of its whole run as {slow} ({rates[fast]:.3g} against {rates[slow]:.3g})")  # fmt: skip
    for fit in found.fits:
        network = fit.attributes.get("network")
        if isinstance(network, Mapping) and isinstance(spent := network.get("seconds"), Mapping):
            seconds = sum(float(v) for n, v in spent.items() if n in ("simulate", "train"))
            yield Statement("price", "note", fit.name, f"{fit.name} draws from a network that took {seconds:.0f} s and "
                            f"{network.get('simulations')} simulations to train, once for all data sets; its own seconds do not count them")  # fmt: skip
    if silent:
        yield Statement(
            "price", "note", "", f"what {_few(silent)} cost is not in the file, so it is not compared"
        )


def choice(found: Comparison) -> Iterator[Statement]:
    """The fit to use: sound, in agreement with the reference, and the cheapest of these per effective draw."""
    if not found.agreements:
        return
    pool = [
        found.reference,
        *(a.fit for a in found.agreements.values() if not _off(a) and not _told_apart(a)),
    ]
    good = [n for n in pool if found.trust[n].sound]
    if not good:
        yield Statement(
            "choice", "bad", "", "none of these fits can be relied on yet", "see the reasons above"
        )
        return
    exact = [n for n in good if not found.trust[n].approximate_filter] or good
    exact = [n for n in exact if not found.trust[n].unchecked] or exact
    rates = {n: found.cost[n].ess_per_second for n in exact}
    priced = all(rates.values())  # where one is not told, nobody is the cheapest
    best = max(exact, key=lambda n: rates[n] or 0.0) if priced else exact[0]
    others = [n for n in exact if n != best]
    beside = f"; {_few(others)} would do as well" if others else ""
    few = found.trust[best].divergences
    sound = (
        "nothing speaks against its draws" if not few else "only a few divergences speak against its draws"
    )
    dear = (
        ", and they are the cheapest of those that count"
        if others and found.cost[best].ess_per_second
        else ""
    )
    yield Statement("choice", "good", best, f"use {best}: {sound}{dear}{beside}")


RULES: tuple[Rule, ...] = (
    not_comparable, reference_itself, chains, importance, unchecked, means, spreads, quantiles, joint, agreeing, elbo, calibration,
    scores, holdout, replicates, price, choice,
)  # fmt: skip


def _off(a: Agreement) -> bool:
    """Whether a single parameter is off."""
    return any(
        (abs(d.shift) > SHIFT and abs(d.shift_z) > a.critical)
        or (abs(d.sd_ratio - 1) > SPREAD and abs(d.sd_z) > a.critical)
        or (abs(d.gap) > GAP and abs(d.gap_z) > a.critical)
        for d in a.differences
    )


def _told_apart(a: Agreement) -> bool:
    """Whether a classifier tells the fits apart, beyond chance and by more than a trifle."""
    return bool(a.c2st.z > 3 and a.c2st.accuracy > 0.5 + TELLING)


def _instead(found: Comparison, a: Agreement) -> str:
    """What to use in place of a fit that is off."""
    t = found.trust[a.fit]
    sound = found.trust[a.reference].sound
    if t.pareto_k is not None and t.pareto_k < GOOD_K and not t.corrected:
        return f"use the {'corrected' if t.amortized else 'importance-corrected'} draws" + (
            f" or {a.reference}" if sound else ""
        )
    if t.pareto_k is not None and not t.corrected:
        richer = "train on more simulations" if t.amortized else "train a richer approximation"
        return f"use {a.reference}" if sound else richer
    return (
        f"use {a.reference}"
        if sound
        else "find out which of the two is right first: another method, or sbm sbc"
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _more(differences: Sequence[Difference]) -> str:
    return f" (and {len(differences) - 1} more parameters)" if len(differences) > 2 else (
        " (and one more parameter)" if len(differences) == 2 else "")  # fmt: skip

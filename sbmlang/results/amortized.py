"""What a network's answer is worth: whether it could be corrected, by what, and which of many sites to distrust.

Findings W860, W861 and W863 read the root attributes of a fit by a network; W793 and W797 about its weights are in
``approximation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.errors import Diagnostic, error
from sbmlang.results.tree import attributes
from sbmlang.results.usual import LEVEL

WORTH = 0.1  # effective size per draw of the network; with more, chains mend what a large k complains of


def amortized_findings(tree: xr.DataTree) -> Iterator[Diagnostic]:
    """All findings about the network behind a fit; none for other fits."""
    a = attributes(tree)
    if not a.get("amortized") or "sites" in a:
        return
    if reason := a.get("uncorrected_because"):
        yield _uncorrected(str(reason))
    moves = a.get("metropolis") or {}
    if moves and not moves["settled"] and a.get("corrected") == "metropolis":
        yield error(
            "W861",
            f"the Metropolis chains that correct the network's draws still moved after {moves['steps']} steps "
            f"(acceptance {moves['acceptance']:.2f})",
            help="the start was too far from the posterior: train on more simulations, or run method='nuts'",
        )
    far = a.get("pareto_k") is not None and float(a["pareto_k"]) >= float(a["pareto_k_limit"])
    near = "pareto_k_adapted" in a and float(a["pareto_k_adapted"]) < float(a["pareto_k_limit"])
    if (
        a.get("corrected") == "metropolis"
        and far
        and not near
        and a["effective_proposals"] < WORTH * a["proposals"]
    ):
        why = (a.get("nuts") or {}).get("reason") or "NUTS was not asked for"
        yield error(
            "W863",
            f"the network is far from this posterior (Pareto k {float(a['pareto_k']):.2f}, good below "
            f"{float(a['pareto_k_limit']):.2f}), and short Metropolis chains are all that corrects its draws: {why}",
            help=(
                "modes that the network does not know stay unknown, and shares of modes stay its own",
                "train on more simulations, or run method='nuts' of the jax backend on these data",
            ),
        )


def _uncorrected(reason: str) -> Diagnostic:
    if reason == "as wished":
        return error(
            "W860",
            "the draws are the network's own, uncorrected, as was asked for",
            help="correct='auto' moves them to the posterior that the file declares",
        )
    return error(
        "W860",
        f"the draws are the network's own, uncorrected: {reason}",
        help="how good they are is told by sbm calibrate, not by this fit",
    )


def amortized_line(tree: xr.DataTree) -> str:
    """One sentence about the network behind a fit; "" for other fits."""
    a = attributes(tree)
    if not a.get("amortized"):
        return ""
    n = a["network"]
    return (
        f"{a['method']}: a network trained on {n['simulations']} simulations ({n['weights']} weights, "
        f"{n['seconds']['cpu']:.0f} s of processor time); the posterior under the priors and the error model of the file"
    )


def sites_lines(tree: xr.DataTree, named: int = 8) -> Iterator[str]:
    """About the posteriors of many data sets: how they were corrected, their k, and whom not to trust."""
    s = tree["sample_stats"].to_dataset()
    (outer,) = s["corrected"].dims
    names = np.asarray(s[outer].values, str)
    yield amortized_line(tree)
    refused = np.asarray(s["refused"].values, str) != ""
    ways, counts = np.unique(np.asarray(s["corrected"].values, str)[~refused], return_counts=True)
    spoken = {"none": "not corrected", "psis": "by importance weights",
              "adapted": "by proposals learnt from the weights", "metropolis": "by weights and Metropolis chains",
              "nuts": "replaced by NUTS"}  # fmt: skip
    yield "corrected: " + ", ".join(
        f"{n} {spoken[w]}" for w, n in zip(ways.tolist(), counts.tolist(), strict=True)
    )
    k, limit, worth = (s[n].values for n in ("pareto_k", "pareto_k_limit", "worth"))
    if np.isfinite(k).any():
        known = k[np.isfinite(k)]
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
        yield f"Pareto k: median {middle:.2f}, from {low:.2f} to {high:.2f} for nine in ten; {_few(int((k >= limit).sum()), 'data set')} not below the limit"  # fmt: skip
    nearer = s["pareto_k_adapted"].values < limit if "pareto_k_adapted" in s else np.zeros(len(k), bool)
    doubtful = (k >= limit) & ~nearer & (worth < WORTH) | (s["settled"].values == 0)
    doubtful &= ~refused & (s["corrected"].values != "nuts")
    for said, which in (("not to be trusted", doubtful), ("refused", refused)):
        if which.any():
            yield f"{said}: {_listed(names[which], named)}"
    odd = np.asarray(s["unusual"].values, str) != ""
    if odd.any():
        chance = LEVEL * np.sum(~refused)
        yield f"data unlike the simulations (W890; {chance:.2g} expected by chance): {_listed(names[odd], named)}"
        yield f"  {names[odd][0]}: {s['unusual'].values[odd][0]}"
    for name in names[refused][:named]:
        yield f"  {name}: {s['refused'].sel({outer: name}).item()}"


def _few(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(names: Any, named: int) -> str:
    more = len(names) - named
    return ", ".join(names[:named]) + (f" and {more} more" if more > 0 else "")

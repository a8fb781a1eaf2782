"""Whether the draws of an approximate method can be trusted: Pareto k, training, what was left out.

Checks (W793 to W798) read the root attributes of a fit with ``pareto_k``; other fits have nothing to be checked.
The ELBO is never a criterion: an approximation with the higher one may have the worse intervals (Yao, Vehtari,
Simpson & Gelman 2018, Yes, but did it work?, arXiv:1802.02538).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import hypot
from typing import Any

import xarray as xr

from sbmlang.errors import Diagnostic, error
from sbmlang.results.tree import attributes

FEW = 0.1  # share of the draws that the weighted ones should be worth
DISAGREEMENT = 0.1  # nats; smaller gaps between the ELBOs of training and evaluation do no harm
NOT_FINITE = 0.01  # share of draws


def approximation_findings(tree: xr.DataTree) -> Iterator[Diagnostic]:
    """All findings about the approximation behind a fit; none for exact methods."""
    a = attributes(tree)
    if a.get("pareto_k") is None:
        return
    yield from _weights(a)
    yield from _training(a)
    yield from _not_finite(a)
    if a.get("options", {}).get("family") == "mean-field":
        yield error(
            "W798",
            "a mean-field approximation knows no correlation between parameters",
            help=(
                "its standard deviations are too small wherever the posterior is correlated, often by far",
                "family='spline' (the default) or 'full-rank' know them",
            ),
        )


def approximation_line(tree: xr.DataTree) -> str:
    """One sentence for the summary: k, what was corrected, what the draws are worth; "" for exact methods."""
    a = attributes(tree)
    if a.get("pareto_k") is None:
        return ""
    k, limit = float(a["pareto_k"]), float(a.get("pareto_k_limit", 0.7))
    worth = f"{float(a['effective_proposals']):.0f} of {a['proposals']}" if "effective_proposals" in a else ""
    done = "; ".join(filter(None, (_done(str(a.get("corrected") or ""), worth), _elbos(a))))
    return f"{a['method']}: Pareto k {k:.2f} (good below {limit:.2f}); {done}"


def _done(corrected: str, worth: str) -> str:
    """How the draws were made those of the posterior."""
    match corrected:
        case "" | "none":
            return "draws are those of the approximation, uncorrected"
        case "metropolis":
            start = f"taken by importance weights (worth {worth}) " if worth else ""
            return f"draws {start}moved by short Metropolis chains"
        case "adapted":
            return "draws are those of nearer proposals, learnt from its importance weights and corrected by their own"
        case "nuts":
            return "draws are those of NUTS, because the approximation was too far away"
        case _:
            return "draws corrected by importance weights" + (
                f", worth {worth} independent ones" if worth else ""
            )


def _elbos(a: Mapping[str, Any]) -> str:
    if "elbo" not in a:
        return ""
    text = f"ELBO {float(a['elbo']):.2f} ± {float(a['elbo_se']):.2f}"
    training = a.get("training") or {}
    if "elbo" in training:
        text += f", in training {float(training['elbo']):.2f} ± {float(training['elbo_se']):.2f}"
    return text


def _weights(a: Mapping[str, Any]) -> Iterator[Diagnostic]:
    k, limit = float(a["pareto_k"]), float(a.get("pareto_k_limit", 0.7))
    how = str(a.get("corrected") or "none")
    if how == "nuts" or (how == "none" and k < limit):
        return  # draws of another method; draws that were left as they are on request
    if how == "none":
        nearer = (
            "method='flow' with more iterations or a richer family comes nearer"
            if "elbo" in a
            else "a network trained on more simulations comes nearer; sbm calibrate tells how good its answers are otherwise"
        )
        yield error(
            "W793",
            f"the approximation is too far from the posterior to be corrected: Pareto k {k:.2f}, good below {limit:.2f}",
            help=(
                "the draws are those of the approximation; intervals may be too narrow or in the wrong place",
                f"{nearer}; method='nuts' of the jax backend needs no such approximation",
            ),
        )
        return
    draws = int(a.get("options", {}).get("draws", 0))
    worth = float(a.get("effective_proposals", draws))
    if worth < FEW * draws and how not in ("metropolis", "adapted"):
        yield error(
            "W797",
            f"the {draws} corrected draws are worth only {worth:.0f} independent ones: many are repeated",
            help=(
                "means and intervals carry more Monte Carlo error than their number suggests",
                "raise proposals=, or train the approximation longer",
            ),
        )


def _training(a: Mapping[str, Any]) -> Iterator[Diagnostic]:
    training = a.get("training") or {}
    if training.get("ending") in ("iterations", "time"):
        limit = "iterations" if training["ending"] == "iterations" else "time"
        yield error(
            "W794",
            f"training was ended by its limit of {limit} after {training['iterations']} iterations, not by a plateau of"
            " the ELBO",
            help="more may bring the approximation nearer: raise iterations= or time_limit=, or resume from a checkpoint",
        )
    if "elbo" in training and "elbo" in a:
        gap = abs(float(training["elbo"]) - float(a["elbo"]))
        if gap > max(4 * hypot(float(training["elbo_se"]), float(a["elbo_se"])), DISAGREEMENT):
            yield error(
                "W795",
                f"the ELBO at the end of training and that of the result differ: {_elbos(a)}",
                help="the weights still moved when training ended: raise iterations= or lower learning_rate=",
            )


def _not_finite(a: Mapping[str, Any]) -> Iterator[Diagnostic]:
    found, training = a.get("not_finite") or {}, a.get("training") or {}
    share = int(found.get("proposals", 0)) / max(int(a.get("proposals", 1)), 1)
    dropped = int(training.get("dropped", 0)) / max(int(training.get("draws", 1)), 1)
    if max(share, dropped) > NOT_FINITE:
        yield error(
            "W796",
            f"the log density was not finite at {100 * share:.2g} % of the result's draws and {100 * dropped:.2g} % of"
            " training's",
            help=(
                "such draws count as impossible; they are left out of training and have no weight",
                "usual causes: a path that cannot be solved, a value outside its law's support",
            ),
        )

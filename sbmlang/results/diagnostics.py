"""Whether draws can be trusted, in plain words: what was found, what it means, what to try.

Each check reads the tree and gives at most a few warnings (W701 to W710). Checks of a sampler look only at
the statistics that are there, so a fit of any method can be asked. Thresholds after Vehtari et al. (2021) for
R-hat and effective sample size, and Betancourt (2016, 2017) for divergences and energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from sbmlang.errors import Diagnostic, error
from sbmlang.results.amortized import amortized_findings
from sbmlang.results.approximation import approximation_findings
from sbmlang.results.scalars import Floats, Scalar, array_stats, convergence, moves, scalars
from sbmlang.results.tree import attributes

R_HAT = 1.01
ESS_PER_CHAIN = 100
BFMI = 0.3
FEW_DRAWS = 100
_NAMED = 5  # how many parameters a message names before it counts the rest

Check = Callable[[xr.DataTree], Iterator[Diagnostic]]


def diagnose(tree: xr.DataTree) -> tuple[Diagnostic, ...]:
    """All findings about the draws of a tree, worst kinds first; empty when there is nothing to say.

    A tree without a posterior group (a simulation) has nothing to be checked.
    """
    if "posterior" not in tree.children:
        return ()
    checks: tuple[Check, ...] = (
        _stuck, amortized_findings, approximation_findings, _divergences, _chains, _sample_sizes, _tree_depth, _energy, _bounds
    )  # fmt: skip
    return tuple(chain.from_iterable(check(tree) for check in checks))


def _stuck(tree: xr.DataTree) -> Iterator[Diagnostic]:
    still = [s.label for s in _parameters(tree) if not moves(s.draws)]
    if still:
        yield error(
            "W709",
            f"the draws of {_names(still)} are all equal or not finite",
            help=(
                "the sampler did not move along them, so their spread says nothing",
                "start from other values (another seed), or look for a parameter that no equation uses",
            ),
        )


def _chains(tree: xr.DataTree) -> Iterator[Diagnostic]:
    if attributes(tree).get("independent_draws"):
        return
    sizes = tree["posterior"].sizes
    if sizes["draw"] < FEW_DRAWS:
        yield error(
            "W707",
            f"{sizes['draw']} draws per chain are too few to judge convergence (at least {FEW_DRAWS})",
            help="fine for a first look; for results take more draws, e.g. 1000",
        )
    if sizes["chain"] < 2:
        yield error(
            "W706",
            "with one chain nobody can tell whether another start leads elsewhere",
            help="run at least two chains, better four",
        )
        return
    items = _parameters(tree)
    apart = [(s, r) for s, r in zip(items, convergence(items).r_hat, strict=True) if r > R_HAT]
    if apart:
        named = [f"{s.label} ({r:.3f})" for s, r in sorted(apart, key=lambda pair: -pair[1])]
        yield error(
            "W701",
            f"the chains disagree on {len(apart)} of {len(items)} parameters, R-hat above {R_HAT}:"
            f" {_names(named)}",
            help=(
                "means and intervals of these are not reliable yet",
                "first run longer (more warm-up and more draws)",
                "if that does not help, look at the 'trace' and 'pairs' figures: chains in different places"
                " mean several modes, a thin ridge means that the data do not tell two parameters apart;"
                " an informative prior or another parametrisation mends that",
            ),
        )


def _sample_sizes(tree: xr.DataTree) -> Iterator[Diagnostic]:
    items = _parameters(tree)
    wanted = ESS_PER_CHAIN * tree["posterior"].sizes["chain"]
    found = convergence(items)
    smaller = np.fmin(found.ess_bulk, found.ess_tail)
    short = sorted(
        ((s, b, t) for s, b, t, low in zip(items, found.ess_bulk, found.ess_tail, smaller, strict=True)
         if low < wanted),
        key=lambda row: min(row[1], row[2]),
    )  # fmt: skip
    if short:
        named = [f"{s.label} (bulk {b:.0f}, tail {t:.0f})" for s, b, t in short]
        draws = tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"]
        yield error(
            "W702",
            f"{draws} draws are worth fewer than {wanted} independent ones for {len(short)} of {len(items)}"
            f" parameters: {_names(named)}",
            help=(
                "bulk is about means, tail about the ends of intervals; both carry more Monte Carlo error"
                " than they should",
                f"take about {_factor(wanted, min(short[0][1:]))} times as many draws, or a dense mass matrix"
                " or another parametrisation where parameters are strongly correlated",
            ),
        )


def _divergences(tree: xr.DataTree) -> Iterator[Diagnostic]:
    diverging = _statistic(tree, "diverging")
    if diverging is None or not diverging.any():
        return
    count, share = int(diverging.sum()), float(diverging.mean())
    places = _where(_parameters(tree), diverging.astype(bool))
    yield error(
        "W703",
        f"{count} of {diverging.size} draws ({_percent(share)}) ended in a divergence"
        + (f", mostly at {_names(places)}" if places else ", in no particular region"),
        help=(
            "the posterior bends there more sharply than the sampler could follow, so that region may be"
            " missing from the draws",
            "raise the target acceptance (0.95, then 0.99); the steps get smaller and the run slower",
            "if divergences stay: a group effect that narrows as its spread goes to zero wants its"
            " non-centred form (an offset with a standard Normal prior, times the spread); a parameter the"
            " data hardly inform wants a tighter prior",
        ),
    )


def _where(items: Sequence[Scalar], diverging: np.ndarray) -> list[str]:
    """Parameters whose divergent draws lie apart from the rest, the clearest first: ``small tau``."""
    places = []
    for s in items:
        if not moves(s.draws):
            continue
        ranks = rankdata(s.draws).reshape(s.draws.shape) / s.draws.size
        apart = float(ranks[diverging].mean()) - 0.5
        # Under no relation the mean of n uniform ranks has a standard deviation of 1/sqrt(12 n).
        if abs(apart) > max(0.15, 3 / np.sqrt(12 * diverging.sum())):
            places.append((abs(apart), f"{'small' if apart < 0 else 'large'} {s.label}"))
    return [text for _, text in sorted(places, reverse=True)[:3]]


def _tree_depth(tree: xr.DataTree) -> Iterator[Diagnostic]:
    hits = _at_full_depth(tree)
    if hits is not None and hits.any():
        yield error(
            "W704",
            f"{hits.sum()} of {hits.size} draws ({_percent(hits.mean())}) reached the maximal tree depth",
            help=(
                "the draws are right, but each is dearer and worth less than it could be",
                "parameters of very different scales or strongly correlated ones are the usual reason: try"
                " a dense mass matrix, a longer warm-up or another parametrisation; a larger maximal depth"
                " only helps with the symptom",
            ),
        )


def _at_full_depth(tree: xr.DataTree) -> np.ndarray | None:
    """Where a trajectory was cut off: said by the sampler, or by the depth or steps against the limit."""
    reached = _statistic(tree, "reached_max_treedepth")
    if reached is not None:
        return reached
    limit = attributes(tree).get("options", {}).get("max_tree_depth")
    depth, steps = _statistic(tree, "tree_depth"), _statistic(tree, "n_steps")
    if limit is None:
        return None
    if depth is not None:
        return depth >= limit
    return None if steps is None else steps >= 2**limit - 1


def _energy(tree: xr.DataTree) -> Iterator[Diagnostic]:
    low = [(i + 1, value) for i, value in enumerate(bfmi(tree)) if value < BFMI]
    if low:
        listed = ", ".join(f"{value:.2f} (chain {i})" for i, value in low)
        yield error(
            "W705",
            f"the energy of the sampler mixes slowly: BFMI below {BFMI}: {listed}",
            help=(
                "the tails of the posterior are explored badly, intervals may be too narrow",
                "heavy-tailed or hierarchical priors are the usual reason: use a non-centred form or lighter"
                " tails, and a longer warm-up",
            ),
        )


def bfmi(tree: xr.DataTree) -> Floats:
    """Bayesian fraction of missing information, shape (chain,); empty without usable energies."""
    energy = _statistic(tree, "energy")
    if energy is None or not np.isfinite(energy).all() or (np.ptp(energy, axis=1) == 0).any():
        return np.empty(0)
    return np.asarray(array_stats.bfmi(energy.astype(np.float64)), dtype=np.float64)


def _bounds(tree: xr.DataTree) -> Iterator[Diagnostic]:
    for name, path in tree["posterior"].data_vars.items():
        for side, sign in (("lower", 1.0), ("upper", -1.0)):
            bound = path.attrs.get(side)
            if bound is None or "time" not in path.dims:
                continue
            outside = sign * path < sign * bound
            leaving = float(outside.any([d for d in path.dims if d not in ("chain", "draw")]).mean())
            if leaving > 0:
                beyond = "below" if side == "lower" else "above"
                yield error(
                    "W710",
                    f"{name} goes {beyond} its bound {bound:g} in {_percent(leaving)} of the draws,"
                    f" first at time {_first(outside):g}",
                    help=(
                        "a declared bound is a fact about the model, not a constraint on the draws",
                        "a shorter step or a noise that vanishes at the bound keeps it; 'enforced' after the"
                        " bound makes it part of the density",
                    ),
                )


def _first(outside: xr.DataArray) -> float:
    ever = outside.any([d for d in outside.dims if d != "time"])
    return float(outside["time"].values[int(ever.values.argmax())])


def _parameters(tree: xr.DataTree) -> list[Scalar]:
    return list(scalars(tree["posterior"].to_dataset(), roles=("parameter",)))


def _statistic(tree: xr.DataTree, name: str) -> np.ndarray | None:
    """A sampler statistic, shape (chain, draw), or None."""
    if "sample_stats" not in tree.children or name not in tree["sample_stats"].data_vars:
        return None
    return tree["sample_stats"][name].transpose("chain", "draw", ...).values


def _names(items: Sequence[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _factor(wanted: float, found: float) -> str:
    return f"{max(2, np.ceil(wanted / max(found, 1.0))):.0f}"

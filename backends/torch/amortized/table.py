"""A trained network on many data sets: one batched pass through the network, then each one's correction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results import assemble
from sbmlang.results.cost import Meter

from ..approximate import require_counts
from .apply import Answer, about, answer, require_correction
from .correction import LEAST_PROPOSALS
from .network import Amortized, sampled

TOGETHER = 2_000_000  # numbers drawn from the network in one call
SITE = "site"  # the dim of the data sets; "data_set" where the model has an index of that name


def table(
    network: Amortized,
    sites: Mapping[str, Dataset],
    *,
    draws: int = 1000,
    correct: str = "auto",
    seed: int = 0,
    proposals: int | None = None,
    progress: ProgressCallback | None = None,
) -> xr.DataTree:
    """The posteriors of many data sets, parameters only.

    Group ``posterior`` has the parameters (chain, draw, site, *dims), ``sample_stats`` what was found for each site,
    all (site,): pareto_k and its limit, pareto_k_adapted (of proposals learnt from the weights, where k was too
    large), ess (of the weights), worth (that per draw of the network), proposals, corrected (the way), acceptance, steps, settled, unusual (what in the data no simulation gives), refused (why there
    are no draws, "" elsewhere) and seconds. A site whose data the network cannot take has NaN draws. ``correct`` as in
    ``apply.posterior``, but "auto" does not run NUTS: "nuts" runs it for the sites whose k is too large.

    Raises ``SbmError``: E712 (counts), E866 (correction), E867 (no sites, or none that the network can take).
    """
    require_correction(correct)
    require_counts(draws=(draws, 4), **({} if proposals is None else {"proposals": (proposals, draws)}))
    if not sites:
        raise SbmError(
            error("E867", "there are no data sets to apply the network to", help="give at least one")
        )
    with Meter() as meter:
        meter.mark("sample")
        begun = time.perf_counter()
        taken, refused = _taken(network, sites)
        usable, contexts = list(taken), torch.stack(list(taken.values()))
        count = max(proposals or max(2 * draws, LEAST_PROPOSALS), draws)
        found: dict[str, Answer] = {}
        seconds: dict[str, float] = {}
        for name, context, first, k in _drawn(network, usable, contexts, count, seed, correct != "none"):
            clock = time.perf_counter()
            wish = "auto" if correct == "nuts" else correct
            one = answer(
                network, sites[name], context, draws, wish, seed + k, proposals=count, nuts=False, first=first
            )
            if correct == "nuts" and one.correction is not None and not one.correction.is_near:
                one = answer(
                    network, sites[name], context, draws, "nuts", seed + k, proposals=count, first=first
                )
            found[name], seconds[name] = one, time.perf_counter() - clock
            meter.count("simulations", one.evaluations)
            if progress is not None:
                progress(Progress("apply", len(found), len(usable), {"sites_per_s": len(found) / (time.perf_counter() - begun)}))  # fmt: skip
        meter.mark("other")
        return _tree(network, sites, found, refused, seconds, draws, correct, seed, meter)


def _taken(network: Amortized, sites: Mapping[str, Dataset]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Features (c,) of the data sets that the network can take, and why not for the others ("" where it can)."""
    taken, refused = {}, dict.fromkeys(sites, "")
    for name, data in sites.items():
        try:
            network.coordinates(data)
            taken[name] = network.contexts([data])[0]
        except SbmError as problem:
            refused[name] = problem.diagnostics[0].message
    if not taken:
        name, why = next(iter(refused.items()))
        raise SbmError(
            error("E867", f"the network can take none of {len(sites)} data sets", help=f"{name}: {why}")
        )
    return taken, refused


def _drawn(
    network: Amortized, names: Sequence[str], contexts: Tensor, count: int, seed: int, wide: bool
) -> Any:
    """For each data set its name, features, draws of the network with their log densities, and number."""
    dense = network.conditional.density_is_cheap
    generator = torch.Generator().manual_seed(seed)
    per = max(1, TOGETHER // (count * (len(network.names) + 1)))
    for start in range(0, len(names), per):
        some = contexts[start : start + per]
        if dense:
            z, log_q = sampled(network.conditional, some, count, generator, True, wide=wide)
            assert log_q is not None
            drawn: Any = torch.cat([z, log_q[..., None]], dim=-1)
        else:
            drawn = [None] * len(some)
        for k, context in enumerate(some):
            yield names[start + k], context, drawn[k], start + k


def _tree(network: Amortized, sites: Mapping[str, Dataset], found: Mapping[str, Answer], refused: Mapping[str, str],
          seconds: Mapping[str, float], draws: int, correct: str, seed: int, meter: Meter) -> xr.DataTree:  # fmt: skip
    names = list(sites)
    like = sites[next(iter(found))]
    frame = assemble(
        network.program.model, network.program.facts, like,
        posterior={i.name: np.asarray(_draws(next(iter(found.values())), i.name, draws))[None] for i in network.program.parameters},
        attrs={
            **network.program._attributes(network.method, seed, {"draws": draws, "correct": correct}),
            "amortized": True, "independent_draws": True, "network": about(network), "sites": len(names),
            "notes": list(network.provenance["notes"]), "timings": {**meter.seconds}, "cost": meter.report(),
        },
    )  # fmt: skip
    group = frame["posterior"].to_dataset()
    nothing = {i.name: np.full(group[i.name].shape[1:], np.nan) for i in network.program.parameters}
    outer = SITE if SITE not in network.program.model.dims else "data_set"
    variables = {}
    for i in network.program.parameters:
        each = [np.asarray(_draws(found[n], i.name, draws)) if n in found else nothing[i.name] for n in names]
        dims = ("chain", "draw", outer, *group[i.name].dims[2:])
        variables[i.name] = xr.Variable(dims, np.stack(each, axis=1)[None], group[i.name].attrs)
    for of_one in ("observed_data", "constant_data"):
        if of_one in frame.children:
            del frame[of_one]
    frame["posterior"] = xr.DataTree(xr.Dataset(variables, {**group.coords, outer: names}))
    odd = {n: "; ".join(d.message for d in network.unusual(sites[n])) for n in found}
    frame["sample_stats"] = xr.DataTree(
        _stats(names, found, refused, seconds, odd).rename({SITE: outer} if outer != SITE else {})
    )
    return frame


def _draws(one: Answer, name: str, draws: int) -> Tensor:
    return one.params[name][:draws]


def _stats(names: Sequence[str], found: Mapping[str, Answer], refused: Mapping[str, str], seconds: Mapping[str, float],
           odd: Mapping[str, str]) -> xr.Dataset:  # fmt: skip
    def number(of: Any) -> xr.Variable:
        return xr.Variable(("site",), [float(of(found[n])) if n in found else np.nan for n in names])

    def known(of: Any) -> Any:
        return lambda a: np.nan if a.correction is None else of(a.correction)

    return xr.Dataset(
        {
            "pareto_k": number(known(lambda c: c.pareto_k)),
            "pareto_k_limit": number(known(lambda c: c.weighted.good_k)),
            "pareto_k_adapted": number(known(lambda c: np.nan if c.nearer is None else c.nearer.pareto_k)),
            "ess": number(known(lambda c: c.weighted.effective)),
            "worth": number(known(lambda c: c.worth)),
            "proposals": number(known(lambda c: len(c.weighted.u))),
            "acceptance": number(known(lambda c: c.acceptance)),
            "steps": number(known(lambda c: c.steps)),
            "settled": number(known(lambda c: c.settled)),
            "corrected": xr.Variable(("site",), [found[n].how if n in found else "" for n in names]),
            "refused": xr.Variable(("site",), [refused[n] for n in names]),
            "unusual": xr.Variable(("site",), [odd.get(n, "") for n in names]),
            "seconds": xr.Variable(("site",), [seconds.get(n, np.nan) for n in names], {"units": "s"}),
        },
        {"site": list(names)},
    )

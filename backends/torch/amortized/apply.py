"""A trained network on one data set: draws, correction, and results like those of any other fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results import assemble
from sbmlang.results.cost import Meter

from ..approximate import CANDIDATES, GIVEN_PATH, ONE_STEP, STATE_LIMIT, require_counts
from .correction import Corrected, corrected
from .fallback import Fallback
from .network import Amortized, sampled
from .posterior_target import PosteriorTarget, why_not

CORRECTIONS = ("auto", "none", "psis", "metropolis", "nuts")


@dataclass(frozen=True, eq=False)
class Answer:
    """Draws z (n, d) of one posterior and how they came about. ``correction`` is None where the declared density cannot
    be evaluated, ``reason`` says why; ``params`` (n, *dims) by name; ``nuts`` what NUTS said, if it was run."""

    z: Tensor
    params: Mapping[str, Tensor]
    correction: Corrected | None
    reason: str
    evaluations: int
    nuts: Fallback | None = None

    @property
    def how(self) -> str:
        """What was done last: "none", "psis", "adapted", "metropolis" or "nuts"."""
        if self.nuts is not None and self.nuts.params is not None:
            return "nuts"
        return "none" if self.correction is None else self.correction.how

    def attributes(self) -> dict[str, Any]:
        """What results say about it."""
        found: dict[str, Any] = {
            "corrected": "" if self.how == "none" else self.how,
            "uncorrected_because": self.reason,
        }
        c = self.correction
        if c is None:
            return found
        found |= {
            "pareto_k": c.pareto_k, "pareto_k_limit": c.weighted.good_k, "proposals": len(c.weighted.u),
            "effective_proposals": c.weighted.effective,
        }  # fmt: skip
        if c.nearer is not None:
            found["pareto_k_adapted"] = c.nearer.pareto_k
        if c.steps:
            found["metropolis"] = {"steps": c.steps, "acceptance": c.acceptance, "settled": c.settled}
        if self.nuts is not None:
            found["nuts"] = self.nuts.attributes()
        return found


def answer(network: Amortized, data: Dataset, context: Tensor, draws: int, correct: str, seed: int, *,
           proposals: int | None = None, nuts: bool = True, first: Tensor | None = None) -> Answer:  # fmt: skip
    """Draws of one posterior; ``context`` (c,) are the features of ``data``.

    ``nuts``: whether NUTS may be run where the network is too far off. ``first`` (n, d), with log densities in the last
    column, are draws of the network that were made beforehand.
    """
    generator = torch.Generator().manual_seed(seed)
    coordinates = network.coordinates(data)
    reason = why_not(network.program, coordinates, data)
    if reason or (correct == "none" and not network.conditional.density_is_cheap):
        if correct not in ("auto", "none"):
            raise SbmError(error("E866", f"draws cannot be corrected: {reason}", help="correct='auto' says so in the results"))  # fmt: skip
        z = _plain_draws(network, context, draws, generator, first)
        return Answer(z, coordinates.params(z), None, reason or "as wished", 0)
    target = PosteriorTarget(network.program, data, coordinates)
    kept = [] if first is None else [first]

    def propose(count: int) -> tuple[Tensor, Tensor]:
        if kept and len(kept[0]) >= count:
            found = kept.pop()[:count]
            return found[:, :-1], found[:, -1]
        z, log_q = sampled(network.conditional, context, count, generator, True, wide=correct != "none")
        assert log_q is not None
        return z, log_q

    least = proposals if network.conditional.density_is_cheap else proposals or draws
    wish = "auto" if correct == "nuts" else correct
    found = corrected(propose, target, draws, generator, wish=wish, proposals=least)
    fallback = None
    if nuts and (correct == "nuts" or (correct == "auto" and not found.is_near)):
        fallback = Fallback.run(network.program, data, draws, seed)
    params = coordinates.params(found.z) if fallback is None or fallback.params is None else fallback.params
    return Answer(
        found.z, params, found, "as wished" if correct == "none" else "", target.evaluations, fallback
    )


def _plain_draws(network: Amortized, context: Tensor, draws: int, generator: torch.Generator, first: Tensor | None) -> Tensor:  # fmt: skip
    if first is not None and len(first) >= draws:
        return first[:draws, : len(network.names)].double()
    return network.conditional.sample(context, draws, generator).double()


def posterior(
    network: Amortized,
    data: Dataset,
    *,
    draws: int = 1000,
    correct: str = "auto",
    seed: int = 0,
    proposals: int | None = None,
    keep_states: bool | None = None,
    progress: ProgressCallback | None = None,
    training: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The posterior of ``data`` as a fit like any other, ``draws`` independent draws in one chain.

    ``correct``: "auto" (weights; proposals learnt from them where k is too large; short Metropolis chains where weights
    are worth too little; NUTS of the jax backend where k stays too large), "none", or one of "psis", "metropolis", "nuts". ``proposals`` is the number of
    draws of the network that get weights, at least ``draws``.

    Raises ``SbmError``: E712 (counts), E713 (no observations), E865 (other members), E866 (a correction that cannot be
    done, or that there is not), E870, E871 (data that the network cannot take).
    """
    require_correction(correct)
    require_counts(draws=(draws, 4), **({} if proposals is None else {"proposals": (proposals, draws)}))
    if not any(len(c) for c in data.channels.values()):
        raise SbmError(error("E713", "there are no observations to infer from", help="give data with at least one value"))  # fmt: skip
    with Meter() as meter:
        meter.mark("sample")
        _say(progress, "sample", 0, 1)
        network.coordinates(data)  # members are looked at first
        context = network.contexts([data])[0]
        found = answer(network, data, context, draws, correct, seed, proposals=proposals)
        meter.mark("predict")
        _say(progress, "predict", 0, 1)
        meter.count("simulations", found.evaluations)
        tree = as_tree(network, data, found, draws, correct, seed, keep_states, meter, training)
    _say(progress, "predict", 1, 1)
    return tree


def require_correction(correct: str) -> None:
    """Raises ``SbmError`` E866 for a correction that there is not."""
    if correct not in CORRECTIONS:
        raise SbmError(error("E866", f"there is no correction '{correct}'",
                             help=did_you_mean(correct, CORRECTIONS) or f"corrections: {', '.join(CORRECTIONS)}"))  # fmt: skip


def as_tree(network: Amortized, data: Dataset, found: Answer, draws: int, correct: str, seed: int,
          keep_states: bool | None, meter: Meter, training: Mapping[str, Any] | None) -> xr.DataTree:  # fmt: skip
    program = network.program
    chains = found.nuts.chains if found.how == "nuts" and found.nuts is not None else 1

    def shaped(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {n: np.asarray(v).reshape(chains, -1, *np.shape(v)[1:]) for n, v in values.items()}

    told = _told(network, data, found.params, seed + 2, _keeps(network, data, draws, keep_states))
    prior = program.prior_draws(data, CANDIDATES, seed)
    ahead = _ahead(network, data, prior, seed + 3)
    solved = np.asarray(ahead.get("ok", np.ones(CANDIDATES, bool)), bool)
    notes = [
        *data.notes,
        *program.notes(data),
        *network.features.notes(data),
        *network.unusual(data),
        *_notes(told, draws),
    ]
    options = {"draws": draws, "correct": correct}
    attrs = program._attributes(network.method, seed, options) | found.attributes()
    attrs |= {
        "amortized": True,
        "independent_draws": found.how != "nuts",
        "network": about(network),
        "path_in_posterior": bool(told.get("states")),
        "log_likelihood_meaning": ONE_STEP if program.marginal else GIVEN_PATH,
        "notes": [*network.provenance["notes"], *(str(n) for n in notes)],
        "timings": {**meter.seconds},
        "cost": meter.report(),
        **({"training": dict(training)} if training else {}),
    }
    attrs["versions"] = {**attrs.get("versions", {}), **network.provenance["versions"]}
    stats = {} if found.correction is None or chains > 1 else {"lp": found.correction.log_p[None].numpy()}
    tree = assemble(
        program.model, program.facts, data,
        posterior=shaped({i.name: found.params[i.name] for i in program.parameters}),
        reports=shaped(told.get("reports", {})), states=shaped(told.get("states", {})) or None,
        sample_stats=stats,
        posterior_predictive=shaped(told.get("observations", {})), log_likelihood=shaped(told.get("rows", {})),
        prior={n: np.asarray(v)[solved] for n, v in prior.items()},
        prior_predictive={n: v[solved] for n, v in ahead.get("observations", {}).items()},
        attrs=attrs,
    )  # fmt: skip
    if found.correction is not None:
        tree["approximation"] = xr.DataTree(_raw(network, data, found.correction, draws))
    return tree


def _told(
    network: Amortized, data: Dataset, params: Mapping[str, Tensor], seed: int, states: bool
) -> dict[str, Any]:
    """Predictions, reports and paths of posterior draws; no predictions where a simulator cannot be run."""
    program = network.program
    if program.model.simulators and not program.outside.computed:
        return {**program.predictive(params, data, seed=seed, states=False), "states": {}}
    if why_not(
        program, network.coordinates(data), data
    ):  # a path that is sampled: replicates, not the path of these data
        return {**program.predict(params, data, seed=seed, states=False), "states": {}}
    u = program.unconstrain(params, data)
    found: dict[str, Any] = program.whole.posterior(u, data, seed=seed, states=states)
    return found


def _ahead(network: Amortized, data: Dataset, prior: Mapping[str, Any], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = network.program.predictive(prior, data, seed=seed, states=False)
    return found


def _keeps(network: Amortized, data: Dataset, draws: int, wish: bool | None) -> bool:
    if wish is not None:
        return wish
    width = sum(
        int(np.prod([data.sizes[d] for d in s.dims], dtype=int)) for s in network.program.model.states
    )
    return draws * len(data.grid) * width <= STATE_LIMIT


def about(network: Amortized) -> dict[str, Any]:
    """The network in the attributes of results."""
    p = network.provenance
    history = p["history"]
    return {
        "digest": p["digest"], "simulations": p["simulations"], "seed": p["seed"], "seconds": p["seconds"],
        "features": list(network.features.description), "weights": history["parameters"], "ending": history["ending"],
        "best": history["best"], "steps": history["step"][-1], "loss": min(history["validation"]),
    }  # fmt: skip


def _raw(network: Amortized, data: Dataset, found: Corrected, draws: int) -> xr.Dataset:
    """The group of draws of the network as they are: variables as in the posterior, log_q and log_weight."""
    w, here = found.weighted, slice(0, draws)
    p = network.coordinates(data).params(torch.as_tensor(w.u[here]))
    values = {i.name: np.asarray(p[i.name])[None] for i in network.program.parameters}
    group = assemble(network.program.model, None, data, posterior=values)["posterior"].to_dataset()
    dims = ("chain", "draw")
    return group.assign(log_q=(dims, w.log_q[here][None]), log_weight=(dims, w.log_weight[here][None]))


def _notes(told: Mapping[str, Any], draws: int) -> list[Diagnostic]:
    unsolved = int(np.sum(~np.asarray(told.get("ok", True), bool)))
    if not unsolved:
        return []
    return [error("W721", f"the path of {unsolved} posterior draws could not be solved; they are missing in the predictive draws")]  # fmt: skip


def _say(progress: ProgressCallback | None, stage: str, done: int, total: int) -> None:
    if progress is not None:
        progress(Progress(stage, done, total, {}))

"""From an approximation of the parameters' posterior to results: weights, correction, states, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import xarray as xr

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.protocols import Progress, ProgressCallback
from sbmlang.results import assemble
from sbmlang.results.cost import Meter

from .importance import Proposal, Weighted, weigh
from .laplace import best_of
from .target import Target

if TYPE_CHECKING:
    from .program import TorchProgram

CANDIDATES = 200  # prior draws among which a start is chosen
STATE_LIMIT = 40_000_000  # numbers; longer posterior paths are left out of the results unless asked for
LEAST_PROPOSALS = 4000  # below, the tail of the weights says little about k
ONE_STEP = "log predictive density of each row given the parameters and all rows before it"
GIVEN_PATH = "log density of each row given the parameters and the path"


@dataclass(frozen=True, eq=False)
class Fit:
    """One run of an approximate method: what it works on, and what it cost until now."""

    program: TorchProgram
    data: Dataset
    method: str
    draws: int  # in all
    seed: int
    target: Target
    generator: torch.Generator
    meter: Meter
    progress: ProgressCallback | None
    prior: dict[str, Any]  # draws of the prior, among which starts are looked for

    @classmethod
    @contextmanager
    def begin(cls, program: TorchProgram, data: Dataset, method: str, draws: int, chains: int, seed: int,
              progress: ProgressCallback | None) -> Iterator[Self]:  # fmt: skip
        """A block whose cost is measured. Draws of an approximation are independent, so chains only multiply them.

        Raises ``SbmError`` E712 for counts that make no sense, E713, E715 where there is nothing to infer.
        """
        require_counts(draws=(draws, 4), chains=(chains, 1))
        if not any(len(c) for c in data.channels.values()):
            raise SbmError(
                error(
                    "E713",
                    "there are no observations to infer from",
                    help="give data with at least one value",
                )
            )
        if not program.parameters:
            raise SbmError(
                error("E715", "the model has no parameters to infer", help="sbm simulate runs it as it is")
            )
        with Meter() as meter:
            meter.mark("compile")
            yield cls(
                program, data, method, draws * chains, seed,
                Target(partial(_log_density, program, data), program.dimension(data)),
                torch.Generator().manual_seed(seed), meter, progress,
                program.prior_draws(data, CANDIDATES, seed),
            )  # fmt: skip

    def say(self, stage: str, done: int, total: int, message: str = "", **details: float) -> None:
        if self.progress is not None:
            self.progress(Progress(stage, done, total, details, message))

    def starts(self) -> np.ndarray:
        """Draws of the prior (n, D) with a finite log density, the densest first. Raises ``SbmError`` E714."""
        return best_of(self.target, self.program.unconstrain(self.prior, self.data))

    def finished(
        self,
        proposal: Proposal,
        options: Mapping[str, Any],
        *,
        keep_states: bool | None,
        training: Mapping[str, Any] | None = None,
        trace: xr.Dataset | None = None,
    ) -> xr.DataTree:
        """Weights, correction, and everything that results hold about the draws that remain.

        ``training`` (how it ended, its ELBO) goes to the attributes, ``trace`` is the group of that name.
        """
        count = options.get("proposals") or max(4 * self.draws, LEAST_PROPOSALS)
        require_counts(proposals=(count, self.draws))
        self.meter.mark("sample")
        self.say("sample", 0, 1)
        weighted = weigh(proposal, self.target, count, self.generator)
        picks = (
            weighted.resampled(self.draws, self.seed + 1) if weighted.correctable else np.arange(self.draws)
        )
        self.meter.mark("predict")
        self.say("predict", 0, 1)
        found = self._posterior(weighted, picks, self._keeps_states(keep_states))
        prior = self.program.predictive(self.prior, self.data, seed=self.seed + 3, states=False)
        self.meter.count("gradients", self.target.gradients)
        self.meter.count("simulations", self.target.evaluations)
        self.meter.mark("other")
        tree = self._tree(found, prior, weighted, picks, dict(options), training or {})
        self.say("predict", 1, 1)
        extra = {"approximation": self._plain(weighted)} | ({} if trace is None else {"training": trace})
        return _with(tree, extra)

    def _posterior(self, weighted: Weighted, picks: np.ndarray, keep: bool) -> dict[str, Any]:
        """What results tell about the chosen draws."""
        u = weighted.u[picks]
        found: dict[str, Any] = self.program.whole.posterior(u, self.data, seed=self.seed + 2, states=keep)
        return found

    def _keeps_states(self, wish: bool | None) -> bool:
        if wish is not None:
            return wish
        sizes = self.data.sizes
        width = sum(int(np.prod([sizes[d] for d in s.dims], dtype=int)) for s in self.program.model.states)
        return self.draws * len(self.data.grid) * width <= STATE_LIMIT

    def _tree(self, found: dict[str, Any], prior: dict[str, Any], weighted: Weighted, picks: np.ndarray,
              options: dict[str, Any], training: Mapping[str, Any]) -> xr.DataTree:  # fmt: skip
        def shaped(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
            return {n: np.asarray(v)[None] for n, v in values.items()}

        solved = np.asarray(prior["ok"], bool)
        attrs = self.program._attributes(self.method, self.seed, {"draws": self.draws, **options})
        attrs |= self._verdict(weighted, training) | {
            "path_in_posterior": bool(found["states"]),
            "log_likelihood_meaning": ONE_STEP if self.program.marginal else GIVEN_PATH,
            "notes": [str(n) for n in self._notes(found["ok"], solved)],
        }
        attrs["versions"] = {**attrs.get("versions", {}), "zuko": version("zuko")}
        model = self.program.model
        return assemble(
            model, self.program.facts, self.data,
            posterior=shaped({i.name: found["parameters"][i.name] for i in self.program.parameters}),
            reports=shaped(found["reports"]),
            states=shaped(found["states"]) or None,
            sample_stats={"lp": weighted.log_p[picks][None]},
            posterior_predictive=shaped(found["observations"]),
            log_likelihood=shaped(found["rows"]),
            prior={n: np.asarray(v)[solved] for n, v in self.prior.items()},
            prior_predictive={n: v[solved] for n, v in prior["observations"].items()},
            attrs=attrs,
        )  # fmt: skip

    def _verdict(self, weighted: Weighted, training: Mapping[str, Any]) -> dict[str, Any]:
        """What decides whether the draws can be trusted, and what they cost."""
        elbo, se = weighted.elbo
        cost = self.meter.report()
        return {
            "independent_draws": True,
            "elbo": elbo,
            "elbo_se": se,
            "pareto_k": weighted.pareto_k,
            "pareto_k_limit": weighted.good_k,
            "corrected": "psis" if weighted.correctable else "",
            "proposals": len(weighted.u),
            "effective_proposals": weighted.effective,
            "not_finite": {"draws": self.target.not_finite,
                           "of": self.target.evaluations + self.target.gradients,
                           "proposals": int((~np.isfinite(weighted.log_p)).sum())},
            "training": dict(training),
            "timings": {**self.meter.seconds},
            "cost": cost,
        }  # fmt: skip

    def _notes(self, ok: Any, solved: np.ndarray) -> list[Diagnostic]:
        notes = [*self.data.notes, *self.program.notes(self.data)]
        unsolved, prior = int(np.sum(~np.asarray(ok, bool))), int(np.sum(~solved))
        if unsolved:
            notes.append(error("W721", f"the path of {unsolved} posterior draws could not be solved; they are missing in the predictive draws"))  # fmt: skip
        if prior:
            notes.append(error("W722", f"the path of {prior} of {len(solved)} prior draws could not be solved; the prior predictive draws leave them out",
                               help="sbm simulate shows the first of them with its time, state and term"))  # fmt: skip
        treatment = self.program.treatment
        if treatment is not None and not treatment.is_exact:
            notes.append(error("W799", f"the posterior is that of an approximate filter: {treatment.label.removesuffix(', approximate')}; "
                               "importance weights correct towards its posterior, not towards the model's",
                               help="the jax backend compares it with a particle filter; states='sampled' does without the approximation"))  # fmt: skip
        return notes

    def _plain(self, weighted: Weighted) -> xr.Dataset:
        """The group of draws of q as they are: variables as in the posterior, log_q and log_weight."""
        here = slice(0, self.draws)
        p = self.program.constrain(weighted.u[here], self.data)
        values = {i.name: np.asarray(p[i.name])[None] for i in self.program.parameters}
        tree = assemble(self.program.model, None, self.data, posterior=values)
        group = tree["posterior"].to_dataset()
        dims = ("chain", "draw")
        return group.assign(
            log_q=(dims, weighted.log_q[here][None]), log_weight=(dims, weighted.log_weight[here][None])
        )


def _with(tree: xr.DataTree, groups: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """The tree with further groups."""
    for name, group in groups.items():
        tree[name] = xr.DataTree(group)
    return tree


def _log_density(program: TorchProgram, data: Dataset, u: torch.Tensor) -> torch.Tensor:
    return program.log_density(u, data)


def require_counts(**counts: tuple[float, float]) -> None:
    """Raises ``SbmError`` E712 for the first of ``name=(value, least)`` that is too small."""
    for name, (value, least) in counts.items():
        if not value >= least:
            raise SbmError(error("E712", f"{name} = {value} is too small", help=f"at least {least}"))

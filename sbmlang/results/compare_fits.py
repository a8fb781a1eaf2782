"""Fits side by side: what each is, and whether they are fits of one model to one data set.

Nothing is scored that cannot be: ``align`` says for each fit what it shares with the reference, and the other
parts of a comparison look at that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.results.scalars import Convergence, Floats, Scalar, convergence, moves, pareto_smoothed, scalars
from sbmlang.results.tree import attributes

AMORTIZED = (
    "npe",
    "diffusion",
    "flow-matching",
    "dbuq",
)  # methods whose answers a network learned from simulations
_COMMENT = re.compile(r'("[^"\n]*")|#[^\n]*')


_CORRECTIONS = {
    "psis": "importance-corrected",
    "adapted": "corrected by adapted proposals",
    "metropolis": "Metropolis-corrected",
    "nuts": "replaced by NUTS",
}


@dataclass(frozen=True, eq=False)
class Fit:
    """Results under the name that the comparison gives them."""

    name: str
    tree: xr.DataTree

    @cached_property
    def attributes(self) -> dict[str, Any]:
        return attributes(self.tree)

    @cached_property
    def scalars(self) -> dict[str, Scalar]:
        """The scalar parameters by label."""
        found = scalars(self.tree["posterior"].to_dataset(), roles=("parameter",))
        return {s.label: s for s in found}

    @cached_property
    def convergence(self) -> Convergence:
        """Of ``scalars``, in their order."""
        return convergence(list(self.scalars.values()))

    @property
    def draws(self) -> int:
        """Draws of all chains together."""
        sizes = self.tree["posterior"].sizes
        return int(sizes["chain"] * sizes["draw"])

    @property
    def independent(self) -> bool:
        """Whether draws are no Markov chain."""
        return bool(self.attributes.get("independent_draws"))

    @property
    def correction(self) -> str:
        """How draws of an approximation were made those of the posterior: psis, adapted, metropolis, nuts; "" not at all."""
        how = self.attributes.get("corrected")
        return "psis" if how is True else "" if how in (None, False, "none") else str(how)

    @property
    def corrected(self) -> bool:
        return bool(self.correction)

    @property
    def amortized(self) -> bool:
        """Whether the draws are those of a network that learned from simulations, corrected or not."""
        return bool(self.attributes.get("amortized")) or str(self.attributes.get("method", "")) in AMORTIZED

    @property
    def how(self) -> str:
        """Backend, method and treatment of the states: ``jax nuts, exact (Kalman filter)``."""
        a = self.attributes
        engine = a.get("engine")
        states = engine.get("label", "") if isinstance(engine, Mapping) else ""
        corrected = _CORRECTIONS.get(self.correction, self.correction) or (
            "uncorrected" if self.amortized else ""
        )
        first = " ".join(filter(None, (str(a.get("backend", "")), str(a.get("method", "")))))
        return ", ".join(filter(None, (first, states, corrected)))

    @property
    def approximate_filter(self) -> bool:
        """Whether states were integrated out by an approximation."""
        engine = self.attributes.get("engine")
        return bool(engine.get("approximate")) if isinstance(engine, Mapping) else False

    @cached_property
    def repeats(self) -> float:
        """By how much resampling widens Monte Carlo errors: 1 where draws are not resampled.

        Resampling n draws with weights adds a variance of 1/(effective number of weights) to that of 1/n.
        """
        group = self.tree["approximation"].to_dataset() if "approximation" in self.tree.children else None
        if self.correction != "psis" or group is None or "log_weight" not in group.data_vars:
            return 1.0
        ratios = group["log_weight"].to_numpy().ravel()
        log_w, _ = pareto_smoothed(ratios[np.isfinite(ratios)])
        return float(np.sqrt(1 + self.draws * np.sum(np.exp(2 * log_w))))

    def effective(self, sizes: Floats) -> Floats:
        """Effective sample sizes with resampling counted."""
        return sizes / self.repeats**2


@dataclass(frozen=True)
class Alignment:
    """What a fit shares with the reference.

    ``labels`` are the parameters of both; ``channels`` those whose observed rows are the same. ``reasons`` say
    in words what is not the same.
    """

    same_model: bool
    same_data: bool
    labels: tuple[str, ...]
    channels: tuple[str, ...]
    reasons: tuple[Diagnostic, ...]

    @property
    def posteriors(self) -> bool:
        """Whether both aim at the same posterior."""
        return self.same_model and self.same_data and bool(self.labels)


def require_names(names: Collection[str], reference: str | None) -> None:
    """Raises ``SbmError``: E801 for fewer than two fits, E803 for a reference that is none of them."""
    if len(names) < 2:
        raise SbmError(
            error("E801", f"{len(names)} fit is given, a comparison takes at least two" if names else "no fits are given",
                  help="sbm compare nuts.nc flow.nc, or sbmlang.compare({'nuts': a, 'flow': b})")
        )  # fmt: skip
    if reference is not None and reference not in names:
        raise SbmError(
            error("E803", f"there is no fit '{reference}' to measure the others against",
                  help=did_you_mean(reference, names) or f"fits: {', '.join(names)}")
        )  # fmt: skip


def named(fits: Mapping[str, xr.DataTree], reference: str | None) -> tuple[tuple[Fit, ...], str]:
    """The fits, and the name of the one that the others are measured against: the first without a wish.

    Raises ``SbmError``: E801, E803 as ``require_names``, E802 for one without a posterior.
    """
    require_names(fits, reference)
    empty = [name for name, tree in fits.items() if "posterior" not in tree.children]
    if empty:
        raise SbmError(
            error("E802", f"'{empty[0]}' holds no posterior to compare, only a simulation",
                  help="make one: sbm run FILE --data DATA -o fit.nc", place=empty[0])
        )  # fmt: skip
    return tuple(Fit(n, t) for n, t in fits.items()), reference or next(iter(fits))


def align(fit: Fit, reference: Fit) -> Alignment:
    """What a fit shares with the reference: W801 other data, W802 another model, W803 another path."""
    model = tuple(_model(fit, reference))
    channels, data = _channels(fit, reference)
    labels = tuple(k for k in reference.scalars if k in fit.scalars and moves(fit.scalars[k].draws))
    return Alignment(not model, not data, labels, channels, (*data, *model))


def _model(fit: Fit, reference: Fit) -> Iterator[Diagnostic]:
    ours, theirs = (_lines(str(f.tree.attrs.get("model_text", ""))) for f in (fit, reference))
    if ours != theirs:
        odd = [line for line in ours if line not in theirs] or [line for line in theirs if line not in ours]
        priors = bool(odd) and all(line.startswith("param ") for line in odd)
        what = "other priors" if priors else "another model"
        yield error(
            "W802", f"{fit.name} is a fit of {what} than {reference.name}; first line that differs: {_short(odd)}",
            help="their posteriors are not compared, only predictions and cost",
        )  # fmt: skip
        return
    step, other = (_step(f) for f in (fit, reference))
    if step != other:
        yield error(
            "W803", f"{fit.name} was run with step {step}, {reference.name} with {other}: these are two posteriors",
            help="their posteriors are not compared; run both with the same --step",
        )  # fmt: skip


def _step(fit: Fit) -> float | None:
    """The step of a stochastic path, in the model's time unit."""
    facts = fit.attributes.get("facts")
    step = facts.get("step") if isinstance(facts, Mapping) else None
    return step.get("width") if isinstance(step, Mapping) else None


def _short(lines: Sequence[str]) -> str:
    return f"'{lines[0][:70]}'" if lines else "their order"


def _lines(text: str) -> list[str]:
    """The lines of a model that mean something, without comments and superfluous blanks."""
    bare = _COMMENT.sub(lambda m: m[1] or "", text)
    return [" ".join(line.split()) for line in bare.splitlines() if line.strip()]


def _channels(fit: Fit, reference: Fit) -> tuple[tuple[str, ...], tuple[Diagnostic, ...]]:
    """Channels with the same rows in both, and W801 for what differs."""
    ours, theirs = (_group(f, "observed_data") for f in (fit, reference))
    names = list(dict.fromkeys([*theirs.data_vars, *ours.data_vars]))
    reasons = [r for n in names if (r := _difference(str(n), ours, theirs))]
    wrong = {name for name, _ in reasons}
    words = [text for _, text in reasons]
    constants, others = (_group(f, "constant_data") for f in (fit, reference))
    for name in dict.fromkeys([*others.data_vars, *constants.data_vars]):
        if not _same(constants.get(name), others.get(name)):
            words.append(f"the input {name} differs")
    if not words:
        return tuple(map(str, names)), ()
    found = error(
        "W801", f"{fit.name} was fitted to other data than {reference.name}: {'; '.join(words)}",
        help="their posteriors are not compared; scores only on rows that both have seen, or on held-out rows",
    )  # fmt: skip
    return tuple(str(n) for n in names if n not in wrong), (found,)


def _difference(name: str, ours: xr.Dataset, theirs: xr.Dataset) -> tuple[str, str] | None:
    if name not in ours or name not in theirs:
        return name, f"{name} is in one of them only"
    a, b = ours[name], theirs[name]
    if a.size != b.size:
        return name, f"{name} has {a.size} rows, not {b.size}"
    if not all(np.array_equal(a[c].values, b[c].values) for c in a.coords if c in b.coords):
        return name, f"{name} has rows at other times or members"
    if not _same(a, b):
        apart = int((~np.isclose(a.values, b.values, rtol=1e-12, atol=0, equal_nan=True)).sum())
        return name, f"{apart} of {a.size} values of {name} differ"
    return None


def _same(a: xr.DataArray | None, b: xr.DataArray | None) -> bool:
    if a is None or b is None:
        return False
    return a.shape == b.shape and bool(np.allclose(a.values, b.values, rtol=1e-12, atol=0, equal_nan=True))


def _group(fit: Fit, name: str) -> xr.Dataset:
    return fit.tree[name].to_dataset() if name in fit.tree.children else xr.Dataset()

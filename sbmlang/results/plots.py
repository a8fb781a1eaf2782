"""Figures of a fit by kind, and their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.results import (
    plot_chains,
    plot_checks,
    plot_fit,
    plot_forecast,
    plot_marginals,
    plot_states,
    plot_studies,
)
from sbmlang.results.plot_style import RC
from sbmlang.results.scalars import moves, scalars
from sbmlang.results.store import write_whole

Draw = Callable[[xr.DataTree, Mapping[str, float]], Iterator[tuple[str, Figure]]]


@dataclass(frozen=True)
class Kind:
    """A kind of figure: how it is drawn, the group it needs and what in it, what it shows."""

    draw: Draw
    group: str
    doc: str
    variable: str = ""
    parameters: int = 0
    states: bool = False


KINDS: dict[str, Kind] = {
    "fit": Kind(plot_fit.fit, "posterior_predictive", "observations and prediction over time"),
    "states": Kind(plot_states.states, "posterior", "states over time given the data", states=True),
    "prior_posterior": Kind(
        plot_marginals.prior_posterior, "posterior", "parameters before and after data", parameters=1
    ),
    "pairs": Kind(plot_marginals.pairs, "posterior", "the most correlated parameters", parameters=2),
    "trace": Kind(plot_chains.trace, "posterior", "draws and ranks of each chain", parameters=1),
    "energy": Kind(plot_chains.energy, "sample_stats", "how well the sampler reaches the tails", "energy"),
    "prior_fit": Kind(plot_fit.prior_fit, "prior_predictive", "observations and what the prior predicts"),
    "calibration": Kind(
        plot_studies.calibration, "calibration", "ranks of true values among draws (sbm sbc)"
    ),
    "contraction": Kind(
        plot_checks.contraction, "calibration", "z-scores against what data taught (sbm sbc, sbm calibrate)"
    ),
    "coverage": Kind(plot_checks.coverage, "coverage", "coverage of regions and balls (sbm calibrate)"),
    "recovery": Kind(plot_studies.recovery, "recovery", "estimates against true values (sbm recover)"),
    "forecast": Kind(plot_forecast.forecast, "forecast", "forecasts of each scenario (sbm predict)"),
}
FORMATS = ("png", "pdf", "svg")


def figures(
    tree: xr.DataTree,
    kinds: Iterable[str] | None = None,
    *,
    truth: Mapping[str, ArrayLike] | None = None,
) -> dict[str, Figure]:
    """Figures by name: ``fit_CO2``, ``trace_1``, ``trace_2`` ...; all that the tree allows without ``kinds``.

    ``truth`` has values of parameters (a number, or an array over the parameter's dims) to be marked.
    Raises ``SbmError``: E665 no such kind, E666 the results lack what it needs, E668 a wrong ``truth``.
    """
    wanted = [k for k in KINDS if _lacks(tree, KINDS[k]) is None] if kinds is None else list(kinds)
    mistakes = [m for k in wanted for m in _mistakes(tree, k)]
    if mistakes:
        raise SbmError(mistakes)
    values = _truth(tree, truth or {})
    with rc_context(RC):
        return {name: figure for k in wanted for name, figure in KINDS[k].draw(tree, values)}


def save_figures(
    tree: xr.DataTree,
    folder: str | os.PathLike[str],
    kinds: Iterable[str] | None = None,
    format: str = "png",
    *,
    truth: Mapping[str, ArrayLike] | None = None,
    dpi: int = 160,
) -> tuple[Path, ...]:
    """Draws ``figures`` into files ``folder/NAME.FORMAT`` and returns their paths; makes the folder.

    Raises ``SbmError``: as ``figures``, E667 no such format, and E652 to E654 as ``results.save``.
    """
    if format not in FORMATS:
        raise SbmError(
            error("E667", f"figures cannot be written as '{format}'", help=f"formats: {', '.join(FORMATS)}")
        )
    drawn = figures(tree, kinds, truth=truth)
    place = _folder(Path(folder))
    with rc_context(RC):
        return tuple(
            write_whole(place / f"{name}.{format}", partial(figure.savefig, format=format, dpi=dpi))
            for name, figure in drawn.items()
        )


def _mistakes(tree: xr.DataTree, kind: str) -> Iterator[Diagnostic]:
    if kind not in KINDS:
        yield error(
            "E665",
            f"there is no kind of figure '{kind}'",
            help=(*did_you_mean(kind, KINDS), f"kinds: {', '.join(KINDS)}"),
        )
        return
    missing = _lacks(tree, KINDS[kind])
    if missing is not None:
        can = [k for k in KINDS if _lacks(tree, KINDS[k]) is None]
        yield error(
            "E666",
            f"the figure '{kind}' needs {missing}, which these results do not hold",
            help=f"figures they allow: {', '.join(can)}" if can else "these results allow no figure",
        )


def _lacks(tree: xr.DataTree, kind: Kind) -> str | None:
    """What a kind needs and the tree does not have."""
    if kind.group not in tree.children:
        return f"the group '{kind.group}'"
    if kind.variable and kind.variable not in tree[kind.group].data_vars:
        return f"'{kind.variable}' in the group '{kind.group}'"
    if kind.states and not plot_states.of_states(tree):
        return "the path of a state"
    if kind.parameters:
        moving = [s for s in scalars(tree["posterior"].to_dataset(), ("parameter",)) if moves(s.draws)]
        if len(moving) < kind.parameters:
            return "a parameter that moves" if kind.parameters == 1 else "two parameters that move"
    return None


def _truth(tree: xr.DataTree, truth: Mapping[str, ArrayLike]) -> dict[str, float]:
    """True values by label ``k[clay]``."""
    if "posterior" not in tree.children:
        return {}
    labels: dict[str, list[str]] = {}
    for s in scalars(tree["posterior"].to_dataset()):
        labels.setdefault(s.name, []).append(s.label)
    known: dict[str, float] = {}
    for name, value in truth.items():
        values = np.asarray(value, dtype=np.float64).ravel()
        if name not in labels or len(values) != len(labels[name]):
            raise SbmError(_wrong_truth(name, len(values), labels))
        known |= dict(zip(labels[name], values.tolist(), strict=True))
    return known


def _wrong_truth(name: str, count: int, labels: Mapping[str, list[str]]) -> Diagnostic:
    if name not in labels:
        return error("E668", f"a true value is given for '{name}', which the results do not hold",
                     help=(*did_you_mean(name, labels), f"parameters: {', '.join(labels)}"))  # fmt: skip
    return error("E668", f"{count} true values are given for '{name}', which has {len(labels[name])}",
                 help=f"expected one for each of {', '.join(labels[name][:8])}")  # fmt: skip


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SbmError(
            error("E652", f"'{path}' is a file, a folder was expected", place=str(path), help="give a folder")
        ) from None
    except OSError as fault:
        raise SbmError(
            error("E653", f"the folder '{path}' cannot be made: {fault.strerror}", place=str(path),
                  help="choose a folder you may write to")
        ) from None  # fmt: skip
    return path

"""Whether the parameters of a table of runs are draws from the priors of the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sbmlang.data.dataset import Floats
from sbmlang.data.findings import Findings, spans
from sbmlang.ir import Model, Parameter
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.library.family import constant
from sbmlang.library.quantiles import frozen

ROUNDING = 1e-6  # of the width of a prior: by how much a number that was written down may be beyond its end
UNLIKELY = 1e-6  # probability at which runs are no longer taken for draws of the prior


def check_prior(
    model: Model, parameters: Mapping[str, Floats], name: str, findings: Findings
) -> NDArray[np.bool_]:
    """Which runs (run,) lie within the support of the priors; those beyond an end by rounding only are kept.

    Adds W840 where some do not, and W842 where the others do not look like draws of the prior. Ends and laws that
    depend on other parameters are not looked at.
    """
    about = {p.name: p for p in model.parameters}
    inside: NDArray[np.bool_] = np.ones(len(next(iter(parameters.values()))), dtype=bool)
    beyond: list[str] = []
    for key, values in parameters.items():
        here = _within(about[key], values)
        inside = np.asarray(inside & here)
        if not here.all():
            beyond.append(f"{key} ({int((~here).sum())})")
    if beyond:
        findings.add(
            "W840", f"{int((~inside).sum())} of {len(inside)} runs lie outside the support of the priors and are left "
            f"out: {', '.join(beyond)}", place=name, help="widen the priors to what was run, or run what the priors say",
        )  # fmt: skip
    for key, values in parameters.items():
        _distribution(about[key], values[inside], name, findings)
    return inside


def _ends(p: Parameter) -> tuple[float, float]:
    low, high = (None if end is None else constant(end) for end in (p.lower, p.upper))
    return -np.inf if low is None else low, np.inf if high is None else high


def _within(p: Parameter, values: Floats) -> NDArray[np.bool_]:
    low, high = _ends(p)
    slack = ROUNDING * (high - low) if np.isfinite(high - low) else 0.0
    near = (values >= low - slack) & (values <= high + slack) | np.isnan(values)
    return np.asarray(near.reshape(len(values), -1).all(axis=1))


def _distribution(p: Parameter, values: Floats, name: str, findings: Findings) -> None:
    """W842 by the distance of Kolmogorov and Smirnov, members of an index together."""
    if p.law is None or DISTRIBUTIONS[p.law.family].event_rank:
        return
    try:
        law = frozen(p.law.family, p.law.args)
    except ValueError:
        return  # the prior depends on other parameters
    x = np.sort(values[~np.isnan(values)].ravel())
    if not len(x):
        return
    at, n = law.cdf(x), len(x)
    distance = max(np.max(at - np.arange(n) / n), np.max(np.arange(1, n + 1) / n - at))
    if 2 * np.exp(-2 * n * distance**2) < UNLIKELY:  # Massart (1990), Annals of Probability 18, 1269-1283
        findings.add(
            "W842", f"the runs do not look like draws of the prior of '{p.name}': a share of {distance:.2g} of them lies "
            "elsewhere", *spans(p.span), place=name,
            help=("a posterior learned from them belongs to the prior that they were drawn from: declare that one",
                  "an emulator does not mind"),
        )  # fmt: skip

"""Parameter sets that fill the prior: a Latin hypercube in the prior's distribution functions.

McKay, Beckman & Conover (1979), Technometrics 21, 239-245.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from sbmlang.data.dataset import Dataset
from sbmlang.ir import Model, Parameter
from sbmlang.library.quantiles import frozen

Floats = NDArray[np.float64]


def design(model: Model, program: Any, data: Dataset, count: int, seed: int) -> tuple[dict[str, Floats], str]:
    """``count`` parameter sets (run, *dims), and how they were made, in words.

    Parameters whose prior has numbers for arguments are laid out by a Latin hypercube; where a prior depends on other
    parameters, all are draws from the prior, so that each goes with those it depends on.
    """
    drawn = {n: np.asarray(v, float) for n, v in program.prior_draws(data, count, seed).items()}
    laws = {p.name: _law(p) for p in model.parameters}
    if any(law is None for law in laws.values()):
        return drawn, "draws from the prior"
    sizes = [int(np.prod(v.shape[1:], dtype=int)) for v in drawn.values()]
    cube = qmc.LatinHypercube(
        sum(sizes), seed=seed, optimization="random-cd" if count <= 200 else None
    ).random(count)
    parts = np.split(cube, np.cumsum(sizes)[:-1], axis=1)
    return {
        n: np.asarray(laws[n].ppf(u), float).reshape(v.shape)
        for (n, v), u in zip(drawn.items(), parts, strict=True)
    }, "a Latin hypercube of the prior"


def _law(p: Parameter) -> Any:
    """The prior as scipy has it; None where it is no law of one number with numbers for arguments."""
    if p.law is None:
        return None
    try:
        law = frozen(p.law.family, p.law.args)
    except (KeyError, ValueError):
        return None
    return law if hasattr(law, "ppf") else None

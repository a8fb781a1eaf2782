"""From draws of a network to draws of the posterior that the model declares.

Draws get the weights N(z; 0, I) p(y | theta(z)) / q(z | y), smoothed; the shape k of their largest ones tells
whether the network is near enough. Where they are worth a tenth of their number or more, further draws of the
network until they are worth as many as are wanted cost fewer evaluations of the likelihood than moving draws does,
and the resampled ones are independent. Where k is too large, better proposals are learnt from the weights
(``adapted``). Where weights are still worth little, draws taken by them are moved by short Metropolis chains.

Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72), 1-58 (smoothing, k).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..importance import Weighted, smoothed
from .adapted import adapted
from .metropolis import LogDensity, moved

Correction = Literal["none", "psis", "adapted", "metropolis", "nuts"]
Proposal = Callable[[int], tuple[Tensor, Tensor]]  # count -> z (count, d) and log q (count,)
WORTH = 0.1  # effective size per draw of the network from which on more of them are the cheaper way
AGAIN = 3  # times as many draws again where k is too large
ROUNDS = 3  # of further draws: the first effective size promises a little too much
LEAST_PROPOSALS = 2000  # fewer tell little about the tail of the weights


@dataclass(frozen=True, eq=False)
class Corrected:
    """``draws`` z (n, d) with log density ``log_p`` (n,), up to a constant, and how they were made.

    ``weighted`` are the draws of the network with their weights, ``nearer`` those of proposals that were learnt from
    them, where k was too large; ``how`` is the last thing that was done. ``acceptance``, ``steps`` and ``settled`` are
    those of the Metropolis chains.
    """

    z: Tensor
    log_p: Tensor
    weighted: Weighted
    how: Correction
    acceptance: float = float("nan")
    steps: int = 0
    settled: bool = True
    nearer: Weighted | None = None

    @property
    def pareto_k(self) -> float:
        """Of the network's own draws."""
        return self.weighted.pareto_k

    @property
    def is_near(self) -> bool:
        """Whether the network, or what was learnt from its weights, was near enough for draws to be corrected.

        Where k is too large although weights are worth much, the proposals are thin in a far tail or at an edge of the
        posterior, which Metropolis chains mend; few draws that outweigh all others mean that the network missed a part.
        """
        return (self.nearer or self.weighted).correctable or (
            self.worth >= WORTH and self.how == "metropolis" and self.settled
        )

    @property
    def worth(self) -> float:
        """Effective size of the weights per draw of the network."""
        return self.weighted.effective / len(self.weighted.u)


@torch.no_grad()
def corrected(proposal: Proposal, target: LogDensity, draws: int, generator: torch.Generator, *,
              wish: str = "auto", proposals: int | None = None) -> Corrected:  # fmt: skip
    """``draws`` draws of ``target``; ``wish`` is "auto", or the one way to go: "psis", "metropolis", "none" (weights
    are computed, and the draws stay those of the network). "auto" leaves them where no draw has a finite density.
    """
    count = proposals or max(2 * draws, LEAST_PROPOSALS)
    z, weighted = _weighed(proposal, target, count)
    if wish == "none" or not np.isfinite(weighted.log_p).any():
        return Corrected(z[:draws], torch.as_tensor(weighted.log_p[:draws]), weighted, "none")
    if (
        wish == "auto" and not weighted.correctable
    ):  # k itself is uncertain: (1 + k) over the root of the tail's size
        z, weighted = _weighed(proposal, target, AGAIN * count, (z, weighted))
    network, is_adapted = weighted, False
    if wish == "auto" and not weighted.correctable:
        better = adapted(z, weighted, target, proposals or max(2 * draws, LEAST_PROPOSALS), generator)
        if better is not None:
            kernels, z, weighted = better
            proposal, is_adapted = partial(kernels.draws, generator=generator), True
    for _ in range(ROUNDS if wish == "auto" and weighted.correctable else 0):
        worth = weighted.effective / len(z)
        if not WORTH <= worth < draws / len(z):
            break
        more = int(np.ceil(1.1 * draws / worth)) - len(z)
        z, weighted = _weighed(proposal, target, more, (z, weighted))
    own, nearer = (network, weighted) if is_adapted else (weighted, None)
    seed = int(torch.randint(2**31, (), generator=generator))
    picks = torch.as_tensor(weighted.resampled(draws, seed))
    chosen, log_p = z[picks], torch.as_tensor(weighted.log_p)[picks]
    enough = weighted.correctable and weighted.effective >= draws
    if wish == "psis" or (wish == "auto" and enough) or draws < 8:
        return Corrected(chosen, log_p, own, "adapted" if is_adapted else "psis", nearer=nearer)
    end = moved(chosen, log_p, target, generator)
    return Corrected(end.z, end.log_p, own, "metropolis", end.acceptance, end.steps, end.settled, nearer)


def _weighed(proposal: Proposal, target: LogDensity, count: int,
             before: tuple[Tensor, Weighted] | None = None) -> tuple[Tensor, Weighted]:  # fmt: skip
    """``count`` draws of the network, those of ``before`` with them, and all their weights."""
    z, log_q = (x.double() for x in proposal(count))
    log_p = target(z)
    if before is not None:
        z, log_q, log_p = (
            torch.cat([torch.as_tensor(old), new])
            for old, new in zip((before[0], before[1].log_q, before[1].log_p), (z, log_q, log_p), strict=True)
        )
    return z, smoothed(z.numpy(), log_q.numpy(), log_p.numpy())

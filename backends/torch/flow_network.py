"""A normalizing flow over the unconstrained parameters: u = mean + root (m + L T(z)), z standard normal.

(mean, root) is a Gaussian found beforehand (Laplace), so that the flow works on the scale of the posterior's
curvature. (m, L) is trained: alone it is the full-rank Gaussian, with L diagonal the mean-field one. T is a
chain of monotonic rational-quadratic splines whose knots are given by networks of the other coordinates;
outside [-BOUND, BOUND] and before training it is the identity.

Durkan, Bekasov, Murray & Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032; Rozet et al. (2022), zuko.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicRQSTransform

from .affine import Gaussian, standard_normal

Family = Literal["spline", "autoregressive", "full-rank", "mean-field"]
FAMILIES: dict[str, int] = {
    "spline": 6,
    "autoregressive": 2,
    "full-rank": 0,
    "mean-field": 0,
}  # with so many layers
BOUND = 6.0  # standard deviations of the base; a standard normal is beyond with probability 2e-9


class Flow(nn.Module):
    """The approximation q of ``dimension`` D. Weights are drawn by ``seed``; before training q is ``base``.

    ``family``: "spline" (coupling layers: each half of the coordinates given the other), "autoregressive" (each
    given those before; the inverse, and so each step of training, takes D passes), "full-rank", "mean-field" (an
    independent normal for each parameter, with the scale of ``base``).
    """

    def __init__(self, base: Gaussian, family: Family = "spline", *, transforms: int | None = None,
                 hidden: Sequence[int] = (64, 64), bins: int = 8, seed: int = 0) -> None:  # fmt: skip
        super().__init__()
        root = base.root
        if family == "mean-field":
            root = torch.diag((base.root @ base.root.T).diagonal().sqrt())
        self.base, self.family = Gaussian(base.mean, root), family
        count = FAMILIES[family] if transforms is None else transforms
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            masks = _masks(base.dimension, count)
            self.layers = nn.ModuleList(
                _layer(family, mask, k, hidden=tuple(hidden), bins=bins) for k, mask in enumerate(masks)
            ).double()
        for layer in self.layers:
            _make_identity(layer)
        self.shift = nn.Parameter(torch.zeros(base.dimension, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.zeros(base.dimension, dtype=torch.float64))
        self.lower = nn.Parameter(torch.zeros(base.dimension, base.dimension, dtype=torch.float64))
        self.lower.requires_grad_(family != "mean-field")

    @property
    def dimension(self) -> int:
        return self.base.dimension

    def push(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u (n, D) of z (n, D), and log |du/dz| (n,)."""
        volume = torch.zeros(len(z), dtype=z.dtype)
        for layer in self.layers:
            z, steep = layer().call_and_ladj(z)
            volume = volume + steep
        inner = self.shift + z @ self._root.T
        return self.base.outward(inner), volume + self._log_volume

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (n,) of u (n, D)."""
        z = torch.linalg.solve_triangular(self.base.root, (u - self.base.mean).T, upper=False)
        z = torch.linalg.solve_triangular(self._root, z - self.shift[:, None], upper=False).T
        volume = self._log_volume
        for layer in reversed(self.layers):
            z, steep = layer().inv.call_and_ladj(z)
            volume = volume - steep
        return standard_normal(z) - volume

    @torch.no_grad()
    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws u (count, D) and their log densities (count,)."""
        z = torch.randn(count, self.dimension, generator=generator, dtype=torch.float64)
        parts = [(*self.push(rows), rows) for rows in z.split(1000)]
        return (
            torch.cat([u for u, _, _ in parts]),
            torch.cat([standard_normal(rows) - volume for _, volume, rows in parts]),
        )

    @property
    def _root(self) -> Tensor:
        return self.lower.tril(-1) + torch.diag(self.log_scale.exp())

    @property
    def _log_volume(self) -> Tensor:
        return self.log_scale.sum() + self.base.log_volume


def _masks(dimension: int, count: int) -> list[Tensor]:
    """For each layer the coordinates it leaves: a random half, then the other half, then another split."""
    masks: list[Tensor] = []
    for k in range(count):
        if k % 2:
            masks.append(~masks[-1])
        else:
            mask = torch.zeros(dimension, dtype=torch.bool)
            mask[torch.randperm(dimension)[: dimension // 2]] = True
            masks.append(mask)
    return masks


def _layer(family: Family, mask: Tensor, k: int, *, hidden: tuple[int, ...], bins: int) -> nn.Module:
    spline: dict[str, Any] = {
        "univariate": partial(MonotonicRQSTransform, bound=BOUND),
        "shapes": [(bins,), (bins,), (bins - 1,)],
    }
    network: dict[str, Any] = {"hidden_features": hidden, "activation": nn.SiLU}
    size = len(mask)
    if size == 1:
        return GeneralCouplingTransform(1, **spline)  # zuko's transform of a single coordinate
    if family == "autoregressive":
        order = torch.arange(size) if k % 2 == 0 else torch.arange(size - 1, -1, -1)
        return MaskedAutoregressiveTransform(size, order=order, **spline, **network)
    return GeneralCouplingTransform(size, mask=mask, **spline, **network)


def _make_identity(layer: nn.Module) -> None:
    """Equal bins with slope one: what gives the knots, the last layer of the network, is set to zero."""
    last = layer.hyper[-1] if hasattr(layer, "hyper") else layer
    for weights in last.parameters():
        nn.init.zeros_(weights)

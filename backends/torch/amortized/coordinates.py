"""Parameters in coordinates z in R^d whose prior is exactly N(0, I): z_i = Phi^-1(F_i(theta_i | parents)).

The generated program draws its parameters from their priors one after the other; here it is walked with another
``draw``, which takes the quantile at z, or notes the z of a given value. So hierarchical priors need nothing of
their own, and every z gives parameters inside their declared support. Rosenblatt (1952), Annals of Mathematical
Statistics 23, 470-472.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset

from ..arrays import mapped
from .quantiles import Law, quantile

if TYPE_CHECKING:
    from ..program import TorchProgram

ROWS = 20_000  # parameter sets in one call


@dataclass(frozen=True)
class _Site:
    """One call of ``draw``: the shape of its z, and the labels of its coordinates."""

    name: str
    shape: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PriorCoordinates:
    """The coordinates of one program's parameters; ``design`` gives members and covariates, its rows do not matter."""

    program: TorchProgram
    design: Dataset

    @property
    def dimension(self) -> int:
        return len(self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """One per coordinate: ``k``, ``k[site1]``. A Dirichlet has one less than members."""
        return tuple(name for site in self._sites for name in site.names)

    @torch.no_grad()
    def params(self, z: Any) -> dict[str, Tensor]:
        """Parameters by name, (n, *dims) in declared units, float64, of z (n, d)."""
        z = self._number(z)
        if not self.dimension:
            return {}
        parts = [mapped(self._one)(rows) for rows in z.split(ROWS)]
        return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}

    @torch.no_grad()
    def z(self, params: Mapping[str, Any]) -> Tensor:
        """z (n, d), float64, of parameters (n, *dims) by name; infinite for values at the end of their support."""
        given = {name: self._number(params[name]) for name in self._parameters}
        found: Tensor = mapped(self._inverse)(given)
        return found

    def _one(self, z: Tensor) -> dict[str, Tensor]:
        places = iter(self._places)

        def draw(_: str, law: Law) -> Tensor:
            site, here = next(places)
            return quantile(law).forward(law, z[here].reshape(site.shape))

        found: dict[str, Tensor] = self.program.functions.parameters(self._arrays, draw)
        return found

    def _inverse(self, params: dict[str, Tensor]) -> Tensor:
        joints, parts = self.program.functions.JOINTS, []

        def draw(name: str, law: Law) -> Tensor:
            x = torch.stack([params[m] for m in joints[name]], dim=-1) if name in joints else params[name]
            parts.append(quantile(law).inverse(law, x).reshape(-1))
            return x

        self.program.functions.parameters(self._arrays, draw)
        return torch.cat(parts)

    @cached_property
    def _places(self) -> list[tuple[_Site, slice]]:
        found, start = [], 0
        for site in self._sites:
            found.append((site, slice(start, start + prod(site.shape))))
            start += prod(site.shape)
        return found

    @cached_property
    def _sites(self) -> tuple[_Site, ...]:
        found: list[_Site] = []

        def draw(name: str, law: Law) -> Tensor:
            batch, event = tuple(law.batch_shape), tuple(law.event_shape)
            free = tuple(quantile(law).free(n) for n in event)
            found.append(_Site(name, batch + free, tuple(self._labels(name, batch, free))))
            return quantile(law).forward(law, torch.zeros(batch + free, dtype=torch.float64))

        self.program.functions.parameters(self._arrays, draw)
        return tuple(found)

    def _labels(self, name: str, batch: tuple[int, ...], free: tuple[int, ...]) -> Iterator[str]:
        joint = self.program.functions.JOINTS.get(name)
        dims = self._parameters[joint[0] if joint else name]
        labels = [self.design.labels[d] for d in dims[: len(batch)]]
        last = dims[len(batch) :]
        for members in product(*labels):
            for k in range(prod(free)):
                own = joint[k] if joint else name
                inner = (*members, *((self.design.labels[last[0]][k],) if last and not joint else ()))
                yield f"{own}[{', '.join(inner)}]" if inner else own

    @cached_property
    def _parameters(self) -> dict[str, tuple[str, ...]]:
        return {k.name: k.dims for k in self.program.functions.PARAMETERS}

    @cached_property
    def _arrays(self) -> Any:
        return self.program.arrays(self.design)

    @staticmethod
    def _number(x: Any) -> Tensor:
        return torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x, dtype=torch.float64)

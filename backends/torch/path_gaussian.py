"""The structured Gaussian family q(path | theta, rows): the smoother of the model linearised around a likely path.

For each draw of parameters it is the Gaussian law of the linear model given the rows (``path_linear``), so it is
conditional on them without a network, at irregular and missing rows as at others, and its cost grows linearly with
the length of the path. Learned are only factors on the noise and on the rows' variances, and a slow drift, all
the same for all parameters; with ``layers`` the noise that the smoother turns into paths comes from a flow over
windows (``path_windows``), and paths are no longer Gaussian.

Archer, Park, Buesing, Cunningham & Paninski (2015), arXiv:1511.07367 (block tridiagonal Gaussians as approximations
of paths); Ryder, Golightly, McGough & Prangle (2018), ICML 35, 4423-4432.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .path_joint import JointPath, Parameters
from .path_linear import Corrections, LinearPath
from .path_windows import Layers, noise

KNOTS = 20  # of the drift along the path


class GaussianPath(nn.Module):
    """Draws of whole coordinates, with their log densities; before training the linear model's smoother.

    ``path`` (state, member, time) is the reference; ``layers`` of a flow see parameters whitened by
    ``centre`` (D,) and ``root`` (D, D).
    """

    def __init__(
        self, joint: JointPath, path: Tensor, centre: Tensor, root: Tensor, *, layers: int = 0
    ) -> None:
        super().__init__()
        size = joint.path.size
        self.joint, self.linear = joint, LinearPath(joint.path, path)
        self.noise = nn.Parameter(path.new_zeros(size))
        self.rows = nn.Parameter(path.new_zeros(len(joint.path.form.emissions)))
        self.drift = nn.Parameter(path.new_zeros(size, min(KNOTS, joint.path.steps)))
        self.layers = Layers(joint, path, centre, root, layers) if layers else None

    def forward(self, at: Parameters, u: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Coordinates (state, draw, member, time) given parameters, and log q (draw,). Without a ``generator`` the mean
        path, or what it becomes."""
        law = self.linear.law(at.theta, self.corrections)
        white = noise(law.shape, self.noise, generator)
        log_q = law.log_density(white).sum(-1)
        if self.layers is not None:
            white, log_volume = self.layers(white, u)
            log_q = log_q - log_volume
        return self.linear.placed(law.draw(white), at.theta), log_q

    @property
    def corrections(self) -> Corrections:
        steps = self.joint.path.steps
        drift = interpolate(self.drift[None], steps, mode="linear", align_corners=True)[0]
        return Corrections(self.noise, self.rows, drift)

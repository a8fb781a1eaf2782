"""``method="flow"`` and "laplace" where the path is sampled: q(theta) q(path | theta, rows), trained together.

Modes of parameters and path -> a family of paths around them, a flow of parameters on the scale of the curvature ->
training of both -> importance weights of both together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import nn

from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError, did_you_mean, error
from sbmlang.protocols import ProgressCallback

from .approximate import Fit, require_counts
from .arrays import mapped
from .flow import check_options, given, how_it_ended, trace_of
from .flow_network import Flow
from .importance import Weighted
from .path_gaussian import GaussianPath
from .path_joint import JointPath
from .path_reference import Reference, reference
from .path_target import PathTarget
from .path_windows import WindowPath
from .training import Settings, Training

if TYPE_CHECKING:
    from .program import TorchProgram

Paths = Literal["gaussian", "windows"]
PATHS: dict[str, type[nn.Module]] = {"gaussian": GaussianPath, "windows": WindowPath}
LAYERS = {"gaussian": 0, "windows": 4}
PIECE = 200  # draws whose results are computed together


def run_path_flow(
    program: TorchProgram,
    data: Dataset,
    *,
    draws: int,
    chains: int,
    seed: int,
    progress: ProgressCallback | None = None,
    path: str = "gaussian",
    layers: int | None = None,
    family: str = "spline",
    transforms: int | None = None,
    hidden: tuple[int, ...] = (64, 64),
    bins: int = 8,
    iterations: int = 1000,
    time_limit: float = math.inf,
    batch: int = 8,
    learning_rate: float = 3e-3,
    proposals: int | None = None,
    keep_states: bool | None = None,
) -> xr.DataTree:
    """The posterior of parameters and path, ``draws * chains`` draws, corrected by importance weights of both where these
    allow.

    ``path``: the family of q(path | theta, rows), "gaussian" (``path_gaussian``, a structured Gaussian, with ``layers`` of a
    flow on top, by default none) or "windows" (``path_windows``, with so many ``layers``, by default 4). The other options
    are those of ``flow.run_flow``, of the parameters and the training. ``log_likelihood`` is given the path; ``lp`` is the log
    density of parameters and rows as estimated with the draw's path.

    Raises ``SbmError`` E712, E795, E798 as ``flow.run_flow``, E781 to E783 for a model that this is not for, E784 where
    there is no path to begin with, E785 for another family of paths.
    """
    _require_family(path)
    layers = LAYERS[path] if layers is None else layers
    check_options(family, False, None, time_limit, learning_rate)
    require_counts(iterations=(iterations, 10), batch=(batch, 4), bins=(bins, 2),
                   layers=(layers, 1 if path == "windows" else 0))  # fmt: skip
    joint = JointPath.build(program, data)
    settings = Settings(iterations=iterations, time_limit=time_limit, batch=batch, learning_rate=learning_rate,
                        warmup=50, window=50, falls=2)  # fmt: skip
    shape = {"transforms": transforms, "hidden": tuple(hidden), "bins": bins}
    with Fit.begin(program, data, "flow", draws, chains, seed, progress) as begun:
        begun.say("compile", 0, 1)
        found = reference(joint, seed)
        fit = PathFit.of(begun, found, _family(path, found, layers, seed))
        training = Training(Flow(found.base, family, seed=seed, **shape), settings, fit.generator)  # type: ignore[arg-type]
        fit.meter.mark("train")
        q = training.run(fit.target, fit.watch)
        options = {
            "path": path,
            "layers": layers,
            "family": family,
            **shape,
            **given(settings),
            "proposals": proposals,
        }
        return fit.finished(
            q, options, keep_states=keep_states, training=how_it_ended(training), trace=trace_of(training)
        )


def run_path_laplace(
    program: TorchProgram,
    data: Dataset,
    *,
    draws: int,
    chains: int,
    seed: int,
    progress: ProgressCallback | None = None,
    proposals: int | None = None,
    keep_states: bool | None = None,
) -> xr.DataTree:
    """What ``run_path_flow`` begins with, and no training: the Gaussian at the parameters' mode, the smoother of the model
    linearised around the path's mode, corrected by importance weights of both where these allow.

    Raises ``SbmError`` E712, E781 to E784 as there.
    """
    joint = JointPath.build(program, data)
    with Fit.begin(program, data, "laplace", draws, chains, seed, progress) as begun:
        begun.say("compile", 0, 1)
        found = reference(joint, seed)
        fit = PathFit.of(begun, found, _family("gaussian", found, 0, seed))
        return fit.finished(found.base, {"proposals": proposals}, keep_states=keep_states)


def _require_family(path: str) -> None:
    if path not in PATHS:
        raise SbmError(
            error("E785", f"there is no family of paths '{path}'",
                  help=did_you_mean(path, PATHS) or f"families: {', '.join(PATHS)}")
        )  # fmt: skip


def _family(path: str, found: Reference, layers: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = PATHS[path](found.joint, found.path, found.base.mean, found.base.root, layers=layers)
    return module.to(found.path)


@dataclass(frozen=True, eq=False)
class PathFit(Fit):
    """A fit of parameters and path; its target draws the paths."""

    target: PathTarget

    @staticmethod
    def of(begun: Fit, found: Reference, family: nn.Module) -> PathFit:
        target = PathTarget(
            begun.target.log_density, begun.target.dimension, joint=found.joint, family=family,
            generator=torch.Generator(found.path.device).manual_seed(begun.seed + 4),
        )  # fmt: skip
        target.gradients = found.gradients
        kept = {f.name: getattr(begun, f.name) for f in fields(Fit)}
        return PathFit(**{**kept, "target": target})

    def watch(self, training: Training) -> None:
        """Passes on the learning rate, and tells how training goes."""
        done, settings = len(training.trace), training.settings
        self.target.rate = training.trace.learning_rate[-1]
        elapsed = training.trace.seconds[-1]
        left = min(elapsed / done * (settings.iterations - done), settings.time_limit - elapsed)
        self.say("train", done, settings.iterations, ELBO=training.trace.mean_elbo(done, settings.window)[0],
                 seconds_left_at_most=left)  # fmt: skip

    def _posterior(self, weighted: Weighted, picks: np.ndarray, keep: bool) -> dict[str, Any]:
        """What results tell about the chosen draws, with the paths that were weighed."""
        joint, kept = self.target.joint, self.target.kept
        assert kept is not None
        torch_state = torch.random.fork_rng(devices=[])
        with torch.no_grad(), torch_state:
            torch.manual_seed(self.seed + 2)
            parts = [
                self._piece(joint, torch.as_tensor(weighted.u[here]).to(kept), kept[:, here])
                for here in np.split(picks, range(PIECE, len(picks), PIECE))
            ]
        found = _joined(parts)
        seen = {n: s for n, s in found["states"].items() if not np.isnan(s).all()}
        return found | {"states": seen if keep else {}}

    def _piece(self, joint: JointPath, u: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
        at, s = joint.parameters(u), joint.named(y)
        rows = joint.rows_given(at.c, s)

        def one(c: Any, s: Any) -> Any:
            return self.program.given_path(c, s, joint.arrays)

        drawn, reports = mapped(one)(dict(at.c), dict(s))
        return {"parameters": at.p, "rows": rows, "reports": reports, "observations": drawn, "states": s,
                "ok": torch.isfinite(at.log_prior)}  # fmt: skip


def _joined(parts: list[Any]) -> Any:
    """Pieces of dicts of tensors as one of numpy arrays."""
    if isinstance(parts[0], dict):
        return {n: _joined([p[n] for p in parts]) for n in parts[0]}
    return np.concatenate([p.cpu().numpy() for p in parts])

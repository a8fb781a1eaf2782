"""``program.infer`` by a network: trained on the spot for the design of these data, or taken from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sbmlang.data.dataset import Dataset
from sbmlang.errors import SbmError, error
from sbmlang.protocols import ProgressCallback

from .amortize import amortize
from .apply import posterior, require_correction
from .network import Amortized

if TYPE_CHECKING:
    from xarray import DataTree

    from ..program import TorchProgram


def _by(method: str) -> Any:
    def run(
        program: TorchProgram,
        data: Dataset,
        *,
        draws: int,
        chains: int,
        seed: int,
        progress: ProgressCallback | None = None,
        network: str | Path | Amortized | None = None,
        simulations: int = 10_000,
        correct: str = "auto",
        proposals: int | None = None,
        keep_states: bool | None = None,
        embedding: str = "auto",
        missing: str | float = "auto",
        steps: int | None = None,
        time_limit: float | None = None,
        architecture: Mapping[str, Any] | None = None,
    ) -> DataTree:
        """``chains`` times ``draws`` independent draws of the posterior.

        ``network`` is a trained one, or its file; without it one is trained on ``simulations`` of the design of these
        data. Raises ``SbmError`` E868 for a network of another method, and what training and applying raise.
        """
        require_correction(correct)
        if network is None:
            network = amortize(
                program, method=method, simulations=simulations, designs=data, seed=seed, progress=progress,
                embedding=embedding, missing=missing, network=architecture, steps=steps, time_limit=time_limit,
            )  # fmt: skip
        elif not isinstance(network, Amortized):
            network = Amortized.load(network, program)
        if network.method != method:
            raise SbmError(error("E868", f"the network was trained by method='{network.method}', not '{method}'",
                                 help=f"run with method='{network.method}'"))  # fmt: skip
        return posterior(network, data, draws=draws * chains, correct=correct, seed=seed, proposals=proposals,
                         keep_states=keep_states, progress=progress)  # fmt: skip

    return run


run_npe, run_diffusion, run_flow_matching = map(_by, ("npe", "diffusion", "flow-matching"))

"""A trained network with everything that is needed to use it: what it was trained on, and how it ended."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.data.plain import dataset_of_plain, plain_dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.results.store import write_whole
from sbmlang.results.usual import Usual, unusual

from .conditional import Conditional, Drawn, kind
from .coordinates import PriorCoordinates
from .features import Features
from .identity import differences, digest, parts
from .stored import arrays, tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray import DataTree

    from ..program import TorchProgram

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Amortized:
    """The posterior of one program for any data set of the designs it was trained for.

    ``provenance``, plain values: model text and its path, digest and parts, number of simulations, seed, history of
    training, seconds, versions of libraries. ``names`` are the coordinates that the network gives;
    ``notes`` are warnings from its training, which a saved network has as text in its provenance. ``designs`` (a few of
    those it was trained on) and ``usual`` (a sample of its simulations) serve to check it and the data it is given.
    """

    program: TorchProgram
    method: str
    features: Features
    conditional: Conditional
    names: tuple[str, ...]
    provenance: Mapping[str, Any]
    designs: tuple[Dataset, ...] = ()
    usual: Usual | None = None
    notes: tuple[Diagnostic, ...] = ()

    def coordinates(self, data: Dataset) -> PriorCoordinates:
        """The coordinates for one data set.

        Raises ``SbmError`` E865 where its members give other unknowns than those the network was trained for.
        """
        found = PriorCoordinates(self.program, data)
        if found.dimension != len(self.names):
            raise SbmError(
                error("E865", f"these data have {found.dimension} unknowns, the network was trained for {len(self.names)}",
                      help="the members of an index of a parameter are others: train a network on a design like these data")
            )  # fmt: skip
        return found

    @torch.no_grad()
    def contexts(self, data: Sequence[Dataset]) -> Tensor:
        """Features (m, c) of data sets. Raises what ``Features.encode_data`` raises."""
        return torch.cat([self.features(self.features.encode_data(d)) for d in data])

    def sample(self, data: Dataset, draws: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """z (draws, d) of the network as it is, float64, and their log densities where these are cheap."""
        generator = torch.Generator().manual_seed(seed)
        z, log_q = sampled(self.conditional, self.contexts([data])[0], draws, generator, self.conditional.density_is_cheap)  # fmt: skip
        return z.double(), None if log_q is None else log_q.double()

    def posterior(self, data: Dataset, draws: int = 1000, correct: str = "auto", seed: int = 0, **options: Any) -> DataTree:  # fmt: skip
        """The posterior of one data set; see ``apply.posterior``."""
        from .apply import posterior

        return posterior(self, data, draws=draws, correct=correct, seed=seed, **options)

    def table(self, sites: Mapping[str, Dataset], draws: int = 1000, correct: str = "auto", seed: int = 0, **options: Any) -> DataTree:  # fmt: skip
        """The posteriors of many data sets; see ``table.table``."""
        from .table import table

        return table(self, sites, draws=draws, correct=correct, seed=seed, **options)

    def unusual(self, data: Dataset) -> tuple[Diagnostic, ...]:
        """W890, W891 for data unlike what the network was trained on."""
        return () if self.usual is None else unusual(self.usual, data)

    def describe(self) -> tuple[str, ...]:
        """What it is, a line each."""
        p = self.provenance
        return (
            f"{self.method} of {self.program.model.name}: {len(self.names)} unknowns, {p['simulations']} simulations, "
            f"{p['history']['parameters']} weights",
            *self.features.description,
        )

    @cached_property
    def simulations(self) -> int:
        return int(self.provenance["simulations"])

    # --- files -------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Writes the network; an existing file is replaced at the very end."""
        state = {
            "sbmlang_network": FORMAT,
            "method": self.method,
            "names": list(self.names),
            "provenance": dict(self.provenance),
            "features": self.features.state(),
            "dimension": self.conditional.dimension,
            "context": self.conditional.context,
            "configuration": self.conditional.configuration,
            "weights": self.conditional.state_dict(),
            "designs": tensors([plain_dataset(d) for d in self.designs]),
            "usual": None if self.usual is None else tensors(self.usual.state()),
        }
        return write_whole(path, lambda file: torch.save(state, file))

    @staticmethod
    def load(path: str | Path, program: TorchProgram) -> Amortized:
        """The network in a file, for the program it was trained for.

        Raises ``SbmError``: E863 no such file, or not a network; E864 one of another model or of other priors.
        """
        state = read(path)
        trained, now = state["provenance"]["parts"], parts(program.model)
        if other := differences(trained, now):
            raise SbmError(_other(Path(path), state["provenance"]["model_name"], program.model.name, other))
        conditional = kind(state["method"]).make(
            state["dimension"], state["context"], **state["configuration"]
        )
        try:
            conditional.load_state_dict(state["weights"])
        except RuntimeError:  # other names or shapes of weights
            why = f"its weights are laid out as by another version of sbmlang ({state['provenance']['versions']['sbmlang']})"
            raise SbmError(_unusable(Path(path), why, "train it again with sbm amortize")) from None
        conditional.eval().requires_grad_(False)
        features = Features.of_state(state["features"], program)
        features.eval().requires_grad_(False)
        designs = tuple(dataset_of_plain(d) for d in arrays(state.get("designs", [])))
        usual = None if state.get("usual") is None else Usual.of_state(arrays(state["usual"]))
        return Amortized(program, state["method"], features, conditional, tuple(state["names"]), state["provenance"], designs, usual)  # fmt: skip


def sampled(conditional: Conditional, context: Tensor, count: int, generator: torch.Generator,
            density: bool, wide: bool = False) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Draws of a network, and their log densities if they are wanted; in one pass where it gives both."""
    if density and isinstance(conditional, Drawn):
        return conditional.draws(context, count, generator, wide=wide)
    z = conditional.sample(context, count, generator)
    return z, conditional.log_prob(z, context) if density else None


def read(path: str | Path) -> dict[str, Any]:
    """What is in the file of a network, in plain values and tensors. Raises ``SbmError`` E863."""
    target = Path(path)
    if not target.is_file():
        raise SbmError(_unusable(target, "there is no such file", "sbm amortize writes one"))
    try:
        state: dict[str, Any] = torch.load(target, weights_only=True)
        version = state["sbmlang_network"]
    except (RuntimeError, KeyError, TypeError, EOFError, BadZipFile, pickle.UnpicklingError) as fault:
        why = f"it is not a network of sbmlang ({type(fault).__name__})"
        raise SbmError(_unusable(target, why, "give a file that sbm amortize wrote")) from None
    if version > FORMAT:
        raise SbmError(_unusable(target, "it was written by a newer sbmlang", "update sbmlang"))
    return state


def provenance(program: TorchProgram, **more: Any) -> dict[str, Any]:
    """What a network says about where it is from, with ``more``."""
    from importlib.metadata import version

    model = program.model
    names = ("sbmlang", "torch", "zuko", "numpy")
    return {
        "model_name": model.name, "model_text": model.text, "model_path": model.path, "digest": digest(model),
        "parts": parts(model), "versions": {n: version(n) for n in names}, **more,
    }  # fmt: skip


def _unusable(path: Path, why: str, advice: str) -> Diagnostic:
    return error("E863", f"'{path.name}' cannot be used: {why}", place=str(path), help=advice)


def _other(path: Path, trained: str, now: str, other: list[str]) -> Diagnostic:
    shown = [text if len(text) < 160 else f"{text[:150]} ..." for text in other[:4]]
    more = [f"and {len(other) - 4} more"] if len(other) > 4 else []
    about = "another model" if trained != now else "another state of this model"
    if any("emulator_error" in text for text in other):  # an unknown that emulators bring with them
        more.append(
            "a network that was trained on an emulator is used with it, and only then: --emulator FILE"
        )
    return error(
        "E864", f"'{path.name}' was trained on {about} ('{trained}')", place=str(path),
        help=(*shown, *more, "train a network on this model, or apply this one to the model it belongs to"),
    )  # fmt: skip

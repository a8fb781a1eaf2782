"""Trainings in files: written whole or not at all, taken up only by the run they belong to."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.results.store import write_whole

if TYPE_CHECKING:
    from .program import TorchProgram


def fingerprint(program: TorchProgram, data: Dataset, options: Mapping[str, Any]) -> dict[str, str]:
    """What must be the same for a training to be taken up, each as a text that changes with it."""
    digest = sha256()
    for name, channel in sorted(data.channels.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(channel.time, float).tobytes())
        digest.update(np.ascontiguousarray(channel.value, float).tobytes())
    return {
        "model": sha256(program.source.encode()).hexdigest(),
        "data": digest.hexdigest(),
        "options": repr(sorted(options.items())),
    }


def save(path: Path, state: Mapping[str, Any], belongs_to: Mapping[str, str]) -> None:
    """Writes a training's state; an existing file is replaced at the very end."""
    write_whole(path, lambda file: torch.save({"belongs_to": dict(belongs_to), "state": dict(state)}, file))


def load(path: Path, belongs_to: Mapping[str, str]) -> dict[str, Any]:
    """The state in a checkpoint.

    Raises ``SbmError`` E796: no such file, not a checkpoint, or one of another model, data or options.
    """
    if not path.is_file():
        raise SbmError(_cannot(path, "there is no such file", "leave resume away to begin anew"))
    try:
        kept = torch.load(path, weights_only=True)
        found, state = kept["belongs_to"], kept["state"]
    except (RuntimeError, KeyError, TypeError, EOFError, BadZipFile, pickle.UnpicklingError) as fault:
        raise SbmError(
            _cannot(
                path, f"it is not a checkpoint ({type(fault).__name__})", "give a file that checkpoint= wrote"
            )
        ) from None
    for what, text in belongs_to.items():
        if found.get(what) != text:
            raise SbmError(
                _cannot(path, f"it was written with other {what}" if what != "model" else "it belongs to another model",
                        "run with the model, data and options of that training, or leave resume away")
            )  # fmt: skip
    resumed: dict[str, Any] = state
    return resumed


def _cannot(path: Path, why: str, advice: str) -> Diagnostic:
    return error(
        "E796", f"the training in '{path.name}' cannot be taken up: {why}", place=str(path), help=advice
    )

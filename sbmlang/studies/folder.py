"""Where an interrupted study is found again: one small file per finished replication, in a folder beside the output.

Each file appears whole or not at all, so a study can be stopped at any moment and gone on with by the same command.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sbmlang.errors import SbmError, error
from sbmlang.results.store import write_whole
from sbmlang.results.tree import plain
from sbmlang.studies.replication import Record

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset

STUDY = "study.json"


def folder_of(output: Path) -> Path:
    """``sbc.replications`` beside ``sbc.nc``."""
    return output.with_suffix(".replications")


class Folder:
    """The finished replications of one study."""

    def __init__(self, path: Path, study: Mapping[str, Any]):
        """Opens the folder, made where there is none.

        Raises ``SbmError`` E821 where it holds replications of another study, E822 where it cannot be read.
        """
        self.path, self.study = path, plain(study)
        self._open()

    def _open(self) -> None:
        about = self.path / STUDY
        if about.exists():
            found = _read(about)
            differs = [k for k in {**found, **self.study} if found.get(k) != self.study.get(k)]
            if differs:
                raise SbmError(_other_study(self.path, differs, found, self.study))
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise SbmError(
                error("E822", f"the folder '{self.path}' cannot be made: {fault.strerror}", place=str(self.path),
                      help="it is where an interrupted study is found again; choose an output elsewhere")
            ) from None  # fmt: skip
        _write(about, self.study)

    def records(self) -> dict[int, Record]:
        """What is there already, by number."""
        found = (Record.of(_read(p)) for p in sorted(self.path.glob("[0-9]*.json")))
        return {r.number: r for r in found}

    def add(self, record: Record) -> None:
        """Writes a finished replication."""
        _write(self.path / f"{record.number:06d}.json", record.plain())


def fingerprint(design: Dataset) -> str:
    """A digest of everything in a design but its values."""
    digest = hashlib.sha256()

    def add(name: str, *arrays: Any) -> None:
        digest.update(name.encode())
        for a in arrays:
            digest.update(np.ascontiguousarray(a).tobytes())

    add(json.dumps(plain(design.labels), sort_keys=True), design.grid)
    for name, c in design.channels.items():
        add(name, c.time, *c.index.values(), *c.start.values())
    for name, f in design.forcings.items():
        add(name, f.time, f.value)
    for name, v in design.covariates.items():
        add(name, v)
    return digest.hexdigest()[:16]


def _other_study(path: Path, differs: list[str], found: Mapping[str, Any], asked: Mapping[str, Any]) -> Any:
    def told(name: str) -> str:
        before, now = (str(x.get(name, "not given")) for x in (found, asked))
        return f"{name} was {before}, now {now}" if max(len(before), len(now)) < 40 else f"{name} has changed"

    return error(
        "E821",
        f"'{path.name}' holds replications of another study: {'; '.join(map(told, differs))}",
        place=str(path),
        help=("an interrupted study goes on only with the same model, design and options (more replications are fine)",
              "write to another file with -o, or remove the folder to begin anew"),
    )  # fmt: skip


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise SbmError(
            error("E822", f"'{path.name}' is not what a study has written: {fault}", place=str(path),
                  help="remove that file: its replication is then done again")
        ) from None  # fmt: skip


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=None, separators=(",", ":")).encode()
    write_whole(path, lambda file: file.write(text))

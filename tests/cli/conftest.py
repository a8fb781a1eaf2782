"""A starter project to stand in, and a way to run commands in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sbmlang.cli.app import run
from sbmlang.cli.starter import write


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


Sbm = Callable[..., Ended]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fresh starter project; the test runs inside it."""
    folder = tmp_path / "decay"
    write(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def sbm(project: Path, capsys: pytest.CaptureFixture[str]) -> Sbm:
    """Runs a command in the project: ``sbm("check", "model.sbm")``."""

    def ended(*arguments: str) -> Ended:
        capsys.readouterr()
        return Ended(run(list(arguments)), *capsys.readouterr())

    return ended

"""Whole transcripts of what users see: `sbm check` of bad models, the compiled form of good ones.

To accept new transcripts run ``SBM_GOLDEN_UPDATE=1 pytest tests/test_golden.py`` and read the difference in
version control; nothing else ever writes them.
"""

import os
from pathlib import Path

import pytest

from sbmlang.cli.app import run

GOLDEN = Path(__file__).parent / "golden"
BAD = sorted((GOLDEN / "bad").glob("*.sbm"))
GOOD = sorted((GOLDEN / "good").glob("*.sbm"))


def compare(transcript: str, path: Path) -> None:
    if os.environ.get("SBM_GOLDEN_UPDATE"):
        path.write_text(transcript, "utf-8")
    assert path.is_file(), f"no transcript: see the docstring of {Path(__file__).name}"
    assert transcript == path.read_text("utf-8")


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code, and all that a command prints: messages first."""
    code = run(arguments)
    out, err = capsys.readouterr()
    return code, err + out


@pytest.mark.parametrize("model", BAD, ids=lambda p: p.stem)
def test_bad(model, monkeypatch, capsys):
    monkeypatch.chdir(model.parent)
    code, transcript = printed(["check", model.name], capsys)
    assert code == (0 if model.stem.startswith("warning") else 1)
    assert "Traceback" not in transcript
    compare(transcript, model.with_suffix(".txt"))


@pytest.mark.parametrize("model", GOOD, ids=lambda p: p.stem)
def test_good(model, monkeypatch, capsys):
    monkeypatch.chdir(model.parent)
    assert printed(["check", model.name], capsys) == (0, f"{model.name}: ok\n")
    code, transcript = printed(["show", model.name, "--after", "stages"], capsys)
    assert code == 0
    compare(transcript, model.with_suffix(".txt"))


def test_every_transcript_has_its_model():
    assert len(BAD) >= 60
    assert len(GOOD) >= 30
    transcripts = {p.with_suffix(".sbm") for p in GOLDEN.glob("*/*.txt")}
    assert transcripts == {*BAD, *GOOD}

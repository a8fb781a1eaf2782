"""Every code of sbmlang has an entry in the catalogue, and every example there does what it says."""

import contextlib
import re
import shlex
import warnings
from pathlib import Path

import pytest

import sbmlang as sbm
from sbmlang.cli.app import run
from sbmlang.codes import Entry, Example, catalogue
from sbmlang.driver import examine
from sbmlang.errors import SbmError
from sbmlang.source import Source

ROOT = Path(__file__).parents[1]

# Examples that no test can provoke in a moment, and why. Another test must still name each of these codes.
NOT_RUN = {
    "E653": "needs a user who may not write; the administrator may everywhere",
    "E654": "needs a full disk",
    "E717": "needs a run that was stopped",
    "E702": "needs an installation without the backend's package",
    **dict.fromkeys(
        ["W701", "W702", "W703", "W704", "W705", "W706", "W707", "W708", "W709", "W710"],
        "needs a sampler's run that went wrong",
    ),
    **dict.fromkeys(["W721", "W722"], "needs draws of a stiff model that fail"),
    **dict.fromkeys(["W880", "W881"], "needs a fit on an emulator; tests/emulation runs one"),
    "E823": "needs an installation without dask",
    "E824": "needs seconds of waiting for a scheduler that is not there",
    "E832": "needs a sampled path of a model without a filter",
    "E833": "needs a fit with forcings",
    **dict.fromkeys(["W820", "W821", "W822"], "needs an engine that fails"),
    **dict.fromkeys(["W830", "W831"], "needs a fit by another engine"),
    "E854": "needs an installation without zarr",
    "E805": "needs an installation without the packages of comparisons",
    "E808": "needs a port that is taken",
    **dict.fromkeys(
        ["W793", "W795", "W796", "W797", "W799"], "needs an approximation of a posterior that went wrong"
    ),
    **dict.fromkeys(["E890", "E891", "E892", "E893"], "needs a trained network"),
    **dict.fromkeys(["W861", "W863"], "needs a network that is far from a posterior"),
    "W740": "needs a home folder that cannot be written",
    **dict.fromkeys(["W741", "W742"], "needs an installation whose parts do not fit"),
}
# Of these, what no test can provoke at all.
NEVER_PROVOKED = {"E717", "W721", "W722"}
SLOW = {
    *("E884", "E887", "E889", "W882"),
    *("E821", "E830", "E831", "E835"),
    *("E801", "E802", "E803", "E804", "E806", "E807", "W801", "W802", "W803"),
    "E760",
    "E707",
    "E712",
    "E713",
    "E714",
    "E715",
    "E718",
    "E735",
    "E737",
    "E738",
    "E739",
}  # their mended examples sample a posterior

# A code that cannot come without another.
NEVER_ALONE = {"E119": ["E103"], "E857": ["E640"]}
_LITERAL = re.compile(r'"([EW]\d{3})"')


def sources(*folders: str) -> dict[Path, str]:
    return {p: p.read_text("utf-8") for f in folders for p in (ROOT / f).rglob("*.py")}


def pairs(entry: Entry) -> list[tuple[Example, Example]]:
    """Failing examples, each with the mended one that follows it."""
    examples = entry.examples
    assert [x.role for x in examples] == ["Failing", "Mended"] * (len(examples) // 2), entry.code
    return list(zip(examples[::2], examples[1::2], strict=True))


CASES = [
    pytest.param(
        entry.code,
        failing,
        mended,
        id=f"{entry.code}-{k}" if k else entry.code,
        marks=[pytest.mark.slow] if entry.code in SLOW else [],
    )
    for entry in catalogue().values()
    if entry.code not in NOT_RUN
    for k, (failing, mended) in enumerate(pairs(entry))
]


def test_the_catalogue_has_every_code_and_no_other():
    used = {code for text in sources("sbmlang", "backends").values() for code in _LITERAL.findall(text)}
    assert sorted(catalogue()) == sorted(used)


def test_entries_are_complete_and_in_order():
    errors = [c for c in catalogue() if c.startswith("E")]
    assert list(catalogue()) == sorted(errors) + sorted(set(catalogue()) - set(errors))
    for entry in catalogue().values():
        assert pairs(entry), f"{entry.code} has no example"
        assert 20 < len(entry.text.split("Failing")[0].strip()) < 600, entry.code
        assert all(x.kind in ("sbm", "python", "sh") for x in entry.examples), entry.code
        assert not re.search("^# ", re.sub("```.*?```", "", entry.text, flags=re.S), re.M), entry.code


def test_what_is_not_run_here_is_provoked_elsewhere():
    assert set(NOT_RUN) <= set(catalogue())
    others = "".join(t for p, t in sources("tests").items() if p != Path(__file__))
    assert [code for code in NOT_RUN if code not in others and code not in NEVER_PROVOKED] == []


@pytest.mark.parametrize(("code", "failing", "mended"), CASES)
def test_example(code, failing, mended, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given: dict[str, object] = {"sbm": sbm}
    assert relevant(codes(failing, given, capsys), code) == [*NEVER_ALONE.get(code, []), code]
    assert relevant(codes(mended, given, capsys), code) == []


def relevant(found: list[str], code: str) -> list[str]:
    """Errors, and the warning that an entry is about; other warnings do not matter in a short example."""
    return [c for c in found if c.startswith("E") or c == code]


def codes(example: Example, given: dict[str, object], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The distinct codes that an example gives."""
    match example.kind:
        case "sbm":
            return of_text(example.text)
        case "python":
            return of_python(example.text, given)
        case _:
            return of_commands(example.text, capsys)


def of_text(text: str) -> list[str]:
    """Codes that `sbm check` gives for a model text."""
    return sorted({d.code for d in examine(Source("model.sbm", text)).diagnostics})


def of_python(text: str, given: dict[str, object]) -> list[str]:
    """Codes of what the block raises, or of the warnings that it calls ``notes``."""
    given["notes"] = ()
    try:
        with warnings.catch_warnings(action="ignore"):
            exec(compile(text, "<example>", "exec"), given)
    except SbmError as problem:
        return sorted(set(problem.codes))
    return sorted({d.code for d in given["notes"]})  # type: ignore[attr-defined]


def of_commands(text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Codes in what the last command prints; those before it must succeed."""
    *before, last = (shlex.split(line) for line in text.splitlines())
    for command in before:
        assert run(command[1:]) == 0
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        run(last[1:])
    return sorted(set(re.findall(r"^(?:error|warning) (\w+):", capsys.readouterr().err, re.M)))

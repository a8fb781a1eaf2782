"""What README and the other pages show is what the program does."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from sbmlang.cli.app import run
from sbmlang.driver import analyse, loads
from sbmlang.ir import show
from sbmlang.passes import pipeline
from sbmlang.source import Source

ROOT = Path(__file__).parents[2]
INCUBATION = ROOT / "examples" / "incubation"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "examples").rglob("*.md"))
FITS = ("run", "summary", "plot")
CHEAP = {"run": ["--draws", "20", "--warmup", "20", "--chains", "1"], "priors": ["--draws", "20"]}


def blocks(path: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_models_on_a_page_pass_the_check(path):
    whole = [b for b in blocks(path, "sbm") if b.startswith("model ")]
    if path.name == "language.md":
        return  # one model in fragments, see test_language
    for text in whole:
        assert not analyse(Source(str(path), text)).diagnostics


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_readme_shows_the_model_of_the_example():
    assert (INCUBATION / "model.sbm").read_text("utf-8").strip() in [
        b.strip() for b in blocks(ROOT / "README.md", "sbm")
    ]


def test_readme_shows_the_diagram_as_it_is_drawn(tmp_path):
    assert run(["show", str(INCUBATION / "model.sbm"), "--graph", str(tmp_path / "pools.svg")]) == 0
    assert (tmp_path / "pools.svg").read_text() == (ROOT / "docs" / "incubation.svg").read_text()


def test_readme_shows_the_error_as_it_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text("utf-8")
    right = re.search(r"`(init F\[soil\] = .*?)`", readme)
    assert right is not None
    text = (INCUBATION / "model.sbm").read_text("utf-8")
    assert right[1] in text
    (tmp_path / "model.sbm").write_text(text.replace(right[1], right[1].removesuffix("*C0[soil]")))
    assert run(["check", "model.sbm"]) == 1
    assert f"```\n{capsys.readouterr().err.strip()}\n```" in readme


def tour(tmp_path, monkeypatch) -> list[list[str]]:
    """The commands of README, and what they need in the current folder."""
    for name in ("model.sbm", "respiration.csv"):
        shutil.copy(INCUBATION / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("sbm ")]
    assert len(commands) >= 10
    return commands


def test_readme_commands_on_the_model_work(tmp_path, monkeypatch, capsys):
    commands = [c for c in tour(tmp_path, monkeypatch) if c[0] not in ("simulate", *FITS)]
    assert {c[0] for c in commands} == {"check", "show", "priors", "compile", "cite"}
    for command in commands:
        assert run([*command, *CHEAP.get(command[0], [])]) == 0, (command, capsys.readouterr().err)
    assert (tmp_path / "pools.svg").exists() and (tmp_path / "program.py").exists()


@pytest.mark.slow
def test_readme_commands_that_simulate_and_fit_work(tmp_path, monkeypatch, capsys):
    commands = [c for c in tour(tmp_path, monkeypatch) if c[0] in ("simulate", *FITS)]
    assert {c[0] for c in commands} == {"simulate", *FITS}
    for command in commands:
        assert run([*command, *CHEAP.get(command[0], [])]) == 0, (command, capsys.readouterr().err)
    for name in ("simulated.nc", "fit.nc", "figures/fit_respired.png"):
        assert (tmp_path / name).stat().st_size > 1000, name


def test_commands_with_their_options_exist():
    """Commands that pages only mention are commands of the program, with options that it has."""
    from typer.main import get_command

    from sbmlang.cli.app import COMMANDS, app

    group = get_command(app)
    known = {n: {o for p in c.params for o in p.opts} | {"--help"} for n, c in group.commands.items()}
    assert set(known) == set(COMMANDS)
    for path in PAGES:
        for name, rest in re.findall(r"`sbm (\w+)([^`\n]*)`", path.read_text("utf-8")):
            assert name in known, (path, name)
            assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= known[name], (path, name, rest)


@pytest.mark.parametrize("inference", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_python_page_runs(tmp_path, monkeypatch, inference):
    monkeypatch.chdir(tmp_path)
    before, heading, after = (
        (ROOT / "docs" / "python.md").read_text("utf-8").partition("## Simulation and inference")
    )
    assert heading and "draws=1000, chains=4" in after
    cheap = after.replace("draws=1000, chains=4", "draws=30, warmup=30, chains=1")
    (tmp_path / "page.md").write_text(before + cheap if inference else before)
    exec("\n".join(blocks(tmp_path / "page.md", "python")), {})
    assert (tmp_path / "fit.nc").exists() == inference


def test_readme_python_says_what_the_python_page_says():
    """The short program of README uses nothing that the page does not explain."""
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    for call in re.findall(r"\b((?:sbm|model|program)\.\w+)\(", blocks(ROOT / "README.md", "python")[0]):
        assert f"{call}(" in page


def test_passes_are_shown_as_they_are():
    page = ROOT / "docs" / "passes.md"
    model = loads(blocks(page, "sbm")[0])
    shown = [p.name for p in pipeline.PASSES if blocks(page, p.name)]
    assert shown == ["lower", "steady", "windows", "stages"]
    for name in shown:
        assert blocks(page, name)[0].strip() == show.text(pipeline.after(model.checked, name)).strip()
    assert re.findall(r"\*\*(\w+)\*\*", page.read_text("utf-8")) == [p.name for p in pipeline.PASSES]

"""Starting is quick, and help says what there is."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from sbmlang import __version__
from sbmlang.cli.app import COMMANDS


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def test_importing_sbmlang_takes_no_time():
    """At most 0.15 s more than Python itself; the best of a few, since other work goes on."""
    bare = min(seconds("pass") for _ in range(4))
    assert min(seconds("import sbmlang") for _ in range(4)) - bare < 0.15


def test_help_lists_the_commands_in_their_order(sbm):
    ended = sbm("--help")
    assert ended.code == 0
    assert re.findall(r"^  ([a-z]+)  ", ended.out.split("Commands:")[1], re.MULTILINE) == list(COMMANDS)
    assert "..." not in ended.out.split("Commands:")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(sbm, command):
    ended = sbm(command, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"Usage: sbm {command}")
    options = re.findall(r"^  (?:-\w, )?--([\w-]+) .*$", ended.out, re.MULTILINE)
    assert all(re.search(rf"--{o} .*\S", ended.out) for o in options)


def test_version(sbm):
    assert sbm("--version").out == f"sbmlang {__version__}\n"


def test_a_fault_of_our_own_says_so(sbm, monkeypatch):
    monkeypatch.setattr("sbmlang.cli.models.examine", lambda source: 1 / 0)
    ended = sbm("check", "model.sbm")
    assert ended.code == 70
    assert "ZeroDivisionError" in ended.err and "fault of sbmlang" in ended.err


@pytest.mark.slow
def test_a_new_project_does_what_its_readme_says(sbm, project):
    """The commands of the starter's README in their order, with few draws."""
    shown = re.findall(r"^sbm (.*?)(?: +#.*)?$", (project / "README.md").read_text(), re.MULTILINE)
    assert [line.split()[0] for line in shown] == ["check", "show", "run", "summary", "plot"]
    for line in shown:
        few = ["--draws", "200", "--chains", "2"] if line.startswith("run") else []
        ended = sbm(*line.split(), *few)
        assert ended.code == 0, ended.err
    assert (project / "figures" / "fit_co2.png").exists()

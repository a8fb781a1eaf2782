"""Comparing and viewing fits from the command line."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from sbmlang.cli.compare import named, server
from sbmlang.errors import SbmError

MODEL = """model level
time t [day] step 1 [day]
param s ~ LogNormal(median=0.3, sigma=0.5)
state x
next x ~ Normal(x, s)
init x ~ Normal(0, 1)
observe y ~ Normal(x, 0.5)
"""
DATA = "t,y\n0,0.1\n1,0.4\n2,-0.2\n3,0.3\n4,0.5\n5,0.2\n"


@pytest.fixture
def fit(sbm, project: Path) -> str:
    (project / "level.sbm").write_text(MODEL)
    (project / "level.csv").write_text(DATA)
    (project / "later.csv").write_text("t,y\n6,0.1\n7,0.3\n")
    ended = sbm(
        "run",
        "level.sbm",
        "--data",
        "level.csv",
        "--chains",
        "2",
        "--draws",
        "100",
        "--warmup",
        "100",
        "-o",
        "fit.nc",
    )
    assert ended.code == 0, ended.err
    return "fit.nc"


def test_two_fits_are_compared_reported_and_viewed(sbm, project, fit):
    ended = sbm("compare", f"nuts={fit}", f"again={fit}", "--holdout", "later.csv", "--report", "report.html")
    assert ended.code == 0, ended.err
    assert "again against nuts" in ended.out and "held-out rows" in ended.out
    assert "gradients" in ended.out  # the cost is in the file
    assert re.search("again (agrees with nuts|and nuts do not differ)", ended.out.split("\nverdict")[1])
    assert "<svg" in (project / "report.html").read_text("utf-8")

    seen = sbm("compare", f"nuts={fit}", f"again={fit}", "--holdout", "level.csv")
    assert seen.code == 1 and "E807" in seen.err

    viewed = sbm("view", fit, "--output", "page.html")
    assert viewed.code == 0, viewed.err
    assert "Plotly" in (project / "page.html").read_text("utf-8")


def test_one_fit_is_refused(sbm, project):
    ended = sbm("compare", "fit.nc")
    assert ended.code == 1 and "E801" in ended.err


def test_a_report_that_cannot_be_written_is_refused_first(sbm, project):
    ended = sbm("compare", "a.nc", "b.nc", "--report", "nowhere/report.html")
    assert ended.code == 1 and "E651" in ended.err


def test_names_come_from_files_or_are_given():
    assert named(["nuts.nc", "one/flow.nc"]) == {"nuts": Path("nuts.nc"), "flow": Path("one/flow.nc")}
    assert named(["one/fit.nc", "two/fit.nc"]) == {
        "one/fit": Path("one/fit.nc"),
        "two/fit": Path("two/fit.nc"),
    }
    assert named(["a=one/fit.nc", "two/fit.nc"]) == {"a": Path("one/fit.nc"), "fit": Path("two/fit.nc")}


def test_a_name_is_given_once():
    with pytest.raises(SbmError) as problem:
        named(["a=one.nc", "a=two.nc"])
    assert problem.value.diagnostics[0].code == "E801"


def test_the_page_is_served_to_this_machine_only():
    serving = server(b"<p>here</p>")
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        host, port = serving.server_address[:2]
        assert host == "127.0.0.1"
        with urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.read() == b"<p>here</p>"
        with pytest.raises(HTTPError) as missing:
            urlopen(f"http://127.0.0.1:{port}/etc/passwd")
        assert missing.value.code == 404
        missing.value.close()
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()


def test_a_port_that_is_taken_is_said():
    with server(b"") as first, pytest.raises(SbmError) as problem:
        server(b"", first.server_address[1])
    assert problem.value.diagnostics[0].code == "E808"

"""The pages: whole in themselves, and drawn by a browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sbmlang.errors import SbmError
from sbmlang.results.compare import compare
from sbmlang.results.compare_holdout import Prediction
from sbmlang.results.view import view

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


@pytest.fixture
def found(pair):
    rows = pair(1)["observed_data"]["y"]
    from sbmlang.data.dataset import Channel

    held = {"y": Channel(np.arange(5.0), rows.values[:5], {}, {})}
    draws = np.random.default_rng(1).normal(size=(100, 5))
    told = {"wall_s": 10.0, "compile_s": 2.0, "sampling_s": 4.0}
    return compare(
        {"nuts": pair(1, attrs={"cost": told}), "flow <b>": pair(2, scale=(0.7, 1), attrs={"cost": told})},
        predictions={"nuts": Prediction({"y": draws}, held)},
    )


def dom(page: Path) -> str:
    """The document after its scripts have run, without any network."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
               "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def loaded_from_elsewhere(html: str) -> list[str]:
    """What a browser would fetch: scripts, styles, pictures, fonts."""
    without_library = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    return re.findall(
        r"(?:src|href|xlink:href)=[\"'](?!#)([^\"']*)|url\([\"']?(?!#|\")([^)\"']*)|@import", without_library
    )


def test_the_report_is_one_file_with_every_section(found, tmp_path):
    html = found.to_html(tmp_path / "report.html").read_text("utf-8")
    assert loaded_from_elsewhere(html) == []
    for section in ("verdict", "fits", "agreement", "trust", "prediction", "cost"):
        assert f'id="{section}"' in html
    assert html.count("<svg") == 6 + 0  # forest, margins, ranks, pairs, held-out rows, cost
    assert "underestimates the sd of a by 3" in html


def test_names_are_text_and_no_markup(found, tmp_path):
    html = found.to_html(tmp_path / "report.html").read_text("utf-8")
    assert "flow &lt;b&gt;" in html and "flow <b>" not in html


def test_the_report_of_fits_that_cannot_be_compared_says_so(pair, tmp_path):
    html = (
        compare({"x": pair(1), "y": pair(2, text="another")}).to_html(tmp_path / "r.html").read_text("utf-8")
    )
    assert "fit of another model" in html and 'id="agreement"' not in html and 'id="cost"' in html


def test_the_report_prints_all_its_tables_as_text(found):
    text = str(found)
    for title in (
        "the fits",
        "against nuts",
        "what the fits say",
        "held-out rows",
        "posterior predictive checks",
        "cost",
        "verdict",
    ):
        assert title in text


def test_a_missing_package_is_said(found, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SbmError) as problem:
        found.to_html(tmp_path / "report.html")
    assert problem.value.diagnostics[0].code == "E805" and "sbmlang[compare]" in str(problem.value)
    assert not (tmp_path / "report.html").exists()


def test_the_view_loads_nothing(incubation):
    html = view(incubation.tree())
    assert loaded_from_elsewhere(html) == []
    for section in ("summary", "fit", "states", "marginals", "traces", "pairs", "model"):
        assert f'id="{section}"' in html
    assert "CO2, clay" in html and "k[loam]" in html


def test_a_model_text_cannot_break_out_of_the_page(pair):
    html = view(pair(1, text="param a ~ Normal(0, 3)  # </script><script>alert(1)</script>\n"))
    assert "<script>alert" not in html


def test_gaps_are_gaps_and_no_numbers(incubation):
    tree = incubation.tree()
    tree["posterior_predictive"]["CO2"].values[..., 0] = np.nan
    assert "NaN" not in re.sub(r"<script>.*?</script>", "", view(tree), flags=re.S)


def test_a_simulation_cannot_be_viewed(pair):
    with pytest.raises(SbmError) as problem:
        view(pair(1).drop_nodes("posterior"))
    assert problem.value.diagnostics[0].code == "E802"


@needs_browser
def test_a_browser_draws_every_figure_of_the_view(incubation, tmp_path):
    page = tmp_path / "view.html"
    page.write_text(view(incubation.tree()), "utf-8")
    shown = dom(page)
    assert 'data-drawn="5"' in shown  # fit, states, marginals, traces, pairs
    assert shown.count('class="main-svg"') >= 5


@needs_browser
def test_a_browser_shows_the_report(found, tmp_path):
    shown = dom(found.to_html(tmp_path / "report.html"))
    assert "Comparison of 2 fits" in shown and shown.count("<svg") == 6

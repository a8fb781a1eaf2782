"""The language reference is true: its fragments are one model that checks, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sbmlang.driver import analyse, loads
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.library.functions import FUNCTIONS, REDUCTIONS, WINDOWS
from sbmlang.source import Source
from sbmlang.syntax.statements import LATER, STATEMENTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "language.md").read_text("utf-8")


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def fragments(text: str) -> list[str]:
    """Those of the model of the page, and whole models of their own."""
    return blocks(text, "sbm") + blocks(text, "sbm model")


def section(title: str) -> str:
    return re.split(r"^##+ ", TEXT.split(f"# {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_fragments_are_one_model():
    model = loads("\n".join(blocks(TEXT, "sbm")), "docs/language.md")
    assert not [d for d in model.diagnostics if d.code != "W201"]


@pytest.mark.parametrize("text", blocks(TEXT, "sbm model"), ids=lambda text: text.split()[1])
def test_the_other_models_are_right(text):
    assert not loads(text, "docs/language.md").diagnostics


@pytest.mark.parametrize("keyword", STATEMENTS)
def test_every_statement_has_a_form_and_an_example(keyword):
    text = section(keyword)
    assert all(line.startswith(keyword) for line in blocks(text, "text")[0].splitlines())
    assert any(line.startswith(keyword) for block in fragments(text) for line in block.splitlines())


@pytest.mark.parametrize("name", sorted(set(DISTRIBUTIONS) - {"LKJ"}))
def test_every_distribution_stands_with_its_forms(name):
    (row,) = re.findall(rf"^\| {name} \| (.*?) \|", section("Distributions"), re.MULTILINE)
    assert re.findall(r"`(.*?)`", row) == [str(form) for form in DISTRIBUTIONS[name].forms]


def test_every_function_is_named():
    named = set(re.findall(r"`(\w+)", section("Expressions") + section("Windows")))
    assert not {*FUNCTIONS, *REDUCTIONS, *WINDOWS, "rate"} - named


def test_what_is_missing_is_said_and_answered():
    text = section("Not in this version")
    for word in LATER:
        assert f"`{word}`" in text
    for keyword in LATER:
        found = analyse(Source("x", f"model m\n{keyword} S = 1\n")).diagnostics
        assert [d.code for d in found] == ["E190"], keyword


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("const c = log(2 [day])", "E308"),
        ("const c = 1 [day] + 1 [gram]", "E301"),
        ("const c = 0.1 [1/degC]", "E303"),
        ("const c [day] = 2 [gram]", "E305"),
        ("const a = b\nconst b = a", "E211"),
    ],
)
def test_what_the_page_calls_an_error_is_one(text, code):
    assert [d.code for d in analyse(Source("x", f"model m\n{text}\n")).diagnostics] == [code]


@pytest.mark.parametrize(
    "text",
    ["const c [hour] = 3", "const c [hour] = 1 [day]", "const c [K] = 20 [degC]", "const c [day] = 0", "const ΔT = 2",
     "const step = 2", "const c [kg m-2 s-1] = 1", "const c [m^(1/2)] = 1", "const c [%] = 5"],
)  # fmt: skip
def test_what_the_page_allows_is_allowed(text):
    assert analyse(Source("x", f"model m\n{text}\n")).model is not None


def test_a_day_is_24_hours():
    from sbmlang.ir import Ref

    model = loads("model m\ntime t [hour]\nconst c [hour] = 1 [day]\nreport r = c/(1 [hour])")
    (definition,) = [d for d in model.checked.definitions if d.name == "c"]
    assert float(definition.expr) == 24
    assert model.checked.reports[0].expr == Ref("c")

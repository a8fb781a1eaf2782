"""For any text whatever: diagnostics, never an exception, and soon."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbmlang.errors import SbmError, render
from sbmlang.source import Source
from sbmlang.syntax import parse, parse_unit

MODEL = """model scon "soil carbon"
unit gC, gsoil
time t [hour] step 1 [hour] from 0 to 10 [hour] forcing at end
index layer = 1..3   # depth
index site = {a, b}
const T_ref = 283 [K]
data bd[site] [gsoil/cm^3] column "bulk density"
forcing temp = T_ref + 5 [K] * sin(2*pi*t/(365 [day])) "soil temperature"
forcing I_D [mgC/gsoil/hour] from data (linear)
param u_M [1/hour] ~ LogitNormal(median=0.0016, sd=0.0004, lower=0, upper=0.1) "uptake"
param (p, q [1/day]) ~ MvNormal(mean=[1, 2], cov=[[1, 0], [0, 1]])
fn arrhenius(k, Ea) = k * exp(-Ea/R * (1/temp - 1/T_ref))
let k_S[layer] = if 0 < temp and not layer == 2 then arrhenius(u_M, p) else 2^-3
state S[layer] [mgC/gsoil] >= 0 enforced "carbon"
sink CO2
flux decay[layer]: S[layer] -> a*S[layer+1] + (1 - a)*CO2 at k_S[layer]*S[layer]
d D/dt = -D + integral(temp, since last)
init S[layer] ~ Normal(20*steady(S, temp=T_ref), 2)
observe R [mgC/gsoil/hour] column "CO2" ~ Normal(mean(rate(CO2), past 24 [hour]), 0.1) "flux"
report total = sum(S[layer], layer)
"""


def check(text):
    found, problems = parse(Source("m.sbm", text))
    assert all(p.code.startswith("E1") and render(p) for p in problems)
    for statement in found.statements:
        assert 0 <= statement.span.start < statement.span.end <= len(text)
    return found, problems


def test_the_model_is_sound():
    found, problems = check(MODEL)
    assert problems == () and len(found.statements) == 21


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text(text):
    check(text)


PIECES = st.sampled_from(
    [*"()[]{}=~+-*/^,.:;<>#'\" \n\t", "1", "2.5", "..", "->", "==", "let ", "\nlet ", "param ", "d ", "if ",
     "then ", "at ", "from data ", "next ", "unit ", "time ", "since last", "past 2", "interval",
     "\nnoise ", "x", "noise", "µ"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_row_of_words(text):
    check(text)


CHANGES = st.tuples(st.integers(0, len(MODEL)), st.integers(0, 12), PIECES | st.just(""))


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_a_changed_model(changes):
    text = MODEL
    for at, cut, put in changes:
        text = text[:at] + put + text[at + cut :]
    found, problems = check(text)
    assert problems or found.statements


@settings(deadline=None)
@given(st.integers(0, len(MODEL)))
def test_a_cut_off_model(stop):
    found, problems = check(MODEL[:stop])
    assert len(problems) <= 1
    assert len(found.statements) >= MODEL[:stop].count("\n") - 1


@settings(deadline=None)
@given(st.text(max_size=40) | st.text("mgs 1/^*()-+.%0", max_size=12))
def test_any_unit(text):
    try:
        parse_unit(text)
    except SbmError as found:
        assert found.codes[0] in ("E101", "E105", "E108", "E115")


RANDOM = random.Random(1)
JUNK = {
    "letters": "".join(RANDOM.choice('abd let=~()[]{}\n +-*/^"#:.19µ') for _ in range(200_000)),
    "quotes": '"' * 200_000,
    "spaces": " " * 200_000 + "x",
    "zeros": "\0" * 200_000,
    "lines": "ab cd\n" * 33_000,
    "lets": "let x = \n" * 22_000,
    "open": "let x = (\n" * 20_000,
    "digits": "let x = " + "9" * 200_000,
    "unclosed": 'let x = f(a,\n "b \n' * 11_000,
    "words": "d " * 100_000,
}


@pytest.mark.parametrize("kind", JUNK)
def test_200_kB_of_junk_take_little_time(kind):
    parse_unit("1")
    start = time.perf_counter()
    _, problems = parse(Source("m.sbm", JUNK[kind]))
    assert time.perf_counter() - start < 2
    assert problems and len(problems) <= 101


def test_deep_brackets_do_not_exhaust_the_stack():
    _, problems = check("let x = " + "(" * 50_000)
    assert [p.code for p in problems] == ["E102"]

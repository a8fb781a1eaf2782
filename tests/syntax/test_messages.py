"""What mistakes are told, each once, in the right place."""

import os
import subprocess
import sys

import pytest

from sbmlang.errors import render, to_json
from sbmlang.source import Source
from sbmlang.syntax import parse

CASES = [  # text, code, text under the carets, a part of the message or help
    ("parm k ~ Normal(0, 1)", "E103", "parm", "did you mean 'param'?"),
    ("x = 3", "E103", "x", "let x = ..."),
    ("y ~ Normal(0, 1)", "E103", "y", "observe y ~"),
    ("dS/dt = 1", "E103", "dS", "d S/dt"),
    ("let x = 1\nstep 2", "E103", "step", "begins with time"),
    ("x <- 3", "E103", "x", "let x = ..."),
    ("let x = a +", "E104", "+", "expected a value"),
    ("let x", "E104", "x", "expected '='"),
    ("let x\nlet y = 1", "E104", "x", "expected '='"),
    ("flux a: S -> M", "E104", "M", "'at'"),
    ("let x = if a then b", "E104", "b", "'else'"),
    ("let x = a +\nlet y = b", "E104", "+", "let"),
    ("let x = a +\nparm y ~ b(1)", "E104", "+", "let"),
    ("param k ~ Normal(1, 2\nlet y = 3", "E102", "(", "never closed"),
    ("let x = f(a, [1, 2)", "E102", ")", "closed by"),
    ("let x = a)", "E102", ")", "closes nothing"),
    ('sink R "open', "E102", '"', "not closed"),
    ("param (a, b ~ MvNormal(mean=[0, 1])", "E102", "(", "never closed"),
    ("let x = 2 time\nlet y = 3", "E104", "time", "an operator is missing before it"),
    ("const d = [1, 2] [cm]", "E101", "[", "const depth [cm]"),
    ("param k [1/day", "E102", "[", "never closed"),
    ("param k [1/day] = LogNormal(0, 1)", "E109", "=", "~"),
    ("let x ~ Normal(0, 1)", "E109", "~", "takes '='"),
    ("observe x = Normal(0, 1)", "E109", "=", "distribution"),
    ("state S = 3", "E109", "=", "init"),
    ("let x <- 3", "E109", "<-", "write ="),
    ("let x := 3", "E109", ":=", "write ="),
    ("let x == 3", "E109", "==", "write ="),
    ("let x = a = b", "E109", "=", "=="),
    ("let x = 3;", "E112", ";", "no sign"),
    ("let x = 3 // three", "E112", "/", "#"),
    ("let x = 2x", "E111", "2x", "2*x"),
    ("let x = a b", "E111", "a b", "a*b"),
    ("let x = 2 (a + b)", "E111", "2 (", "2*(...)"),
    ("let x = a − b", "E105", "−", "write -"),
    ("let x = a && b", "E105", "&&", "write and"),
    ("let x = a ? b", "E105", "?", "not a sign"),
    ("let x = a\u200b", "E105", "\u200b", "U+200B"),
    ("let x = 1e999", "E115", "1e999", "too large"),
    ("let x = 1 [m^(1/0)]", "E115", "(1/0)", "power"),
    ("index x = 1..99999999999", "E115", "99999999999", "too large"),
    ("let if = 3", "E106", "if", "reserved"),
    ("let x = \0", "E107", "\0", "plain text"),
    ("let x = " + "-" * 500 + "1", "E108", None, "200 levels"),
    ("let x = " + "1+" * 500 + "1", "E108", None, "200 levels"),
    ("let x = " + "(" * 500 + "1" + ")" * 500, "E108", None, "200 levels"),
    ("time t step 1 step 2", "E110", "step 2", "twice"),
    ("state S >= 0 > 1", "E110", "> 1", "twice"),
    ("let x = f(sd=1, sd=2)", "E110", "sd=2", "twice"),
    ("param k [1/day] [mg]", "E110", "[mg]", "twice"),
    ("index s = {a} param k [1/day] [s]", "E113", "[s]", "write [s] [1/day]"),
    ("index s = {a} param k [s, q]", "E113", "q", "index q"),
    ("flux a [mg]: -> S at k", "E113", "mg", "no unit"),
    ("index s = {a} time t[s] [day]", "E113", "s", "no index"),
    ("let x = f(sd=1, 2)", "E114", "2", "name it"),
    ("let x = 1\nuse kinetics", "E190", "use", "not in this version"),
    ("correlate (a, b) ~ LKJ(2)", "E190", "correlate", "not in this version"),
    ("state n in {1..K}", "E101", "K", "a whole number"),
    ("state n in {1..3} in {1..2}", "E110", "in {1..2}", "twice"),
    ("observe y ~ Normal(S, 1) censored below 3 rounded to 2", "E110", "rounded to 2", "twice"),
    ("observe y ~ Normal(S, 1) censored 3", "E101", "censored", "'censored below'"),
    ("next S", "E104", "S", "'=' or '~'"),
    ("draw n = 3", "E109", "=", "draw NAME ~"),
    ("noise S ~ Normal(0, 1)", "E109", "~", "its size"),
    ("wiener W = 2", "E109", "=", "noise STATE = a*NAME"),
    ("state X in {a, b}", "E101", "a", "state NAME in {1..3}"),
    ("wiener W [mg]", "E113", "mg", "no unit"),
    ("param a ~ LogNormal(median=0.1 sigma=0.5)", "E111", "0.1 sigma", "comma"),
    ("let y = f(2 x)", "E111", "2 x", "2*x"),
    ("let u = C[mg/g]", "E101", "/", "a unit follows a number"),
    ("let u = 2 [10 mg]", "E101", "10", "no number"),
    ("let y = 2 + if a then b else c", "E101", "if", "parentheses"),
    ("observe y ~ 3", "E101", "3", "a distribution"),
    ("forcing x from data (lin)", "E101", "lin", "'linear'"),
    ("index k = 1..n", "E101", "n", "a whole number"),
    ("flux a: S + D -> M at k", "E101", "+", "flux NAME: SOURCE"),
    ("state S == 3", "E101", "==", "bound"),
    (")", "E102", ")", "closes nothing"),
    ("= 3", "E101", "=", "a statement"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "marked", "said"), CASES, ids=[c[0][:30] for c in CASES])
def test_mistake(text, code, marked, said):
    _, problems = parse(Source("m.sbm", text))
    first = problems[0]
    assert first.code == code
    if marked is not None:
        assert first.labels[0].span.text == marked
    assert said in render(first)
    assert all(p.code != code or p.labels != first.labels for p in problems[1:])


def test_every_later_statement_is_told():
    names = ["use kinetics", "correlate (a, b) ~ LKJ(2)", "event till at 3: S += 2"]
    found, problems = parse(Source("m.sbm", "\n".join([*names, "let x = 1"])))
    assert [p.code for p in problems] == ["E190"] * 3
    assert [s.name for s in found.statements] == ["x"]


def test_interpolation_next_and_statement_next():
    found, problems = parse(Source("m.sbm", "forcing x from data\nnext S = 1"))
    forcing, following = found.statements
    assert not problems and forcing.interpolation is None and following.state.name == "S"
    (forcing,) = parse(Source("m.sbm", "forcing x from data next\n"))[0].statements
    assert forcing.interpolation == "next"


def test_each_broken_statement_once_and_the_others_kept():
    text = """model m
param a ~ Normal(0, 1)
param b = Normal(0, 1)
parm c [1/day]
   ~ Normal(0, 1) "doc"
let x = f(a,
          b
let y = x +
let z = 2 * x
S0 = 4
T0 = 5
state S [mg >= 0
init S = 2 $
report q = z
"""
    found, problems = parse(Source("m.sbm", text))
    lines = [p.labels[0].span.source.position(p.labels[0].span.start)[0] for p in problems]
    assert list(zip([p.code for p in problems], lines, strict=True)) == [
        ("E109", 3), ("E103", 4), ("E102", 6), ("E104", 8),
        ("E103", 10), ("E103", 11), ("E101", 12), ("E105", 13),
    ]  # fmt: skip
    assert [getattr(s, "name", "") or s.names[0].name for s in found.statements] == ["m", "a", "z", "q"]


def test_a_broken_index_still_declares_its_name():
    found, problems = parse(Source("m.sbm", "index site = 1..\nparam k[site] [1/day]"))
    assert [p.code for p in problems] == ["E104"]
    assert [i.name for i in found.statements[0].names[0].index] == ["site"]


def test_a_keyword_before_a_number_begins_a_statement_too():
    _, problems = parse(Source("m.sbm", "let x = $\nlet 2x = 3"))
    assert [p.labels[0].span.text for p in problems] == ["$", "2"]


def test_junk_is_cut_off():
    _, problems = parse(Source("m.sbm", "ab cd\n" * 1000))
    assert [p.code for p in problems] == ["E103"] * 100 + ["E119"]


def test_a_message_in_full():
    _, problems = parse(Source("m.sbm", "model m\nlet y = (a + b]  # oh\n"))
    assert (
        render(problems[0])
        == """error E102: '(' is closed by ']'
  --> m.sbm:2:15
   |
 2 | let y = (a + b]  # oh
   |         ~     ^
   |         opened here
   = help: close it with ')'"""
    )


def test_messages_are_the_same_in_any_process():
    code = (
        "from sbmlang.syntax import parse; from sbmlang.source import Source\n"
        "for t in ('let', 'let x 1', 'time t x', 'state S x', 'forcing f 1', 'index i x', 'parm'):\n"
        "    print(*parse(Source('m', t))[1])"
    )
    command = [sys.executable, "-c", code]
    environments = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    runs = [subprocess.run(command, capture_output=True, check=True, env=e).stdout for e in environments]
    assert runs[0] == runs[1] and b"E104" in runs[0]


def test_json_place():
    _, problems = parse(Source("m.sbm", "let x = 1\nlet y = )"))
    assert to_json(problems[0])["labels"][0]["line"] == 2

"""The keywords of the language and the form of each statement, as messages and help show them."""

from __future__ import annotations

STATEMENTS = {
    "model": 'model NAME "doc"',
    "unit": "unit NAME, NAME  or  unit NAME = 12.011 [gC]",
    "time": "time NAME [unit] step 1 [hour] from 0 to 10 [hour] forcing at end origin 2012-01-01",
    "index": "index NAME = 1..5  or  index NAME = {a, b}  or  index NAME from data",
    "const": "const NAME = expression",
    "data": 'data NAME[index] [unit] "doc"',
    "forcing": "forcing NAME [unit] = expression  or  forcing NAME [unit] from data linear",
    "param": 'param NAME[index] [unit] ~ Distribution(...) "doc"',
    "fn": "fn NAME(x, y) = expression",
    "let": "let NAME[index] [unit] = expression",
    "state": 'state NAME[index] [unit] >= 0 "doc"  or  state NAME in {1..3} "doc"',
    "sink": 'sink NAME "doc"',
    "flux": "flux NAME: SOURCE -> TARGET at RATE",
    "d": "d STATE/dt = expression",
    "noise": "noise STATE = expression",
    "wiener": "wiener NAME[index]",
    "next": "next STATE = expression  or  next STATE ~ Distribution(...)",
    "draw": "draw NAME[index] [unit] ~ Distribution(...)",
    "init": "init STATE = expression  or  init STATE ~ Distribution(...)",
    "observe": 'observe NAME[index] [unit] column "name in the data" ~ Distribution(...) censored below LIMIT',
    "report": "report NAME = expression",
    "simulator": 'simulator NAME from table "runs.csv" : PARAMETER, PARAMETER -> OUTPUT[index] [unit]',
}

# Statements of the language that this version does not know, and what to write meanwhile.
LATER = {
    "use": "write the functions you need with `fn`, and the units with `unit`",
    "correlate": "write a joint prior: param (a, b) ~ MvNormal(mean=[..], sd=[..], corr=..)",
    "event": "write the pulse as a forcing that differs from 0 for a short time, and a flux at it",
}

# Words that stand inside statements, and the statements they stand in.
OPTIONS = {
    "step": "time", "scheme": "time", "origin": "time", "column": "time, data, forcing or observe",
    "enforced": "state", "cyclic": "index", "at": "flux", "censored": "observe", "rounded": "observe",
    "columns": "simulator", "random": "simulator", "density": "simulator",
}  # fmt: skip

RESERVED = frozenset({"if", "then", "else", "and", "or", "not"})

# Functions whose last argument may say over which part of the path they are taken.
WINDOW_FUNCTIONS = frozenset({"integral", "mean", "change"})

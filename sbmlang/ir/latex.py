"""A model's equations in LaTeX, aligned, with units."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sympy as sp
from sympy.printing.latex import LatexPrinter

from sbmlang.ir.equations import equations, named_draws
from sbmlang.ir.model import Argument, Definition, Law, Model, Observation, Quantity, Root, Simulator
from sbmlang.ir.symbols import Along, Expr, Index, Over, Ref, Steady, WindowValue

_GREEK = frozenset(
    ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
     "nu", "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
     "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega")
)  # fmt: skip
_UNIT_POWER = re.compile(r"\^(?:\((-?\d+/\d+)\)|(-?\d+(?:\.\d+)?))")
_OPERATORS = {
    "sum": r"\sum",
    "prod": r"\prod",
    "max": r"\max",
    "min": r"\min",
    "mean": r"\operatorname{mean}",
}


def name(base: str, index: tuple[Index, ...] = ()) -> str:
    """``k_S_ref`` as a letter with subscripts, several letters upright, indices as further subscripts."""
    head, *tail = base.replace(".mean", "_mean").split("_")
    numbered = re.fullmatch(r"([A-Za-z]+)(\d+)", head)
    stem, digits = (numbered[1], [numbered[2]]) if numbered else (head, [])
    subscripts = [*digits, *map(_word, tail), *map(_index, index)]
    letter = _word(stem) or r"\_"
    return f"{letter}_{{{', '.join(subscripts)}}}" if subscripts else letter


def _word(word: str) -> str:
    if word in _GREEK:
        return f"\\{word}"
    return word if len(word) == 1 or word.isdigit() else rf"\mathrm{{{word}}}"


def _index(index: Index) -> str:
    if isinstance(index, Along):
        return _word(index.dim) + (f"{index.shift:+d}" if index.shift else "")
    return f"{_word(index.dim)}={index.position + 1}"


class _Printer(LatexPrinter):
    def _print_Ref(self, e: Ref) -> str:
        if len(e.index) == 1 and e.index[0] == Along(e.base):
            return _word(e.base)
        return name(e.base, e.index)

    def _print_Float(self, e: Expr) -> str:
        mantissa, _, exponent = f"{float(e):.6g}".partition("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa

    def _print_Over(self, e: Over) -> str:
        return rf"{_OPERATORS[e.op]}_{{{_word(e.dim)}}} {self.parenthesize(e.body, 50)}"

    def _print_Expit(self, e: Expr) -> str:
        return rf"\operatorname{{expit}}\left({self._print(e.args[0])}\right)"

    def _print_Logit(self, e: Expr) -> str:
        return rf"\operatorname{{logit}}\left({self._print(e.args[0])}\right)"

    def _print_Steady(self, e: Steady) -> str:
        return rf"{self._print(e.args[0])}^{{*}}"

    def _print_WindowValue(self, e: WindowValue) -> str:
        return rf"\mathrm{{{str(e.args[0]).replace('_', chr(92) + '_')}}}"


def expression(expr: Expr) -> str:
    """One expression in LaTeX."""
    return str(_Printer({"mul_symbol": r" \, ", "ln_notation": False}).doprint(expr))


def latex(model: Model) -> str:
    """The equations of a model as one ``align*`` block per group, units after each left side.

    Needs the package amsmath.
    """
    groups = [
        ("Dynamics", list(_drifts(model))),
        ("Initial values", list(_starts(model))),
        ("Simulators", [line for s in model.simulators for line in _simulator(s)]),
        ("Definitions", [line for d in model.definitions for line in _definition(d)]),
        ("Priors", list(_priors(model))),
        (
            "Observations",
            [_observed(o) for o in model.observations],
        ),
        ("Reports", [_line(_of(r), " &= ", r.expr, r) for r in model.reports]),
    ]
    shown = (f"% {title}\n\\begin{{align*}}\n" + " \\\\\n".join(f"  {x}" for x in lines) + "\n\\end{align*}\n"
             for title, lines in groups if lines)  # fmt: skip
    return "\n".join(shown)


def _of(q: Quantity) -> str:
    return name(q.name, tuple(map(Along, q.dims)))


def _observed(o: Observation) -> str:
    if o.exactly is not None:
        return _line(_of(o), " &= ", o.exactly, o)
    return rf"{_of(o)} &\sim {_law(o.law)}{_censored(o)} {_unit(o)}"


def _simulator(s: Simulator) -> Iterator[str]:
    """``(LH, NEE) = elm(k, ...)``, or drawn from it; and the log density."""
    outputs = ", ".join(_of(o) for o in s.outputs)
    left = rf"\left({outputs}\right)" if len(s.outputs) > 1 else outputs
    given = ", ".join(name(i) for i in s.inputs)
    relation = r"\sim" if s.random else "="
    yield rf"{left} &{relation} {name(s.name)}\left({given}\right)"
    if s.density is not None:
        yield rf"\log p\left({outputs} \mid {given}\right) &= {expression(s.density)}"


def _starts(model: Model) -> Iterator[str]:
    for s in model.states:
        if s.kind == "state" and s.start is not None:
            yield rf"{_of(s)}({model.time.start:g}) &\sim {_law(s.start)} {_unit(s)}".rstrip()
        elif s.kind == "state":
            yield _line(_of(s), f"({model.time.start:g}) &= ", s.init, s)


def _line(left: str, relation: str, expr: Expr, q: Quantity) -> str:
    return f"{left}{relation}{expression(expr)} {_unit(q)}".rstrip()


def _unit(q: Quantity, over: str = "") -> str:
    text = str(q.unit) if str(q.unit) != "1" or not over else "1"
    text = f"{text}/{over}" if over else text
    if text == "1":
        return ""
    shown = re.sub(
        _UNIT_POWER,
        lambda m: f"^{{{m[1] or m[2]}}}",
        text.replace("%", r"\%").replace("_", r"\_").replace("*", r"\,"),
    )
    return rf"\quad [\mathrm{{{shown}}}]"


def _drifts(model: Model) -> Iterator[str]:
    time = name(model.time.name)
    for draw in named_draws(model):
        yield rf"{_of(draw)} &\sim {_law(draw.law)} {_unit(draw)}".rstrip()
    for e in equations(model):
        s = e.state
        match e.kind:
            case "rate":
                left = rf"\frac{{\mathrm{{d}} {_of(s)}}}{{\mathrm{{d}} {time}}}"
                yield f"{left} &= {_right(e.right)} {_unit(s, str(model.time.unit))}".rstrip()
            case "differential":
                drift = rf"\left({_right(e.right)}\right) \mathrm{{d}}{time}"
                terms = [*([] if e.right == 0 else [drift]), *(_noise(*n) for n in e.noise)]
                yield rf"\mathrm{{d}} {_of(s)} &= {' + '.join(terms) or '0'} {_unit(s)}".rstrip()
            case "next":
                relation = r"\sim" if isinstance(e.right, Law) else "="
                left = rf"{_of(s)}({time} + {model.time.step or 1:g})"
                yield f"{left} &{relation} {_right(e.right)} {_unit(s)}".rstrip()


def _noise(coefficient: Expr, increment: Expr) -> str:
    shown = rf"\left({expression(coefficient)}\right)" if coefficient.is_Add else expression(coefficient)
    return expression(increment) if coefficient == 1 else rf"{shown} \, {expression(increment)}"


def _right(value: Expr | Law) -> str:
    return _law(value) if isinstance(value, Law) else expression(value)


def _definition(d: Definition | Root) -> Iterator[str]:
    if isinstance(d, Root):
        yield from (f"0 &= {expression(e)}" for e in d.residuals)
    else:
        yield _line(_of(d), " &= ", d.expr, d)


def _priors(model: Model) -> Iterator[str]:
    for p in model.parameters:
        if p.law is not None:
            yield rf"{_of(p)} &\sim {_law(p.law)} {_unit(p)}".rstrip()
    for j in model.joints:
        members = ", ".join(name(m) for m in j.members)
        yield rf"\left({members}\right) &\sim {_law(j.law)}"


def _censored(o: Observation) -> str:
    if o.censoring is None:
        return ""
    how = "rounded to" if o.censoring.kind == "rounded" else f"censored {o.censoring.kind}"
    return rf" \text{{, {how} }} {expression(o.censoring.limit)}"


def _law(law: Law) -> str:
    return rf"\mathrm{{{law.family}}}\left({', '.join(map(_argument, law.args.values()))}\right)"


def _argument(value: Argument) -> str:
    if isinstance(value, tuple):
        return rf"\left[{', '.join(map(_argument, value))}\right]"
    return expression(value) if isinstance(value, sp.Expr) else str(value)

"""Mass balance: what fluxes create or lose, proven where algebra within bounds can prove it."""

from __future__ import annotations

import sympy as sp

from sbmlang.ir.facts import Balance
from sbmlang.ir.graph import bodies
from sbmlang.ir.indexing import inline
from sbmlang.ir.intervals import Interval, interval, supports
from sbmlang.ir.model import Flux, Map, Model
from sbmlang.ir.notation import expression
from sbmlang.ir.symbols import Expr, Ref, refs
from sbmlang.passes.simplify import tidy
from sbmlang.passes.structure import linear_drift

_LIMIT = 300  # operations above which fractions are not brought to a common denominator

TOTAL = "all pools"


def balances(model: Model) -> tuple[Balance, ...]:
    """The balance of every flux with a source and targets, and of all pools together."""
    known = supports(model)
    found = [_flux(model, f, known) for f in model.fluxes if f.source is not None and f.targets]
    total = _total(model)
    return tuple(found) if total is None else (*found, total)


def gain(model: Model, flux: Flux) -> Expr:
    """The sum of the target shares minus one; 0 if conserved. Shares are of the amount, whatever its unit."""
    return _cancelled(inline(sum((c for c, _ in flux.targets), sp.S.Zero) - 1, bodies(model)))


def _scale(model: Model, pool: Ref) -> Expr:
    """The coherent value of one unit of a pool."""
    return sp.nsimplify(model.system.to_coherent(model.state(pool.base).unit)[0])


def _cancelled(expr: Expr) -> Expr:
    """``expr`` in lowest terms; floats are taken as the decimals they were written as."""
    exact = expr.xreplace({f: sp.Rational(repr(float(f))) for f in expr.atoms(sp.Float)})
    expanded = sp.expand(exact)
    if expanded.is_number or sp.count_ops(expanded) > _LIMIT:
        return expanded
    return sp.cancel(sp.together(expanded)) if expanded.atoms(sp.Pow) else expanded


def _flux(model: Model, flux: Flux, known: dict[str, Interval]) -> Balance:
    share = gain(model, flux)
    low, high = interval(share, known)
    created = sp.Mul(_readable(share), flux.rate) if share != 0 else sp.S.Zero
    return Balance(
        flux=flux.name,
        created=created,
        proven=share == 0,
        condition="" if share == 0 else _condition(share, low, high),
        always_loses=share != 0 and high <= 0,
        span=flux.span,
    )


def _readable(share: Expr) -> Expr:
    """Decimals again instead of long fractions."""
    long = {r: sp.Float(r) for r in share.atoms(sp.Rational) if r.q > 1000}
    return tidy(share.xreplace(long))


def _condition(share: Expr, low: float, high: float) -> str:
    """In words, when the flux creates and when it loses, as far as the supports allow either."""
    if low >= 0:
        return "always creates" if low > 0 else f"never loses; creates where {_above_zero(share, '>')}"
    if high <= 0:
        return "always loses" if high < 0 else f"never creates; loses where {_above_zero(share, '<')}"
    return f"creates where {_above_zero(share, '>')}, loses where {_above_zero(share, '<')}"


def _above_zero(share: Expr, sign: str) -> str:
    """``share > 0`` with the numbers on the right: ``a21 > 1``, ``a + b > 1``, ``a < b``."""
    constant, rest = _readable(share).as_coeff_Add()
    if constant <= 0:
        return f"{expression(rest)} {sign} {expression(-constant)}"
    return f"{expression(-rest)} {'<' if sign == '>' else '>'} {expression(constant)}"


def _total(model: Model) -> Balance | None:
    """All pools together: what the drifts add up to beyond what comes in freely and leaves to nowhere.

    Fluxes without a source bring in and fluxes without targets take out: neither is counted, and no term
    of a drift that is free of the states, and noise neither. None when the pools do not share a dimension,
    are indexed, the drift is not linear (then only single fluxes are judged), or time is discrete.
    """
    if isinstance(model.dynamics, Map):
        return None
    pools = [s for s in model.states if s.kind != "accumulator"]
    if len({s.unit.dimension for s in pools}) != 1 or any(s.dims for s in pools):
        return None
    if len(pools) < 2 or not linear_drift(model):
        return None
    total = sum((_scale(model, Ref(s.name)) * model.dynamics.drift[s.name] for s in pools), sp.S.Zero)
    for flux in model.fluxes:
        if flux.source is not None and not flux.targets:
            total += _scale(model, flux.source) * flux.rate
        if flux.source is None:
            share = sum((c for c, _ in flux.targets), sp.S.Zero)
            total -= share * _scale(model, flux.targets[0][1]) * flux.rate
    net = _of_states(inline(total, bodies(model)), {s.name for s in pools})
    created = sum((s * c for s, c in net), sp.S.Zero)
    known = supports(model)
    _, high = interval(created, known)
    condition = "" if created == 0 else _terms(net, known)
    return Balance(TOTAL, created, created == 0, condition, created != 0 and high <= 0)


def _of_states(total: Expr, states: set[str]) -> list[tuple[Ref, Expr]]:
    """Each state with its factor in ``total``, in lowest terms, where it is not zero."""
    found = []
    for state in sorted((r for r in refs(total) if r.base in states), key=str):
        factor = _cancelled(total.diff(state))
        if factor != 0:
            found.append((state, sp.factor_terms(_readable(sp.factor(factor)))))
    return found


def _terms(net: list[tuple[Ref, Expr]], known: dict[str, Interval]) -> str:
    """Where the factor of each state is positive, in words."""
    words = []
    for state, factor in net:
        undecided = [f for f in sp.Mul.make_args(factor) if interval(f, known)[0] < 0]
        if len(undecided) == 1:
            low, high = interval(undecided[0], known)
            words.append(f"from {state}: {_condition(undecided[0], low, high)}")
        else:
            words.append(f"from {state}: {expression(factor)} per unit of time")
    return "; ".join(words)

"""Members written out: indexed states and definitions become one scalar each, reductions sums of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import sympy as sp

from sbmlang.errors import SbmError, error
from sbmlang.ir.indexing import Bound, map_refs, reindex
from sbmlang.ir.model import Definition, Dim, Model, Quantity
from sbmlang.ir.symbols import Along, Expr, Index, Member, Over, Ref
from sbmlang.passes.structure import separable
from sbmlang.source import Span


@dataclass(frozen=True)
class Scalars:
    """The path of a model member by member: each state a ``Ref`` with fixed members.

    ``definitions`` hold what ``drift`` (of a map: the update) and ``init`` use, in the order to compute it in.
    Dims that were left out (those of a batch) keep their free index.
    """

    states: tuple[Ref, ...]
    definitions: tuple[tuple[Ref, Expr], ...]
    drift: Mapping[Ref, Expr]
    init: Mapping[Ref, Expr]


def scalarise(model: Model, dims: Iterable[str] | None = None) -> Scalars:
    """Every member along ``dims`` (by default all that are coupled) as a scalar of its own.

    Raises ``SbmError`` E420 where a shifted index leaves a dim that is not cyclic, and E421 when the size
    of a dim comes from the data.
    """
    chosen = tuple(d for d in model.dims if d not in separable(model)) if dims is None else tuple(dims)
    with_dims = (d for d in model.definitions if isinstance(d, Definition))
    check_sizes(model, chosen, (*model.states, *with_dims))
    definitions = tuple(
        (ref, members(model, d.expr, at, d.span))
        for d in model.definitions
        if isinstance(d, Definition)
        for ref, at in placed(model, d, chosen)
    )
    states = [(s, ref, at) for s in model.states for ref, at in placed(model, s, chosen)]
    drift = model.dynamics.equations
    return Scalars(
        states=tuple(ref for _, ref, _ in states),
        definitions=definitions,
        drift={ref: members(model, drift[s.name], at, s.span) for s, ref, at in states},
        init={ref: members(model, s.init, at, s.span) for s, ref, at in states},
    )


def check_sizes(model: Model, chosen: Iterable[str], quantities: Iterable[Quantity]) -> None:
    """Raises ``SbmError`` E421 when the quantities have a chosen dim whose members come with the data."""
    used = {d for q in quantities for d in q.dims}
    for dim in (d for d in chosen if d in used):
        if model.dims[dim].size is None:
            raise SbmError(
                error("E421", f"the equations cannot be written out: the members of index '{dim}' come with "
                      "the data", help=f"declare them: index {dim} = 1..N")
            )  # fmt: skip


Placed = tuple[Ref, dict[str, Index]]


def placed(model: Model, quantity: Quantity, chosen: tuple[str, ...]) -> Iterator[Placed]:
    """Each member of a quantity along the chosen dims: its reference, and where its indices stand."""
    axes: list[list[Index]] = [
        [Member(d, k) for k in range(model.dims[d].size or 0)] if d in chosen else [Along(d)]
        for d in quantity.dims
    ]
    for index in product(*axes):
        yield Ref(quantity.name, index), {i.dim: i for i in index}


def members(model: Model, expr: Expr, at: Mapping[str, Index], span: Span | None = None) -> Expr:
    """``expr`` with its free indices put at ``at``, reductions over dims of known size written out.

    Positions on cyclic dims wrap, index variables become their numbers; a branch of a condition that is
    thereby never taken may point outside.
    """
    written = numbered(model, reductions(model, reindex(expr, at)))
    return map_refs(written, lambda ref, _: _inside(model, ref, span))


def reductions(model: Model, expr: Expr) -> Expr:
    """``expr`` with every ``Over`` a dim of known size written out."""
    if not expr.args or not expr.has(Over):
        return expr
    if isinstance(expr, Over):
        body = reductions(model, expr.body)
        size = model.dims[expr.dim].size
        if size is None:
            return Over(expr.args[0], body, expr.args[2])
        return _reduced(expr.op, [reindex(body, {expr.dim: Member(expr.dim, k)}) for k in range(size)])
    return expr.func(*(reductions(model, a) for a in expr.args))


def _reduced(op: str, terms: list[Expr]) -> Expr:
    match op:
        case "sum":
            return sp.Add(*terms)
        case "mean":
            return sp.Add(*terms) / len(terms)
        case "prod":
            return sp.Mul(*terms)
        case "max":
            return sp.Max(*terms)
        case "min":
            return sp.Min(*terms)
    raise ValueError(f"unknown reduction {op}")


def numbered(model: Model, expr: Expr) -> Expr:
    """``expr`` with index variables at fixed members replaced by their numbers."""

    def number(ref: Ref, _: Bound) -> Expr:
        match ref.index:
            case (Member(dim, position),) if ref.base == dim and dim in model.dims:
                where = model.dims[dim]
                return sp.Integer(where.first + _wrapped(where, position))
        return ref

    return map_refs(expr, number)


def _wrapped(dim: Dim, position: int) -> int:
    return position % dim.size if dim.cyclic and dim.size else position


def _inside(model: Model, ref: Ref, span: Span | None) -> Ref:
    """``ref`` with cyclic positions wrapped, or E420."""
    if not any(isinstance(i, Member) for i in ref.index):
        return ref
    index: list[Index] = []
    for i in ref.index:
        dim = model.dims[i.dim]
        if isinstance(i, Member):
            i = Member(i.dim, _wrapped(dim, i.position))
            if i.position < 0 or (dim.size is not None and i.position >= dim.size):
                raise _outside(ref, dim, i.position, span)
        index.append(i)
    return ref.at(tuple(index))


def _outside(ref: Ref, dim: Dim, position: int, span: Span | None) -> SbmError:
    last = dim.first + (dim.size or 1) - 1
    edge = f"{dim.name} > {dim.first}" if position < 0 else f"{dim.name} < {last}"
    return SbmError(
        error("E420", f"'{ref.base}' is used at {dim.name} = {dim.first + position}, but '{dim.name}' runs "
              f"from {dim.first} to {last}", *(() if span is None else (span,)),
              help=(f"treat the edge apart: if {edge} then {ref.base}[...] else ...",
                    f"or close the ring: index {dim.name} = {dim.first}..{last} cyclic"))
    )  # fmt: skip

"""Free and bound indices."""

from __future__ import annotations

import sympy as sp

from sbmlang.ir import Along, Member, Over, Ref, Steady
from sbmlang.ir.indexing import free_dims, inline, map_refs, reindex
from sbmlang.ir.symbols import Expr


def at(name: str, shift: int = 0, dim: str = "i") -> Ref:
    return Ref(name, (Along(dim, shift),))


def total(body: Expr, dim: str = "i") -> Expr:
    return Over(sp.Symbol("sum"), body, sp.Symbol(dim))


def test_a_reduction_binds_its_dim_only() -> None:
    pair = Ref("d", (Along("i"), Along("j")))
    assert free_dims(pair) == {"i", "j"}
    assert free_dims(total(pair)) == {"j"}
    assert free_dims(total(pair) + at("x")) == {"i", "j"}


def test_reindex_leaves_bound_indices_alone() -> None:
    expr = at("x") + total(at("x") * at("y", 0, "j"))
    assert reindex(expr, {"i": Along("i", -1)}) == at("x", -1) + total(at("x") * at("y", 0, "j"))
    assert reindex(expr, {"j": Member("j", 2)}) == at("x") + total(at("x") * Ref("y", (Member("j", 2),)))
    assert reindex(at("x", 2), {"i": Member("i", 1)}) == Ref("x", (Member("i", 3),))


def test_inlining_moves_the_index_of_a_definition() -> None:
    definitions = {"f": (("i",), at("x", 1) * Ref("g")), "g": ((), Ref("k") + 1)}
    assert inline(at("f", -2), definitions) == at("x", -1) * (Ref("k") + 1)
    assert inline(total(at("f")), definitions) == total(at("x", 1) * (Ref("k") + 1))


def test_forcings_named_in_steady_are_not_values() -> None:
    temp = Ref("temp")
    expr = Steady(Ref("S"), sp.Tuple(temp, Ref("T_ref")))
    changed = map_refs(expr, lambda r, _: sp.Integer(283) if r.base in ("temp", "T_ref") else r)
    assert changed == Steady(Ref("S"), sp.Tuple(temp, sp.Integer(283)))

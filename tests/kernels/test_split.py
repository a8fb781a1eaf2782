"""What is computed earlier, and the smallest cut."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbmlang.kernels.cut import smallest_cut
from sbmlang.kernels.ops import Depends, Tape
from sbmlang.kernels.split import split


@st.composite
def graphs(draw):
    """Edges between 7 vertices, always upwards, with starts and ends."""
    pairs = list(combinations(range(7), 2))
    chosen = draw(st.sets(st.sampled_from(pairs), max_size=14))
    edges = {v: [b for a, b in chosen if a == v] for v in range(7)}
    some = st.sets(st.integers(0, 6), min_size=1, max_size=3)
    return edges, draw(some), draw(some)


def separates(cut, edges, starts, ends):
    reached, waiting = set(), [s for s in starts if s not in cut]
    while waiting:
        vertex = waiting.pop()
        reached.add(vertex)
        waiting += [v for v in edges[vertex] if v not in cut and v not in reached]
    return not reached & set(ends)


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_the_cut_separates_and_none_is_smaller(graph):
    edges, starts, ends = graph
    cut = smallest_cut(starts, ends, edges)
    assert separates(cut, edges, starts, ends)
    for size in range(len(cut)):
        assert not any(separates(set(c), edges, starts, ends) for c in combinations(range(7), size))


def test_a_step_is_divided_by_what_it_depends_on():
    tape = Tape()
    k, a = tape.input("k", Depends.PARAMETERS), tape.input("a", Depends.PARAMETERS)
    t, x = tape.input("t", Depends.TIME), tape.input("x")
    warm = (2.0 * t).apply("sin")
    rate = k * (-(k * warm)).apply("exp")
    new = tape.sum([x, -(rate * x), a * (1.0 - a) * rate * x, t * x])
    found = split(tape, [new])
    assert found.rates == (rate,)
    assert set(found.columns) == {t, warm}
    assert set(found.parameters) == {k, a * (1.0 - a)}
    assert found.known == ()


def test_cheap_rates_are_done_again_rather_than_stored():
    tape = Tape()
    k, t, x = tape.input("k", Depends.PARAMETERS), tape.input("t", Depends.TIME), tape.input("x")
    assert split(tape, [x + k * t]).rates == ()
    root = (k * t).apply("sqrt")
    assert split(tape, [x * root, x + root * k]).rates == (root,)


def test_every_output_is_asked_for_even_without_the_state():
    tape = Tape()
    t = tape.input("t", Depends.TIME)
    k = tape.input("k", Depends.PARAMETERS)
    found = split(tape, [t * 2.0, k + 1.0, tape.constant(3.0)])
    assert found.columns == (t * 2.0,)
    assert found.parameters == (k + 1.0,)


@pytest.mark.parametrize("size", [1, 4])
def test_a_chain_is_cut_at_its_start(size):
    edges = {k: [k + 1] for k in range(size)} | {size: []}
    assert smallest_cut([0], [size], edges) == {0}
    assert np.array_equal(sorted(smallest_cut([0], [size], {**edges, 0: []})), [])

"""Tables at the widths of real terminals: never too wide, never a number cut."""

from __future__ import annotations

import pytest

from sbmlang.cli.fits import _COLUMNS
from sbmlang.cli.table import MEANING, Column, table

ROWS = [
    ["k_fast_typical", "1/day", "0.09123", "0.01234", "0.07123", "0.09012", "0.11234", "2345", "1987", "1.001", "0.1278 ± 0.1016",
     "fast decay rate of a typical soil"],
    ["C0[cornfield]", "mgC/gsoil", "12345.6", "0.00012", "12345.1", "12345.6", "12346.2", "812", "1021", "1.004", "5.666 ± 3.02",
     "active carbon at the start"],
]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_summary_fits_the_terminal(width):
    lines = table("posterior of x", _COLUMNS, ROWS, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for name in ("parameter", "unit", "mean", "sd", "5%", "95%", "ESS bulk", "R-hat"):
        at = [c.name for c in _COLUMNS].index(name)
        assert all(row[at] in text for row in ROWS)
    assert "…" not in text


def test_what_has_no_room_is_named():
    lines = table("posterior of x", _COLUMNS, ROWS, 80)
    assert "no room at 80 columns for" in "\n".join(lines)
    assert "meaning" in "\n".join(lines)
    assert "no room" not in "\n".join(table("posterior of x", _COLUMNS, ROWS, 200))


def test_words_are_wrapped_under_their_heading():
    columns = (Column("name", left=True), MEANING)
    lines = table("t", columns, [["k", "decay rate of the slow pool in the field"]], 24)
    start = lines[2].index("meaning")
    assert [line[start:] for line in lines[4:7]] == ["decay rate of the", "slow pool in the", "field"]
    assert [line[:start].strip() for line in lines[4:7]] == ["k", "", ""]


def test_an_empty_column_is_left_out():
    assert "meaning" not in table("t", (Column("name", left=True), MEANING), [["k", ""]], 80)[2]


def test_columns_that_must_stay_are_never_cut():
    lines = table("t", (Column("name", left=True), Column("mean")), [["k" * 30, "1.2345"]], 20)
    assert lines[4] == "k" * 30 + "  1.2345"

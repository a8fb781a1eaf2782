"""A comparison as plain text."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from sbmlang.results.compare_sheets import Sheet, columns, sheets
from sbmlang.results.verdict import Statement, verdict

if TYPE_CHECKING:
    from sbmlang.results.compare import Comparison

MARK = {"good": "+", "note": "·", "warning": "!", "bad": "✗"}
WIDTH = 110


def text(found: Comparison) -> str:
    """The tables, then the verdict."""
    parts = ["\n".join(_table(s)) for s in sheets(found)]
    return "\n\n".join(
        [*parts, "verdict\n" + "\n".join(line for s in verdict(found) for line in sentence(s))]
    )


def sentence(s: Statement, width: int = WIDTH) -> list[str]:
    """The lines of a statement, its mark in front."""
    return wrap(
        str(s), width, initial_indent=f"  {MARK[s.level]} ", subsequent_indent="    ", break_on_hyphens=False
    )


def _table(sheet: Sheet) -> Iterator[str]:
    shown = columns(sheet)
    cells = [[sheet.heads[k].name for k in shown], *([str(r[k]) for k in shown] for r in sheet.rows)]
    sizes = [max(len(row[i]) for row in cells) for i in range(len(shown))]
    yield f"{sheet.section}: {sheet.title}" if sheet.section != sheet.title else sheet.title
    for row in cells:
        yield (
            "  "
            + "  ".join(
                c.ljust(n) if sheet.heads[k].left else c.rjust(n)
                for c, n, k in zip(row, sizes, shown, strict=True)
            ).rstrip()
        )
    yield from wrap(sheet.note, WIDTH, initial_indent="  ", subsequent_indent="  ")

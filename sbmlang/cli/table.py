"""Tables on the terminal: as wide as they may be, never with a number cut."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import typer

WIDTH = 140  # where there is no terminal to ask
GAP = "  "
NARROWEST = 16  # of a column of words; with less room than this it is left out


@dataclass(frozen=True)
class Column:
    """A column's heading. Where room is short, columns are left out, those with the highest ``spare`` first
    and never those with 0; a column of ``words`` is wrapped.
    """

    name: str
    spare: int = 0
    left: bool = False
    words: bool = False


MEANING = Column("meaning", spare=9, left=True, words=True)


def print_table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal allows; the last line names the columns that had no room."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    for line in table(title, columns, rows, width):
        typer.echo(line)


def table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The lines of a table that is at most ``width`` wide, unless the columns that must stay are wider."""
    # A column with nothing in it says nothing.
    kept = [k for k, c in enumerate(columns) if not c.spare or any(row[k] for row in rows)]
    sizes = {k: max([len(columns[k].name), *(len(row[k]) for row in rows)]) for k in kept}
    hidden = []
    while (over := sum(sizes[k] + len(GAP) for k in kept) - len(GAP) - width) > 0:
        last = max(kept, key=lambda k: columns[k].spare)
        if not columns[last].spare:
            break
        if columns[last].words and sizes[last] - over >= NARROWEST:
            sizes[last] -= over
        else:
            kept.remove(last)
            hidden.append(columns[last].name)
    shown = [(columns[k], sizes[k]) for k in kept]
    head = _line([c.name for c, _ in shown], shown)
    lines = [title, "", head, "─" * max(len(head), sum(size + len(GAP) for _, size in shown) - len(GAP))]
    for row in rows:
        lines += _row([row[k] for k in kept], shown)
    if hidden:
        lines += ["", f"(no room at {width} columns for: {', '.join(reversed(hidden))})"]
    return [*lines, ""]


def _row(cells: Sequence[str], shown: Sequence[tuple[Column, int]]) -> list[str]:
    """The lines of a row: more than one where words are wrapped."""
    parts = [
        wrap(cell, size) or [""] if c.words else [cell] for cell, (c, size) in zip(cells, shown, strict=True)
    ]
    depth = max(map(len, parts))
    return [_line([p[i] if i < len(p) else "" for p in parts], shown) for i in range(depth)]


def _line(cells: Sequence[str], shown: Sequence[tuple[Column, int]]) -> str:
    aligned = (
        cell.ljust(size) if c.left else cell.rjust(size) for cell, (c, size) in zip(cells, shown, strict=True)
    )
    return GAP.join(aligned).rstrip()

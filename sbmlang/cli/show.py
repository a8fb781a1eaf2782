"""How things are printed: diagnostics, tables, the report on a model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from sbmlang.errors import Diagnostic, render


def print_diagnostic(diagnostic: Diagnostic) -> None:
    """A diagnostic on stderr, its first line coloured on a terminal."""
    first, _, rest = render(diagnostic).partition("\n")
    colour = typer.colors.YELLOW if diagnostic.is_warning else typer.colors.RED
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        first = typer.style(first, fg=colour, bold=True)
    typer.echo(first + ("\n" + rest if rest else "") + "\n", err=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """A table; all but the first ``left`` columns are flushed right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for k, name in enumerate(columns):
        table.add_column(name, justify="left" if k < left or name == "meaning" else "right", no_wrap=name != "meaning")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def number(value: Any) -> str:
    """Four significant digits, without noise."""
    return f"{float(value):.4g}"


def print_report(report: dict[str, Any]) -> None:
    """The report of ``sbm show``."""
    say = typer.echo
    say(f"{report['name']}: {report['doc']}")
    counts = [f"{n} {word if n != 1 else word.rstrip('s')}" for word, n in report["counts"].items() if n]
    say("  " + ", ".join(counts).replace("fluxe,", "flux,"))
    say("\nstructure")
    for name, fact in report["structure"].items():
        say(f"  {name.replace('_', ' ') + '?':26} {'yes' if fact['holds'] else 'no':4} {fact['reason']}")
        if fact.get("place") and not fact["holds"]:
            say(f"  {'':26}      at {_place(fact['place'])}")
    if report["separable"]:
        say(f"  members of {', '.join(report['separable'])} do not touch each other: they are solved side by side")
    if report["balance"]:
        say("\nmass balance")
        for b in report["balance"]:
            verdict = "conserved" if b["proven"] else f"{b['condition']} (created: {b['created']})"
            say(f"  {b['flux']:20} {verdict}")
    if report["computed"]:
        say("\nhow often things are computed")
        for name, stage in report["computed"].items():
            say(f"  {name:20} {stage}")
    for name, text in report.get("engines", {}).items():
        say(f"\n{name}: {text}")


def _place(place: Any) -> str:
    return f"{place['file']}:{place['line']}:{place['column']}" if isinstance(place, dict) else str(place)

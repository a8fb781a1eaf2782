"""How things are printed: diagnostics, and the report on a model."""

from __future__ import annotations

import os
import shutil
import sys
from textwrap import wrap
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


def number(value: Any) -> str:
    """Four significant digits, without noise."""
    return f"{float(value):.4g}"


def print_report(report: dict[str, Any]) -> None:
    """The report of ``sbm show``."""
    say = typer.echo
    say(f"{report['name']}: {report['doc']}" if report["doc"] else report["name"])
    say("  " + ", ".join(_counted(n, words) for words, n in report["counts"].items() if n))
    structure = {} if report["simulators"] else report["structure"]  # it is about paths and filters
    if structure:
        say("\nstructure")
    for name, fact in structure.items():
        _entry(
            f"{name.replace('_', ' ')}?", f"{'yes' if fact['holds'] else 'no':3}  {fact['reason']}", hang=5
        )
        if fact.get("place") and not fact["holds"]:
            _entry("", f"     at {_place(fact['place'])}", hang=5)
    for s in report["simulators"]:
        _simulator(s)
    if report["separable"]:
        names = ", ".join(report["separable"])
        say(f"  members of {names} do not touch each other: they are solved side by side")
    if report["balance"]:
        say("\nmass balance")
        for b in report["balance"]:
            _entry(b["flux"], "conserved" if b["proven"] else f"{b['condition']} (created: {b['created']})")
    if report["computed"]:
        say("\nhow often things are computed")
        for name, stage in report["computed"].items():
            _entry(name, stage)
    _print_engines(report["engines"])


def _simulator(s: dict[str, Any]) -> None:
    """What stands outside the file: where, and what goes in and comes out."""
    source = {"table": "table of runs", "python": "function", "command": "command"}[s["kind"]]
    outputs = ", ".join(o["name"] + (f"[{', '.join(o['dims'])}]" if o["dims"] else "") for o in s["outputs"])
    typer.echo(f"\nsimulator {s['name']}" + (f": {s['doc']}" if s["doc"] else ""))
    _entry(source, s["source"] + ("" if s["kind"] == "table" else ", run with --allow-external only"))
    _entry("takes", ", ".join(s["inputs"]))
    _entry("gives", outputs + (", random: other values from call to call" if s["random"] else ""))
    if s["density"] is not None:
        _entry("log density", s["density"])


def _print_engines(engines: list[dict[str, Any]]) -> None:
    """The ways to treat the states, the chosen one first."""
    if not engines:
        return
    typer.echo("\nengines" if len(engines) > 1 else "\nengine")
    if engines[0]["name"] == "deterministic":
        _entry("", engines[0]["reason"], name_width=0)
        return
    for e in engines:
        fits = "chosen" if e["chosen"] else "fits" if e["holds"] else "no"
        says_kind = not e["holds"] or e["name"] == "sampled" or e["kind"] in e["reason"]
        reason = e["reason"] if says_kind else f"{e['kind']}: {e['reason']}"
        where = f" (line {e['line']})" if not e["holds"] and "line" in e else ""
        _entry(e["name"], f"{fits:7} {reason}{where}", hang=8, name_width=10)
        if e["chosen"] and e["name"] not in ("likelihood", "amortized"):
            out = ", ".join(e["integrated_out"])
            said = f"integrated out: {out}" if out else "no state is integrated out"
            _entry("", " " * 8 + said, hang=8, name_width=10)


def _counted(n: int, words: str) -> str:
    """``1 flux``, ``2 fluxes``, ``1 parameter``."""
    if n != 1:
        return f"{n} {words}"
    return f"1 {words.removesuffix('es') if words.endswith('xes') else words.removesuffix('s')}"


def _entry(name: str, text: str, *, hang: int = 0, name_width: int = 32) -> None:
    """A name and what is said about it, wrapped beside the name."""
    indent = " " * (2 + name_width + (1 if name_width else 0))
    head = f"  {name:{name_width}} " if name_width else "  "
    width = max(60, shutil.get_terminal_size((110, 24)).columns)
    lines = wrap(
        text, width, initial_indent=head, subsequent_indent=indent + " " * hang, break_on_hyphens=False
    )
    typer.echo("\n".join(lines) if lines else head.rstrip())


def _place(place: Any) -> str:
    return f"{place['file']}:{place['line']}:{place['column']}" if isinstance(place, dict) else str(place)

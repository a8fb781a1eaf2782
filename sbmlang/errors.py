"""Diagnostics as values, and how they read.

A user's mistake raises ``SbmError`` with every diagnostic that was found; a feature that is not there
yet raises ``NotYet``; anything else that escapes is a fault of sbmlang itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from sbmlang.source import Span


@dataclass(frozen=True, slots=True)
class Label:
    """A place in a model text and what to say under it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: a code of the catalogue, a sentence, places, and what to do.

    ``labels`` are places in a model text, the first being the main one; ``place`` names any other
    place (``obs.csv, row 3, column 'CO2'``).
    """

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    help: tuple[str, ...] = ()
    place: str = ""

    @property
    def is_warning(self) -> bool:
        return self.code.startswith("W")

    @property
    def severity(self) -> str:
        return "warning" if self.is_warning else "error"

    def __str__(self) -> str:
        return render(self)


class SbmError(Exception):
    """Mistakes in a model, data or an option. ``diagnostics`` holds all that were found."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]):
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n\n".join(map(render, self.diagnostics)))

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(d.code for d in self.diagnostics)


class NotYet(SbmError):
    """The model is right, but this version of sbmlang (or this backend) cannot do it."""


class InternalError(Exception):
    """A broken promise inside sbmlang; never the user's fault."""


def error(
    code: str,
    message: str,
    *places: Label | Span,
    help: str | Iterable[str] = (),
    place: str = "",
) -> Diagnostic:
    """Shorthand for a diagnostic; a bare span becomes a label without text."""
    labels = tuple(p if isinstance(p, Label) else Label(p) for p in places)
    return Diagnostic(code, message, labels, (help,) if isinstance(help, str) else tuple(help), place)


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most one help line naming the known word nearest to a misspelt one."""
    by_lower = {k.lower(): k for k in sorted(known)}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return (f"did you mean '{by_lower[near[0]]}'?",) if near else ()


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as text with its source lines and carets."""
    return "\n".join(_lines(diagnostic))


def _lines(diagnostic: Diagnostic) -> Iterator[str]:
    yield f"{diagnostic.severity} {diagnostic.code}: {diagnostic.message}"
    if diagnostic.place:
        yield f"  --> {diagnostic.place}"
    if diagnostic.labels:
        yield f"  --> {diagnostic.labels[0].span}"
        yield from _snippet(diagnostic.labels)
    for text in diagnostic.help:
        yield f"   = help: {text}"


def _snippet(labels: tuple[Label, ...]) -> Iterator[str]:
    """Source lines with carets (main place) and tildes (the others) under them."""
    source = labels[0].span.source
    rows = sorted({source.position(label.span.start)[0] for label in labels})
    width = max(2, len(str(rows[-1])))
    yield f"{' ' * width} |"
    for row in rows:
        text = source.line(row)
        here = [x for x in labels if source.position(x.span.start)[0] == row]
        yield f"{row:>{width}} | {text.expandtabs(1)}"
        yield f"{' ' * width} | {_underline(text, row, labels[0], here)}"
        for label in here:
            if label.text:
                column = source.position(label.span.start)[1]
                yield f"{' ' * width} | {' ' * (column - 1)}{label.text}"


def _underline(text: str, row: int, main: Label, labels: list[Label]) -> str:
    marks = [" "] * (len(text) + 1)
    for label in sorted(labels, key=lambda x: x is main):
        column = label.span.source.position(label.span.start)[1] - 1
        length = max(1, min(label.span.end - label.span.start, len(text) - column))
        marks[column : column + length] = ["^" if label is main else "~"] * length
    return "".join(marks).rstrip()


def to_json(diagnostic: Diagnostic) -> dict[str, object]:
    """The diagnostic for editors: line and column from 1, end exclusive."""

    def place(label: Label) -> dict[str, object]:
        source = label.span.source
        (line, column), (end_line, end_column) = map(source.position, (label.span.start, label.span.end))
        return {
            "file": source.name, "line": line, "column": column,
            "end_line": end_line, "end_column": end_column, "text": label.text,
        }  # fmt: skip

    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "place": diagnostic.place,
        "labels": [place(x) for x in diagnostic.labels],
        "help": list(diagnostic.help),
    }

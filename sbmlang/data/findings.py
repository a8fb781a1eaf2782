"""All problems of all tables, collected so that one run reports every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sbmlang.errors import Diagnostic, Label, SbmError, error
from sbmlang.source import Span

SHOWN = 5


class Findings:
    """A growing list of diagnostics; the same one is kept once."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, None] = {}
        self.broken: set[str] = set()

    def add(
        self,
        code: str,
        message: str,
        *places: Label | Span,
        help: str | Iterable[str] = (),
        place: str = "",
        breaks: str = "",
    ) -> None:
        """A diagnostic of these parts; later checks leave the quantity ``breaks`` alone."""
        self._found.setdefault(error(code, message, *places, help=help, place=place))
        self.broken |= {breaks} - {""}

    def take(self, problem: SbmError) -> None:
        """The diagnostics of a part that gave up."""
        self._found.update(dict.fromkeys(problem.diagnostics))

    def failed(self) -> bool:
        return any(not d.is_warning for d in self._found)

    def result(self) -> tuple[Diagnostic, ...]:
        """The warnings, when there is nothing worse.

        Raises ``SbmError`` with everything that was found, errors first, otherwise.
        """
        ordered = sorted(self._found, key=lambda d: d.is_warning)
        if ordered and not ordered[0].is_warning:
            raise SbmError(ordered)
        return tuple(ordered)


def listed(items: Sequence[str], shown: int = SHOWN) -> str:
    """``a, b, c, d, e and 37 more``; short lists end in ``and``."""
    if len(items) > shown:
        return f"{', '.join(items[:shown])} and {len(items) - shown} more"
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def quoted(names: Iterable[str]) -> str:
    return listed([f"'{n}'" for n in names], shown=12)


def spans(span: Span | None, text: str = "declared here") -> tuple[Label, ...]:
    """The place of a declaration, where it is known."""
    return (Label(span, text),) if span else ()

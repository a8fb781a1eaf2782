"""Words of a model text without its grammar: what messages and recovery look at after an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sbmlang.syntax.statements import LATER, RESERVED, STATEMENTS

_WORD = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*")
      | (?P<number>(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><-|:=|==|<=|>=|!=|->|\*\*|\.\.|//|/\*|\*/|\+=|&&|\|\||\S)""",
    re.VERBOSE,
)

CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of text: its kind (text, number, word or sign), what it is, and where."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def ends_operand(self) -> bool:
        """Whether an expression can end here."""
        return (self.kind in ("number", "word") and self.text not in RESERVED) or self.text in (")", "]")


def words(text: str, start: int, stop: int) -> Iterator[Word]:
    """The words from ``start`` to ``stop``, comments left out."""
    for match in _WORD.finditer(text, start, stop):
        kind = match.lastgroup
        if kind and kind != "comment":
            yield Word(kind, match.group(), match.start())


def open_brackets(of: Iterable[Word]) -> list[Word]:
    """The brackets that are still open after these words, outermost first."""
    stack: list[Word] = []
    for word in of:
        if word.kind == "sign" and word.text in CLOSING:
            stack.append(word)
        elif stack and word.text == CLOSING[stack[-1].text]:
            stack.pop()
    return stack


def is_first_on_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


_KEYWORDS = "|".join(sorted({*STATEMENTS, *LATER}))
_NOT_A_NAME = "|".join(sorted({*RESERVED, "at"}))
# A keyword and then a word: two words side by side are never inside an expression.
_STATEMENT = re.compile(
    rf"(?:{_KEYWORDS})[ \t]+(?!(?:{_NOT_A_NAME})\b)\w"
    r"|(?:param|correlate)[ \t]*\("
    r"|(?:use|model)[ \t]+\""
)
# What looks like a statement with a wrong keyword, or with none: `parm k`, `k = 2`, `C[layer] ~ `.
_LOOSE = re.compile(
    rf"(?!(?:{_NOT_A_NAME})\b)[^\W\d]\w*[ \t]*(?:\[[^\]\n]*\][ \t]*)?(?:=(?!=)|~|<-|:=|(?<=[ \t])[^\W\d])"
)
_LINE = re.compile(r"^[^\S\n]*(?=[^\s#])", re.MULTILINE)


def begins_statement(text: str, at: int) -> bool:
    """Whether the line from ``at`` on reads like the beginning of a statement."""
    return _STATEMENT.match(text, at) is not None


def resume(text: str, broken: int, error: int) -> int:
    """Where to go on after the statement that begins at ``broken`` and fails at ``error``.

    That is the next line that begins with a keyword, or one after the error that looks like a statement
    with a misspelt keyword: outside brackets, indented no deeper, and after a line that does not ask for
    more.
    """
    indent = broken - (text.rfind("\n", 0, broken) + 1)
    depth, scanned, last = 0, broken, None
    for line in _LINE.finditer(text, broken + 1):
        at = line.end()
        if begins_statement(text, at):
            return at
        for word in words(text, scanned, line.start()):
            depth += (word.text in CLOSING) - (word.text in CLOSING.values())
            last = word
        scanned = line.start()
        complete = last is None or last.kind != "sign" or last.text in (")", "]", "}")
        if at > error and depth <= 0 and at - line.start() <= indent and complete and _LOOSE.match(text, at):
            return at
    return len(text)

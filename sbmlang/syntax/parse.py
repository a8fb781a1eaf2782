"""Text to syntax tree, going on after every error.

The text is read as a whole. Where that fails, everything before the broken statement is kept, the broken
statement becomes one diagnostic, and reading goes on at the next line that begins a statement. Every part
of the text is read at most three times.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.source import Source, Span
from sbmlang.syntax import ast
from sbmlang.syntax.messages import Broken, explain, explain_unit
from sbmlang.syntax.scan import resume
from sbmlang.syntax.statements import STATEMENTS

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

MAX_DEPTH = 200  # of nested expressions; every later stage walks the tree by recursion
MAX_ERRORS = 100

_STATEMENT_TERMINALS = frozenset(f"_{keyword.upper()}" for keyword in STATEMENTS)
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]")
_INDEX_NAME = re.compile(r"\bindex[ \t]+([^\W\d]\w*)")


def parse(source: Source) -> tuple[ast.Program, tuple[Diagnostic, ...]]:
    """The program of a text and everything that is wrong with its syntax; never raises.

    The program holds the statements that were understood, in the order they were written.
    """
    if bad := _UNREADABLE.search(source.text):
        return ast.Program(source, ()), (_unreadable(source, bad.start()),)
    trees, broken, problems = _read(source)
    index_names = _index_names(trees, broken)
    statements: list[ast.Statement] = []
    for offset, tree in trees:
        try:
            statements.extend(_build(tree, source, offset, index_names))
        except SbmError as mistake:
            problems.extend(mistake.diagnostics)
    return ast.Program(source, tuple(statements)), tuple(sorted(problems, key=_place))


def parse_unit(text: str) -> ast.UnitExpr:
    """The unit a text such as ``mgC/gsoil/hour``, ``umol m-2 s-1``, ``%`` or ``1`` stands for.

    Raises ``SbmError`` where the text is no unit.
    """
    from lark.exceptions import UnexpectedInput

    from sbmlang.syntax.build import build_unit

    source = Source("<unit>", text)
    try:
        tree = _lark().parse(text, start="unit")
    except UnexpectedInput as failure:
        at = failure.pos_in_stream
        raise SbmError(explain_unit(source, len(text) if at is None else at)) from None
    if deep := _too_deep(tree, source, 0):
        raise SbmError(deep)
    return build_unit(tree, source)


@cache
def _lark() -> Lark:
    """The parser of all four grammar files, which are one grammar in four parts."""
    from lark import Lark

    folder = files("sbmlang.grammars")
    parts = [folder.joinpath(f"{part}.lark").read_text("utf-8") for part in ("common", "unit", "expr", "sbm")]
    return Lark(
        "\n".join(parts), parser="lalr", lexer="contextual", start=["start", "unit"], propagate_positions=True,
        cache=_table_file(),
    )  # fmt: skip


def _table_file() -> str | bool:
    """Where lark keeps its parse table, which it would otherwise work out each time; False for nowhere.

    lark itself checks that the file is of this grammar and this version of lark.
    """
    import platformdirs

    folder = platformdirs.user_cache_path("sbmlang")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return str(folder / "grammar.lark") if os.access(folder, os.W_OK) else False


# --- reading and going on ----------------------------------------------------------------------------------

Placed = tuple[int, "Tree[Token]"]  # a statement's tree and the offset its positions count from


def _read(source: Source) -> tuple[list[Placed], list[str], list[Diagnostic]]:
    """The trees of all sound statements, the texts of the broken ones, and why they are broken."""
    text = re.sub("^\ufeff", " ", source.text)  # a byte order mark
    trees: list[Placed] = []
    broken: list[str] = []
    problems: list[Diagnostic] = []
    begin = 0
    while begin < len(text):
        stop = _attempt(text[begin:])
        if not isinstance(stop, _Stop):
            return [*trees, *_placed(begin, stop)], broken, problems
        failure = stop.broken(source, text, begin)
        if failure.keep > begin:
            trees.extend(_placed(begin, _lark().parse(text[begin : failure.keep], start="start")))
        problems.append(explain(failure))
        if len(problems) == MAX_ERRORS:
            place = Span(failure.at, failure.at, source)
            problems.append(error("E119", f"more than {MAX_ERRORS} errors; the rest was not read", place))
            break
        begin = resume(text, failure.keep, failure.at)
        broken.append(text[failure.keep : begin])
    return trees, broken, problems


def _placed(offset: int, tree: Tree[Token]) -> Iterator[Placed]:
    return ((offset, child) for child in tree.children)  # type: ignore[misc]


@dataclass(frozen=True)
class _Stop:
    """Where a text fails: offset of the error and of the statement it is in, if in any."""

    at: int
    statement: int | None

    def broken(self, source: Source, text: str, begin: int) -> Broken:
        """The failure with what would have been right there, found by reading up to it once more."""
        from_here = begin + (self.statement or 0)
        accepts = _expected(text[from_here:], begin + self.at - from_here)
        return Broken(source, text, None if self.statement is None else from_here, begin + self.at, accepts)


def _attempt(text: str) -> Tree[Token] | _Stop:
    from lark.exceptions import UnexpectedInput

    parser: Any = _lark().parse_interactive(text, start="start")
    statement: int | None = None
    try:
        for token in parser.lexer_thread.lex(parser.parser_state):
            parser.feed_token(token)
            if token.type in _STATEMENT_TERMINALS:
                statement = token.start_pos
        tree: Tree[Token] = parser.feed_eof()
        return tree
    except UnexpectedInput as failure:
        at = failure.pos_in_stream
        is_end = getattr(getattr(failure, "token", None), "type", "") == "$END"
        return _Stop(len(text) if is_end or at is None else at, statement)


def _expected(text: str, stop: int) -> frozenset[str]:
    """The terminals that may stand at ``stop``, the text before it being right."""
    from lark.exceptions import UnexpectedInput

    parser: Any = _lark().parse_interactive(text, start="start")
    try:
        for token in parser.lexer_thread.lex(parser.parser_state):
            if token.start_pos is None or token.start_pos >= stop:
                break
            parser.feed_token(token)
    except UnexpectedInput:
        pass  # the lexer met the error itself; nothing of it was fed
    return frozenset(parser.accepts())


# --- building ----------------------------------------------------------------------------------------------


def _build(
    tree: Tree[Token], source: Source, offset: int, index_names: frozenset[str]
) -> tuple[ast.Statement, ...]:
    from sbmlang.syntax.build import build

    if deep := _too_deep(tree, source, offset):
        raise SbmError(deep)
    return build(tree, source, offset, index_names)


def _index_names(trees: Iterable[Placed], broken: Iterable[str]) -> frozenset[str]:
    """Names that ``index`` declares, also in broken statements, lest one error bring others."""
    declared = {str(tree.children[0]) for _, tree in trees if tree.data == "index"}
    return frozenset(declared.union(*map(_INDEX_NAME.findall, broken)))


def _too_deep(tree: Tree[Token], source: Source, offset: int) -> Diagnostic | None:
    level: list[Tree[Token]] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in parent.children if not isinstance(child, str | None)]
        if not level:
            return None
    meta = level[0].meta
    place = Span(offset + meta.start_pos, offset + meta.end_pos, source)
    help = "give parts of it names of their own: let a = ..."
    return error("E108", f"this is nested more than {MAX_DEPTH} levels deep", place, help=help)


def _unreadable(source: Source, at: int) -> Diagnostic:
    return error(
        "E107",
        f"the text has an unreadable character (code {ord(source.text[at])})",
        Span(at, at + 1, source),
        help="a model is plain text in UTF-8; this looks like another kind of file",
    )


def _place(problem: Diagnostic) -> int:
    return problem.labels[0].span.start

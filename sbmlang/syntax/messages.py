"""Syntax errors as sentences: what was found, what may stand there, what to do.

``explain`` asks one rule after the other; each knows one kind of mistake and answers None to all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from sbmlang.errors import Diagnostic, Label, did_you_mean, error
from sbmlang.source import Source, Span
from sbmlang.syntax.scan import CLOSING, Word, begins_statement, is_first_on_line, open_brackets, words
from sbmlang.syntax.statements import LATER, OPTIONS, RESERVED, STATEMENTS


@dataclass(frozen=True)
class Broken:
    """A failure at offset ``at``, in the statement that begins at ``start`` (None: where one should begin).

    ``accepts`` are the terminals of the grammar that may stand there. ``text`` is the source's text with
    the same offsets.
    """

    source: Source
    text: str
    start: int | None
    at: int
    accepts: frozenset[str]

    @cached_property
    def before(self) -> tuple[Word, ...]:
        """The words of the statement up to the error."""
        return () if self.start is None else tuple(words(self.text, self.start, self.at))

    @cached_property
    def here(self) -> Word | None:
        """The word that cannot stand there; None at the end of the text."""
        return next(words(self.text, self.at, len(self.text)), None)

    @cached_property
    def after(self) -> Word | None:
        following = words(self.text, self.here.end, len(self.text)) if self.here else iter(())
        return next(following, None)

    @property
    def previous(self) -> Word | None:
        return self.before[-1] if self.before else None

    @property
    def keyword(self) -> str:
        return self.before[0].text if self.before else ""

    @cached_property
    def is_new_statement(self) -> bool:
        """Whether the error is the first word of a statement, all before it being complete."""
        if self.start is None:
            return True
        here = self.here
        if here is None or here.kind != "word" or here.text in RESERVED or "$END" not in self.accepts:
            return False
        return here.text in LATER or is_first_on_line(self.text, here.start)

    @property
    def keep(self) -> int:
        """The offset up to which the text is sound."""
        return self.at if self.start is None or self.is_new_statement else self.start

    @property
    def expected(self) -> str:
        """What may stand there, in words."""
        if self.start is None:
            return "a statement"
        if self.previous and self.previous.text == "~" and "NUMBER" not in self.accepts:
            return "a distribution such as Normal(0, 1)"
        return _in_words(self.accepts)

    @property
    def form(self) -> tuple[str, ...]:
        return (f"the form is: {STATEMENTS[self.keyword]}",) if self.keyword in STATEMENTS else ()

    def span(self, word: Word) -> Span:
        return Span(word.start, word.end, self.source)


def explain(broken: Broken) -> Diagnostic:
    """The diagnostic for a failure of a model text."""
    for rule in _rules():
        if found := rule(broken):
            return found
    return _unexpected(broken)


def _rules() -> tuple[Callable[[Broken], Diagnostic | None], ...]:
    return (
        _foreign, _later, _unknown_statement, _ends_early, _bracket, _relation, _reserved, _operator
    )  # fmt: skip


def explain_unit(source: Source, at: int) -> Diagnostic:
    """The diagnostic for a text that is no unit, failing at offset ``at``."""
    broken = Broken(source, source.text, None, at, frozenset({"UNIT_NAME"}))
    return error("E101", f"'{source.text}' is not a unit", Span(at, at, source), help=_unit_help(broken))


# --- one kind of mistake each ------------------------------------------------------------------------------

_LOOKALIKES = {
    "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "∙": "*", "÷": "/", "²": "^2", "³": "^3",
    "“": '"', "”": '"', "„": '"', "‘": '"', "’": '"', "'": '"', "→": "->", "≥": ">=", "≤": "<=", "≠": "!=",
    "∼": "~", "&": "and", "&&": "and", "|": "or", "||": "or", "!": "not",
}  # fmt: skip
_COMMENTS = ("//", "/*")


def _foreign(broken: Broken) -> Diagnostic | None:
    """Signs of other languages and of typesetting."""
    here, previous = broken.here, broken.previous
    if here is None or here.kind != "sign":
        return None
    span = broken.span(here)
    if here.text == '"':
        return error("E102", "this text is not closed", span, help='it ends with another " on the same line')
    if here.text == ";":
        return error("E112", "';' has no meaning here", span, help="statements need no sign at their end")
    opening = f"{previous.text}{here.text}" if previous and previous.end == here.start else here.text
    if comment := next((c for c in _COMMENTS if c in (here.text, opening)), None):
        return error("E112", f"'{comment}' does not begin a comment", span, help="a comment begins with #")
    if here.text in _LOOKALIKES:
        help = f"write {_LOOKALIKES[here.text]}"
        return error("E105", f"'{here.text}' is not a sign of the language", span, help=help)
    if here.text in _SIGNS:
        return None
    return error("E105", f"{_character(here.text)} is not a sign of the language", span)


_SIGNS = frozenset({*"+-*/^()[]{}<>=~,:.%", "**", "<=", ">=", "==", "!=", "..", "->", "<-", ":=", "+=", "*/"})


def _character(sign: str) -> str:
    return f"'{sign}'" if sign.isprintable() else f"the invisible character U+{ord(sign[0]):04X}"


def _later(broken: Broken) -> Diagnostic | None:
    """Statements that the language has and this version has not."""
    here = broken.here
    if here is None or here.text not in LATER or not broken.is_new_statement:
        return None
    message = f"`{here.text}` is not in this version of sbmlang"
    return error("E190", message, broken.span(here), help=LATER[here.text])


def _unknown_statement(broken: Broken) -> Diagnostic | None:
    here = broken.here
    if here is None or here.kind != "word" or not broken.is_new_statement:
        return None
    return error(
        "E103", f"unknown statement '{here.text}'", broken.span(here), help=_statement_help(broken, here)
    )


def _statement_help(broken: Broken, here: Word) -> tuple[str, ...]:
    name, sign = here.text, broken.after.text if broken.after else ""
    if name in OPTIONS:
        return (f"`{name}` belongs to a statement that begins with {OPTIONS[name]}",)
    if name.startswith("d") and sign == "/" and len(name) > 1:
        return (f"write a space after d: d {name[1:]}/dt = ...",)
    if name == "if":
        return ("a choice is an expression: let x = if condition then a else b",)
    if sign in ("=", "<-", ":="):
        return (f"a definition is written: let {name} = ...",)
    if sign == "~":
        return (f"a prior is written: param {name} ~ ...", f"a measurement is written: observe {name} ~ ...")
    return did_you_mean(name, STATEMENTS) or (f"a statement begins with one of: {', '.join(STATEMENTS)}",)


def _ends_early(broken: Broken) -> Diagnostic | None:
    """The statement stops and the next one (or nothing) follows."""
    end = _end_of_statement(broken)
    if end is None:
        return None
    if brackets := open_brackets(broken.before[:end]):
        return _never_closed(broken, brackets[-1])
    last = broken.before[end - 1]
    if end == len(broken.before):
        what = f"expected {broken.expected}"
    else:
        what = "expected a value after it" if end > 1 else "expected a name after it"
    return error(
        "E104",
        f"the `{broken.keyword}` statement ends too early",
        Label(broken.span(last), what),
        help=(*broken.form, *_name_help(broken, end)),
    )


def _name_help(broken: Broken, end: int) -> tuple[str, ...]:
    first = broken.before[0]
    if end > 1 or _begins_line(broken, first):
        return ()
    return (f"if `{first.text}` is a name here, an operator is missing before it",)


def _end_of_statement(broken: Broken) -> int | None:
    """How many words the statement has, where the error is that it stopped; else None.

    The error may be one word late: in ``let x = a +``, next line ``let y = b``, the word ``let`` can be a
    name, ``y`` then cannot stand there.
    """
    if not broken.before:
        return None
    here, previous = broken.here, broken.previous
    if here is None or (_begins_line(broken, here) and begins_statement(broken.text, here.start)):
        return len(broken.before)
    if previous and len(broken.before) > 1 and _begins_line(broken, previous) and here.kind == "word":
        known = begins_statement(broken.text, previous.start) or did_you_mean(previous.text, STATEMENTS)
        return len(broken.before) - 1 if known and here.text not in RESERVED else None
    return None


def _begins_line(broken: Broken, word: Word) -> bool:
    return is_first_on_line(broken.text, word.start)


def _never_closed(broken: Broken, bracket: Word) -> Diagnostic:
    closing = CLOSING[bracket.text]
    help = f"put '{closing}' where it ends"
    return error("E102", f"'{bracket.text}' is never closed", broken.span(bracket), help=help)


def _bracket(broken: Broken) -> Diagnostic | None:
    """A closing bracket that closes nothing, or the wrong one."""
    here = broken.here
    if here is None:
        return None
    brackets = open_brackets(broken.before)
    if here.kind == "text" and brackets:  # the doc of a statement whose bracket was forgotten
        return _never_closed(broken, brackets[-1])
    if here.text not in CLOSING.values():
        return None
    if not brackets:
        return error("E102", f"'{here.text}' closes nothing", broken.span(here), help="leave it out")
    opening = brackets[-1]
    if CLOSING[opening.text] == here.text:
        return None
    return error(
        "E102",
        f"'{opening.text}' is closed by '{here.text}'",
        broken.span(here),
        Label(broken.span(opening), "opened here"),
        help=f"close it with '{CLOSING[opening.text]}'",
    )


_DEFINES = ("=", "<-", ":=", "==")
_EQUAL_HELP = {
    "param": "a prior is written with ~: param NAME ~ Normal(0, 1); a known number is a const NAME = ...",
    "observe": "what is measured has a distribution: observe NAME ~ Normal(expression, sd)",
    "state": "a starting value is a statement of its own: init NAME = ...",
    "flux": "a flux is written: flux NAME: SOURCE -> TARGET at RATE",
    "sink": "a sink takes what fluxes bring: flux NAME: SOURCE -> SINK at RATE",
    "data": "the values of `data` come with the data; a known number is a const NAME = ...",
    "time": "the step is written: time t [hour] step 1 [hour]",
    "draw": "a draw is random: draw NAME ~ Poisson(mean); what follows from other names is a let NAME = ...",
    "wiener": "a Wiener process is what it is; it moves states by noise STATE = a*NAME",
}
_TILDE_HELP = {
    "let": "a definition is written with =; an unknown with a prior is a param, a measurement an observe",
    "const": "a constant is written with =; an unknown with a prior is a param",
    "state": "the law of a starting value is a statement of its own: init NAME ~ ...",
    "noise": "noise is normal by itself; what is written is its size: noise STATE = sigma",
    "wiener": "a Wiener process is what it is; it moves states by noise STATE = a*NAME",
}


def _relation(broken: Broken) -> Diagnostic | None:
    """`=`, `~` and their likes confused."""
    here = broken.here
    if here is None or here.text not in (*_DEFINES, "~"):
        return None
    if brackets := open_brackets(broken.before):
        return _never_closed(broken, brackets[-1]) if here.text == "~" else None
    span, accepts = broken.span(here), broken.accepts
    if here.text in ("<-", ":=", "==") and "_EQUAL" in accepts:
        return error("E109", f"'{here.text}' does not define anything here", span, help="write =")
    table, other = (_TILDE_HELP, "=") if here.text == "~" else (_EQUAL_HELP, "~")
    if ("TILDE" if other == "~" else "_EQUAL") in accepts:
        help = table.get(broken.keyword, f"`{broken.keyword}` is written with {other}")
        return error("E109", f"'{here.text}' where `{broken.keyword}` takes '{other}'", span, help=help)
    if broken.keyword in table and not any(w.text in (*_DEFINES, "~") for w in broken.before):
        return error("E109", f"`{broken.keyword}` takes no '{here.text}'", span, help=table[broken.keyword])
    if here.text == "=" and "COMPARE" in accepts:
        return error("E109", "'=' inside an expression", span, help="equality is asked with ==")
    return None


def _reserved(broken: Broken) -> Diagnostic | None:
    here = broken.here
    wants_name = "NAME" in broken.accepts and "NUMBER" not in broken.accepts
    if here is None or here.text not in RESERVED or not wants_name:
        return None
    message = f"'{here.text}' is a reserved word and cannot be a name"
    help = f"take another name; reserved are {', '.join(sorted(RESERVED))}"
    return error("E106", message, broken.span(here), help=help)


def _operator(broken: Broken) -> Diagnostic | None:
    """Two operands side by side: ``2x``, ``a b``, ``2 (x + y)``."""
    here, previous = broken.here, broken.previous
    if here is None or previous is None or "PLUS" not in broken.accepts or not previous.ends_operand:
        return None
    if here.text in RESERVED or not (here.kind in ("number", "word") or here.text == "("):
        return None
    if here.kind == "word" and is_first_on_line(broken.text, here.start):
        return None
    if here.kind == "word" and broken.after and broken.after.text == "=" and open_brackets(broken.before):
        return error(
            "E111",
            f"a comma is missing between '{previous.text}' and '{here.text}='",
            Label(broken.span(previous).to(broken.span(here))),
            help=f"write {previous.text}, {here.text}=...",
        )
    return error(
        "E111",
        f"an operator is missing between '{previous.text}' and '{here.text}'",
        Label(broken.span(previous).to(broken.span(here))),
        help=f"for a product write {previous.text}*{'(...)' if here.text == '(' else here.text}",
    )


def _unexpected(broken: Broken) -> Diagnostic:
    here = broken.here
    if here is None:  # nothing but a statement can be open at the end, and that was told already
        return error("E104", "the text ends too early", Span(broken.at, broken.at, broken.source))
    where = f" in `{broken.keyword}`" if broken.keyword else ""
    return error(
        "E101",
        f"unexpected {_shown(here)}{where}",
        Label(broken.span(here), f"expected {broken.expected}"),
        help=_advice(broken, here),
    )


def _shown(word: Word) -> str:
    return "text in quotes" if word.kind == "text" else f"'{word.text[:40]}'"


def _advice(broken: Broken, here: Word) -> tuple[str, ...]:
    if "UNIT_NAME" in broken.accepts or broken.accepts & {"SIGNED", "ONE"}:
        return _unit_help(broken)
    if here.text == "(" and "LSQB" in broken.accepts and broken.keyword in STATEMENTS:
        return ("a unit stands in square brackets: [1/day]", *broken.form)
    if here.text == "if" and "NUMBER" in broken.accepts:
        return ("put parentheses around the whole: (if condition then a else b)",)
    if here.text == "[" and broken.previous and broken.previous.text in (")", "]"):
        return ("a unit follows a number, 2 [mg/g], or a declared name: const depth [cm] = [1, 2]",)
    brackets = open_brackets(broken.before)
    if brackets and brackets[-1].text == "[" and "NUMBER" not in broken.accepts and "RSQB" in broken.accepts:
        return ("after a name, a bracket is an index such as C[layer]; a unit follows a number: 2 [mg/g]",)
    return broken.form


def _unit_help(broken: Broken) -> tuple[str, ...]:
    here = broken.here
    if here is not None and here.kind == "number":
        return ("a unit holds no number but 1 and powers: 10 [mg/g/day], [1/day], [kg m^-2]",)
    return ("units are written [mg/g/day], [1/day], [kg m^-2 s^-1], [%]",)


# --- what may stand somewhere ------------------------------------------------------------------------------

# Each phrase stands for terminals that mean one thing to a reader; the first to claim a terminal has it.
_PHRASES: tuple[tuple[frozenset[str], frozenset[str], str], ...] = tuple(
    (frozenset(needs.split()), frozenset(covers.split()), phrase)
    for needs, covers, phrase in (
        ("NUMBER", "NUMBER NAME LPAR LSQB PLUS MINUS NOT _IF SINCE PAST INTERVAL", "a value"),
        ("PLUS", "PLUS MINUS STAR SLASH POWER COMPARE AND OR LSQB LPAR", "an operator"),
        ("UNIT_NAME", "UNIT_NAME ONE LPAR STAR SLASH POWER CIRCUMFLEX SIGNED", "a unit"),
        ("STAR", "STAR SLASH POWER", "an operator"),
        ("EXPONENT", "EXPONENT", "a power such as 2 or -1"),
        ("NAME INT STRING", "NAME INT STRING", "a member's name"),
        ("NAME", "NAME", "a name"),
        ("INT", "INT MINUS", "a whole number"),
        ("COMPARE", "COMPARE _IN ENFORCED", "a bound such as >= 0"),
        ("_EQUAL", "_EQUAL LSQB", "'='"),
        ("TILDE", "TILDE LSQB", "'~'"),
        ("_FROM_DATA", "_FROM_DATA", "'from data'"),
        ("_ARROW", "_ARROW LSQB", "'->'"),
        ("_DOTS", "_DOTS", "'..'"),
        ("COLON", "COLON LSQB", "':'"),
        ("SLASH", "SLASH LSQB", "'/'"),
        ("LSQB", "LSQB", "an index or a unit in brackets"),
        ("COMMA", "COMMA", "','"),
        ("LPAR", "LPAR", "'('"),
        ("RPAR", "RPAR", "')'"),
        ("RSQB", "RSQB", "']'"),
        ("LBRACE", "LBRACE", "'{'"),
        ("RBRACE", "RBRACE", "'}'"),
        ("_THEN", "_THEN", "'then'"),
        ("_ELSE", "_ELSE", "'else'"),
        ("_TO", "_TO", "'to'"),
        ("_AT", "_AT", "'at'"),
        ("_STEP", "_STEP _FROM FORCING_AT _ORIGIN _COLUMN _SCHEME", "an option such as `step`"),
        ("INTERPOLATION", "INTERPOLATION", "'linear', 'previous', 'next' or 'cubic'"),
        (
            "CENSORED",
            "_COLUMN CENSORED ROUNDED_TO",
            "'censored below', 'censored above', 'rounded to', 'column'",
        ),
        ("_COLUMN", "_COLUMN", "'column'"),
        ("CYCLIC", "CYCLIC", "'cyclic'"),
        ("FROM_SOURCE", "FROM_SOURCE", "'from table', 'from python' or 'from command'"),
        ("RANDOM", "RANDOM _DENSITY", "'random' or 'density'"),
        ("_COLUMNS", "_COLUMNS _COLUMN", "'columns'"),
        ("DATE", "DATE", "a date such as 2012-01-31"),
        ("STRING", "STRING", "a text in double quotes"),
        ("$END", "$END", "the next statement"),
    )
)


def _in_words(accepts: Iterable[str]) -> str:
    left, phrases = set(accepts), []
    for needs, covers, phrase in _PHRASES:
        if needs <= left:
            phrases.append(phrase)
            left -= covers
            if "$END" in needs:
                break
    *head, last = phrases or ["something else"]
    return f"{', '.join(head)} or {last}" if head else last

"""The error catalogue: one document lists every code with its meaning, a failing and a mended example."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"^## ([EW]\d{3}): (.*)$", re.MULTILINE)
_SECTION = re.compile(r"^# [EW]\d?xx+: .*?(?=^## )", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^(Failing|Mended)(?: \((.*?)\))?:\n\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A block of the catalogue. ``kind`` is ``sbm`` (a model text), ``python`` or ``sh``."""

    role: str
    note: str
    kind: str
    text: str


@dataclass(frozen=True)
class Entry:
    code: str
    title: str
    text: str

    @property
    def examples(self) -> tuple[Example, ...]:
        return tuple(Example(*m.groups(default="")) for m in _BLOCK.finditer(self.text))


@cache
def catalogue() -> dict[str, Entry]:
    """Every entry of ``library/errors.md`` by code."""
    text = _SECTION.sub("", files("sbmlang.library").joinpath("errors.md").read_text("utf-8"))
    heads = list(_HEADING.finditer(text))
    ends = [*(h.start() for h in heads[1:]), len(text)]
    return {h[1]: Entry(h[1], h[2], text[h.end() : end].strip()) for h, end in zip(heads, ends, strict=True)}

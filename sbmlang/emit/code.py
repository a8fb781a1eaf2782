"""A small tree of Python code, printed last."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import indent

WIDTH = 104


@dataclass(frozen=True)
class Function:
    name: str
    arguments: tuple[str, ...]
    doc: str
    body: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f'"""{docstring(self.doc)}"""', *self.body]
        return f"def {self.name}({', '.join(self.arguments)}):\n" + indent("\n".join(lines), "    ")


@dataclass(frozen=True)
class Module:
    doc: str
    imports: tuple[str, ...]
    constants: tuple[str, ...]
    functions: tuple[Function, ...]

    def __str__(self) -> str:
        parts = [f'"""{docstring(self.doc)}"""', "\n".join(self.imports)]
        if self.constants:
            parts.append("\n".join(self.constants))
        return "\n\n".join(parts) + "".join(f"\n\n\n{f}" for f in self.functions) + "\n"


def docstring(text: str) -> str:
    """Text that can stand between triple quotes."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


def comment(*parts: str) -> str:
    """``  # doc [unit]`` at the end of a line, or nothing."""
    said = " ".join(p.replace("\n", " ") for p in parts if p)
    return f"  # {said}" if said else ""


def call(function: str, arguments: Iterable[str], prefix: str = "", end: str = ")") -> list[str]:
    """A call on one line if it fits, else one argument a line."""
    items = list(arguments)
    line = f"{prefix}{function}({', '.join(items)}{end}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{prefix}{function}(", *(f"    {item}," for item in items), end]


class Names:
    """Python names for model names: the same, unless Python or the program itself uses the word."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._reserved = frozenset(reserved)

    def __call__(self, name: str) -> str:
        clean = name.replace(".", "_")
        return f"{clean}_" if keyword.iskeyword(clean) or clean in self._reserved else clean

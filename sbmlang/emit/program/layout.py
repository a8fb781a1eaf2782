"""How named arrays lie in one flat vector, as generated code sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sbmlang.emit.code import Names, call

from .dialect import Dialect


@dataclass(frozen=True)
class Layout:
    """How named arrays lie in one flat vector; axes exclude the dims that are mapped over."""

    names: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    sizes: Mapping[str, int]
    dialect: Dialect

    def size(self, k: int) -> int:
        size = 1
        for axis in self.axes[k]:
            size *= self.sizes[axis]
        return size

    @property
    def is_flat(self) -> bool:
        return not any(self.axes)

    def places(self) -> Iterator[tuple[int, str, tuple[str, ...], int, int]]:
        start = 0
        for k, (name, axes) in enumerate(zip(self.names, self.axes, strict=True)):
            yield k, name, axes, start, start + self.size(k)
            start += self.size(k)

    def position(self, scalar: str) -> int:
        """Where a scalar component such as ``S`` or ``C[layer#2]`` lies."""
        base, _, index = scalar.partition("[")
        for _, name, axes, start, _ in self.places():
            if name == base:
                place = 0
                marks = dict(part.split("#") for part in index.rstrip("]").split(", ")) if index else {}
                for axis in axes:
                    place = place * self.sizes[axis] + int(marks[axis])
                return start + place
        raise KeyError(scalar)

    def unpack(self, python: Names, vector: str = "x") -> list[str]:
        if self.is_flat:
            left = ", ".join(map(python, self.names)) + ("," if len(self.names) == 1 else "")
            return [f"{left} = {vector}"]
        return [
            f"{python(name)} = {vector}[{start}]" if not axes
            else f"{python(name)} = {vector}[{start}:{stop}]" + self._shape(axes)
            for _, name, axes, start, stop in self.places()
        ]  # fmt: skip

    def _shape(self, axes: tuple[str, ...]) -> str:
        return "" if len(axes) == 1 else f".reshape({tuple(self.sizes[a] for a in axes)})"

    def pack(self, codes: Sequence[str]) -> list[str]:
        words = self.dialect
        if self.is_flat:
            return call(f"{words.library}.stack", [listed(codes)], "return ")
        parts = [
            words.reals(f"[{code}]") if not axes
            else f"{words.library}.broadcast_to({code}, {tuple(self.sizes[a] for a in axes)}).ravel()"
            for code, axes in zip(codes, self.axes, strict=True)
        ]  # fmt: skip
        return call(words.concatenate, [listed(parts)], "return ")


def listed(codes: Iterable[str]) -> str:
    items = list(codes)
    line = f"[{', '.join(items)}]"
    return line if len(line) < 80 else "[\n" + "".join(f"    {i},\n" for i in items) + "]"

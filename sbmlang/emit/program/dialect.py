"""The words in which the generated programs of array libraries differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from sbmlang.emit.printer import ArrayPrinter


class Dialect(ABC):
    """The terms of one array library. Arguments and results of the methods are code.

    ``library`` has the functions that all of them call the same (``stack``, ``isfinite``, ...);
    ``array`` makes an array of a list, ``asarray`` of anything, both with ``real`` as further arguments where
    real numbers are wanted. ``randomness`` is the argument of ``path`` that its random numbers come from.
    ``reserved`` are words of the program that no quantity of a model may be called by.
    """

    printer: ClassVar[type[ArrayPrinter]]
    library: ClassVar[str]
    array: ClassVar[str]
    asarray: ClassVar[str]
    real: ClassVar[tuple[str, ...]]
    concatenate: ClassVar[str]
    transpose: ClassVar[str]
    moveaxis: ClassVar[str]
    stacked: ClassVar[str]
    refilled: ClassVar[str]
    emptied: ClassVar[str]
    arranged: ClassVar[str]
    vmap: ClassVar[str]
    in_axes: ClassVar[str]
    parameter_arguments: ClassVar[tuple[str, ...]]
    randomness: ClassVar[str]
    own: ClassVar[str]
    said_of_randomness: ClassVar[str]
    reserved: ClassVar[tuple[str, ...]]

    def number(self, code: str) -> str:
        """An array of real numbers."""
        return f"{self.asarray}({', '.join((code, *self.real))})"

    def reals(self, items: str) -> str:
        """One array of real numbers from a list, perhaps nested, of numbers and scalar arrays."""
        return f"{self.array}({', '.join((items, *self.real))})"

    @abstractmethod
    def members(self, dim: str) -> str:
        """The positions of the members of a dim, from the data."""

    @abstractmethod
    def constant(self, code: str) -> str:
        """A plain number under a name of its own."""

    @abstractmethod
    def drawn(self, site: str, law: str) -> str:
        """A parameter drawn from its prior."""

    @abstractmethod
    def part(self, name: str, code: str) -> str:
        """A parameter that is a part of one that was drawn."""

    @abstractmethod
    def together(self, law: str, dims: int) -> str:
        """A law whose last ``dims`` axes are one event."""

    @abstractmethod
    def exponentiated(self, name: str, places: Sequence[int]) -> str:
        """The array of a name after exp at places of its last axis."""

    @abstractmethod
    def split(self, sizes: Sequence[str]) -> str:
        """What every member of a batch of these sizes gets as ``own`` (no sizes: the one member); "" for nothing."""

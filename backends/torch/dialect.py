"""The words of torch in generated programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sbmlang.emit.printer import ArrayPrinter
from sbmlang.emit.program.dialect import Dialect

from .printer import TorchPrinter


class TorchDialect(Dialect):
    """``torch``, ``mapped`` (torch.vmap) and random numbers by ``draw``, a function of laws."""

    printer: ClassVar[type[ArrayPrinter]] = TorchPrinter
    library = "torch"
    array = "array"
    asarray = "number"
    real = ()
    concatenate = "torch.cat"
    transpose = "torch.permute"
    moveaxis = "torch.movedim"
    stacked = "stacked"
    refilled = "refilled"
    emptied = 'data["emptied"]'
    arranged = "arranged"
    vmap = "mapped"
    in_axes = "in_dims"
    parameter_arguments = ("data", "draw")
    randomness = "draw"
    own = "_"
    said_of_randomness = "; draw(law) gives the random numbers."
    reserved = ("torch", "number", "array", "mapped", "stacked", "refilled", "arranged", "gamma", "partial")

    def members(self, dim: str) -> str:
        return f'number(data["members"]["{dim}"])'

    def constant(self, code: str) -> str:
        return f"number({code})"

    def drawn(self, site: str, law: str) -> str:
        return f'draw("{site}", {law})'

    def part(self, name: str, code: str) -> str:
        return code

    def together(self, law: str, dims: int) -> str:
        return law

    def split(self, sizes: Sequence[str]) -> str:
        # A map needs something to run over, also where members differ in nothing but their random numbers.
        return f"torch.empty(({''.join(f'{s}, ' for s in sizes)}))" if sizes else ""

    def exponentiated(self, name: str, places: Sequence[int]) -> str:
        return f"exponentiated({name}, {list(places)})"

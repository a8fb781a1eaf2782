"""The words of JAX and numpyro in generated programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sbmlang.emit.printer import ArrayPrinter
from sbmlang.emit.program.dialect import Dialect

from .printer import JaxPrinter


class JaxDialect(Dialect):
    """``jnp``, ``jax.vmap`` and sample sites of numpyro."""

    printer: ClassVar[type[ArrayPrinter]] = JaxPrinter
    library = "jnp"
    array = "jnp.array"
    asarray = "jnp.asarray"
    real = ("float",)
    concatenate = "jnp.concatenate"
    transpose = "jnp.transpose"
    moveaxis = "jnp.moveaxis"
    stacked = "filters.stacked"
    refilled = "smoothing.refilled"
    emptied = 'data["nodes"]'
    arranged = "smoothing.arranged"
    vmap = "jax.vmap"
    in_axes = "in_axes"
    parameter_arguments = ("data",)
    randomness = "key"
    own = "key"
    said_of_randomness = ", drawn with a key."
    reserved = ("jax", "jnp", "numpyro")

    def members(self, dim: str) -> str:
        return f'jnp.asarray(data["members"]["{dim}"])'

    def constant(self, code: str) -> str:
        return code

    def drawn(self, site: str, law: str) -> str:
        return f'numpyro.sample("{site}", {law})'

    def part(self, name: str, code: str) -> str:
        return f'numpyro.deterministic("{name}", {code})'

    def together(self, law: str, dims: int) -> str:
        return f"{law}.to_event({dims})"

    def split(self, sizes: Sequence[str]) -> str:
        return f"jax.random.split(key, ({''.join(f'{s}, ' for s in sizes)}))" if sizes else "key"

    def exponentiated(self, name: str, places: Sequence[int]) -> str:
        where = list(places)
        return f"{name}.at[..., {where}].set(jnp.exp({name}[..., {where}]))"

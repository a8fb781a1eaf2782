"""Expressions as jax.numpy code."""

from __future__ import annotations

from typing import ClassVar

from sbmlang.emit.printer import ArrayPrinter

_SAME = (
    "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "floor", "sign",
)  # fmt: skip


class JaxPrinter(ArrayPrinter):
    """Prints with ``jnp`` and ``jax.scipy.special``."""

    library = "jnp"
    where = "jnp.where"
    functions: ClassVar[dict[str, str]] = {
        **{name: f"jnp.{name}" for name in _SAME},
        "asin": "jnp.arcsin", "acos": "jnp.arccos", "atan": "jnp.arctan", "ceiling": "jnp.ceil",
        "Abs": "jnp.abs", "erf": "special.erf", "erfc": "special.erfc", "loggamma": "special.gammaln",
        "gamma": "special.gamma", "Expit": "special.expit", "Logit": "special.logit",
        "digamma": "special.digamma", "polygamma": "special.polygamma",
    }  # fmt: skip

    def _shifted(self, code: str, axis: int, shift: int, cyclic: bool) -> str:
        if cyclic:
            return f"jnp.roll({code}, {-shift}, axis={axis})"
        return f"shifted({code}, {shift}, axis={axis})"

    def _transposed(self, code: str, order: list[int]) -> str:
        return f"jnp.transpose({code}, {tuple(order)})"

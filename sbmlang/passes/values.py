"""Numbers for a symbolic model: prior medians or draws, and expressions as numpy functions.

Used at compile time only, for starting points and for telling stiff models; never for results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sympy as sp

from sbmlang.ir.graph import bodies
from sbmlang.ir.indexing import free_dims, inline
from sbmlang.ir.model import Argument, Joint, Law, Model, Parameter, Root
from sbmlang.ir.symbols import Expr, Member, Over, Ref, refs
from sbmlang.passes.scalarise import reductions

if TYPE_CHECKING:
    from numpy.random import Generator


class NeedsData(Exception):
    """A value that only the data can give; ``name`` is the covariate, forcing or size."""

    def __init__(self, name: str):
        self.name = name
        super().__init__(name)


def function(arguments: Sequence[Expr], values: Sequence[Expr]) -> Callable[..., list[Any]]:
    """A numpy function of ``arguments`` that returns the list of ``values``."""
    modules = [
        {"Expit": lambda x: 1 / (1 + sp_exp(-x)), "Logit": lambda x: sp_log(x / (1 - x))},
        "scipy",
        "numpy",
    ]
    from numpy import exp as sp_exp
    from numpy import log as sp_log

    dummies = [sp.Dummy() for _ in arguments]
    plain = dict(zip(arguments, dummies, strict=True))
    compiled: Callable[..., list[Any]] = sp.lambdify(
        dummies, [v.xreplace(plain) for v in values], modules=modules, cse=True
    )
    return compiled


class Point:
    """One point in parameter space: every named value that the model alone decides.

    Parameters take their prior medians, or draws when a generator is given; all members of an indexed one
    take the same value. ``given`` has values by name for what the data would give; ``value`` raises
    ``NeedsData`` for what is missing.
    """

    def __init__(
        self, model: Model, draw: Generator | None = None, given: Mapping[str, float] | None = None
    ) -> None:
        self.model = model
        self._draw = draw
        self._bodies = bodies(model)
        self._parameters = {p.name: p for p in model.parameters}
        self._joints = {j.name: j for j in model.joints}
        self._roots = {n: d for d in model.definitions if isinstance(d, Root) for n in d.names}
        self._known: dict[str, float] = dict(given or {})

    def value(self, expr: Expr, given: Mapping[Expr, float] | None = None) -> float:
        """The number an expression comes to; ``given`` has values for states and the time."""
        fixed = self.fixed(expr, set(map(str, given or {})))
        return float(function(list(given or {}), [fixed])(*(given or {}).values())[0])

    def fixed(self, expr: Expr, free: set[str]) -> Expr:
        """``expr`` with everything but the references named in ``free`` replaced by numbers."""
        model = self.model
        whole = reductions(model, inline(expr, self._bodies))
        for reduction in whole.atoms(Over):
            if free_dims(reduction.body) or reduction.dim in model.dims:
                raise NeedsData(reduction.dim)
        return whole.xreplace({r: sp.Float(self._of(r)) for r in refs(whole) if str(r) not in free})

    def _of(self, ref: Ref) -> float:
        if ref.base in self.model.dims:
            dim = self.model.dims[ref.base]
            (index,) = ref.index
            return float(dim.first + (index.position if isinstance(index, Member) else 0))
        if ref.base not in self._known:
            self._known[ref.base] = self._named(ref.base)
        return self._known[ref.base]

    def _named(self, name: str) -> float:
        if name in self._parameters:
            return self._parameter(self._parameters[name])
        root = self._roots.get(name)
        if root is not None and root.guess is not None:
            return root.guess[root.names.index(name)]
        raise NeedsData(name)

    def _parameter(self, parameter: Parameter) -> float:
        if parameter.law is not None:
            from sbmlang.library.quantiles import frozen

            law = parameter.law
            law_at = frozen(law.family, {k: self._argument(v) for k, v in law.args.items()})
            if self._draw is None:
                return float(law_at.ppf(0.5))
            return float(law_at.ppf(self._draw.uniform(0.001, 0.999)))
        return self._member(parameter, self._joints[parameter.group or ""])

    def _argument(self, value: Argument) -> float:
        if isinstance(value, tuple):
            raise NeedsData("a vector of arguments")
        return self.value(value)

    def _member(self, parameter: Parameter, joint: Joint) -> float:
        """The centre of one member of a joint prior."""
        return self.value(centre(joint.law, joint.members.index(parameter.name)))


def centre(law: Law, position: int) -> Expr:
    """The median of one member of a joint law (its mean for a Dirichlet)."""

    def entry(name: str) -> Expr:
        value = law.args[name]
        return value[position] if isinstance(value, tuple) else value

    match law.family:
        case "MvNormal":
            return entry("mu")
        case "MvLogitNormal":
            from sbmlang.ir.symbols import Expit

            low, high = entry("lower"), entry("upper")
            return low + (high - low) * Expit(entry("mu"))
        case "Dirichlet":
            alpha = law.args["alpha"]
            assert isinstance(alpha, tuple)
            return alpha[position] / sp.Add(*alpha)
    raise NeedsData(f"the joint law {law.family}")

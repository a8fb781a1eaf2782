"""The emulator's error in the likelihood.

The error of each component is a standard normal unknown more, so that outputs err together as the components tell;
what no component explains is independent from output to output and adds to the variance of the law,

    y_i ~ Law(location(f_i), sqrt(scale_i^2 + (d location/d f_i)^2 tau_i^2)),    f = emulator(theta) + M diag(s) e,

exactly for Normal laws whose location is linear in f, and for LogNormal and LogitNormal with a location linear in f.
Kennedy & O'Hagan (2001), Journal of the Royal Statistical Society B 63, 425-464; Higdon et al. (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import sympy as sp
from scipy.special import logit

from sbmlang.errors import Diagnostic, error
from sbmlang.ir import Dim, Law, Model, Observation, Output, Over, Parameter, Ref, refs
from sbmlang.ir.graph import written_out
from sbmlang.library.units import ONE

ERROR = "emulator_error"  # the unknowns
COMPONENT = "emulator_component"  # their dim
LOCATION = {
    "Normal": ("mu", "sigma"), "LogNormal": ("mu", "sigma"), "LogitNormal": ("mu", "sigma"),
    "StudentT": ("loc", "scale"), "Laplace": ("loc", "scale"), "Cauchy": ("loc", "scale"),
}  # fmt: skip
SCALE = {
    "LogNormal": np.log,
    "LogitNormal": logit,
}  # on which a law has its location, where it is not that of values


def slopes_of(model: Model, o: Observation, emulated: Sequence[str]) -> dict[str, float]:
    """How a channel's location changes with each output of the emulator in it, both in declared units; empty where it
    does not, or not by constants."""
    location = LOCATION.get(o.law.family, ("", ""))[0]
    if not location:
        return {}
    expr = written_out(model, o.law.args[location], set(emulated))
    found = {r.base: sp.diff(expr, r) for r in refs(expr) if r.base in emulated}
    return {n: float(slope) for n, slope in found.items()} if all(s.is_number for s in found.values()) else {}


def with_error(
    model: Model, emulated: Sequence[str], components: int
) -> tuple[Model, tuple[Diagnostic, ...]]:
    """The model with the error of an emulator of the outputs ``emulated`` in it, and W882 for each channel whose law
    has no place for the part that no component explains.
    """
    unknown = Parameter(
        name=ERROR, unit=ONE, dims=(COMPONENT,), law=Law("Normal", {"mu": sp.S.Zero, "sigma": sp.S.One}),
        doc="error of each component of the emulator, in its standard deviations",
    )  # fmt: skip
    simulators = tuple(
        replace(s, outputs=(*s.outputs, *(_error_of(o) for o in s.outputs if o.name in emulated)))
        for s in model.simulators
    )
    widened = [_widened(model, o, set(emulated)) for o in model.observations]
    changed = model.replace(
        dims={**model.dims, COMPONENT: Dim(COMPONENT, components)},
        parameters=(*model.parameters, unknown),
        simulators=simulators,
        observations=tuple(o for o, _ in widened),
    )
    return changed, tuple(note for _, note in widened if note is not None)


def _error_of(o: Output) -> Output:
    return Output(
        name=f"{o.name}.error", unit=o.unit, dims=o.dims, doc=f"what no component explains of {o.name}"
    )


def _widened(model: Model, o: Observation, emulated: set[str]) -> tuple[Observation, Diagnostic | None]:
    """The channel with the remaining error in the scale of its law, or a note that it is not."""
    args = {n: written_out(model, e, emulated) for n, e in o.law.args.items() if not isinstance(e, tuple)}
    if not any(r.base in emulated for e in args.values() for r in refs(e)):
        return o, None
    location, scale = LOCATION.get(o.law.family, ("", ""))
    if not location or _reduces(args[location], emulated):
        return o, error(
            "W882", f"'{o.name}': its law has no place for the part of the emulator's error that no component explains, "
            "so only the error of the components is in the likelihood",
            *((o.span,) if o.span else ()),
            help="the results tell how large that part is (truncation); more components make it smaller: --explained 0.9999",
        )  # fmt: skip
    mine = [r for r in refs(args[location]) if r.base in emulated]
    spread = [(sp.diff(args[location], r) * Ref(f"{r.base}.error", r.index)) ** 2 for r in mine]
    wide = sp.sqrt(sp.Add(args[scale] ** 2, *spread))
    return replace(o, law=Law(o.law.family, {**o.law.args, scale: wide})), None


def _reduces(expr: sp.Expr, emulated: set[str]) -> bool:
    """Whether an output stands inside a sum or mean over an index."""
    return any(r.base in emulated for over in expr.atoms(Over) for r in refs(over.body))

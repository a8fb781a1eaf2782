"""The path of a program being written, as the text of a native kernel and how it is called.

What every backend needs of ``kernels.ode``: the scalar system, whether a kernel pays, and calls on numpy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from typing import Any, Literal

import numpy as np

from sbmlang.emit.program.path import PathWriter
from sbmlang.errors import InternalError, SbmError
from sbmlang.ir import Along, Definition, Index, Member, Model, Ref, Stage
from sbmlang.kernels.dynamics import Forcing, OdeSystem
from sbmlang.kernels.ode import Method, Signature, source
from sbmlang.passes.scalarise import scalarise

Adjoint = Literal["auto", "forward", "reverse"]

MANY = 250
"""States times parameters beyond which a sweep back costs less than sensitivities (measured on chains of 5 to 60
states with a parameter each: 56 us forward and 125 in reverse at 10 x 11, 270 and 131 at 20 x 21)."""

LOG = 20_000_000
"""Numbers that a sweep back may keep of a path."""

FEW = 15
"""Parameters up to which sensitivities cost about as much as the path itself."""

LINES = 4_000
"""Of code, up to which kernels are taken by themselves; these take about 40 seconds to compile, once."""


@dataclass(frozen=True)
class PathKernel:
    """What a path kernel computes, and the names of what it takes: ``theta`` and ``known`` values and ``forcings``.

    ``options`` (4,): start of the path, rtol, atol, most steps; ``jumps`` are switches of the drift in time.
    """

    dynamics: OdeSystem
    method: Method
    theta: tuple[str, ...]
    known: tuple[str, ...]
    forcings: tuple[str, ...]
    options: tuple[float, ...]
    jumps: tuple[float, ...]

    def adjoint(self, wish: Adjoint) -> Adjoint:
        """``wish``, but "forward" for "auto" where a sweep back would keep too much of a path."""
        too_long = self.options[3] * len(self.dynamics.states) > LOG
        return "forward" if wish == "auto" and too_long else wish


def sweeps_back(dynamics: OdeSystem, method: Method, adjoint: Adjoint) -> bool:
    """Whether gradients come from a sweep back over the steps instead of sensitivities carried along."""
    many = len(dynamics.states) * len(dynamics.theta) > MANY
    return method == "explicit" and (adjoint == "reverse" or (adjoint == "auto" and many))


def path_kernel(writer: PathWriter, most: int | None) -> PathKernel | str:
    """The kernel for the path of a program, or why there is none; ``most`` lines of code, if that is not None."""
    if not (writer.states and writer.has_steps):
        return "it is for the solvers 'explicit' and 'implicit'"
    if find_spec("numba") is None:
        return "numba is not installed"
    method: Method = "implicit" if writer.settings.method == "implicit" else "explicit"
    try:
        dynamics = system(writer)
        lines = source(dynamics, method, sensitivities=bool(dynamics.theta)).count("\n")
    except (InternalError, SbmError) as reason:
        return f"an equation has no scalar form ({reason})"
    if most is not None and lines > most:
        return f"its {lines} lines of code would take minutes to compile"
    forcings = {f.name for f in writer.model.forcings}
    settings = writer.settings
    return PathKernel(
        dynamics, method,
        theta=tuple(writer.theta),
        known=tuple(n for n in writer.inputs if n not in forcings),
        forcings=tuple(n for n in writer.inputs if n in forcings),
        options=(writer.model.time.start, settings.rtol, settings.atol, float(settings.max_steps)),
        jumps=tuple(sorted(float(t) for t in writer.facts.jump_times)),
    )  # fmt: skip


def system(writer: PathWriter) -> OdeSystem:
    """The dynamics of one member of the batch.

    ``theta``, ``known`` and forcings are in the order of ``writer.theta`` and ``writer.inputs``, members of
    dims that are not mapped over one after the other. Raises ``InternalError`` where an expression has no
    scalar form.
    """
    model: Model = writer.model
    coupled = set(writer.known) - set(writer.batch)
    inits = {s.name: writer._inlined(s.init, Stage.PARAMETERS) for s in model.states}
    started = model.replace(states=tuple(replace(s, init=inits[s.name]) for s in model.states))
    scalars = scalarise(started, coupled)
    late = {
        d.name
        for d in model.definitions
        if isinstance(d, Definition) and writer.stage(d.name) > Stage.PARAMETERS
    }
    needed = writer._path_names()
    kinds = {f.name: f.interpolation for f in model.forcings}
    return OdeSystem(
        time=Ref(model.time.name),
        states=scalars.states,
        definitions=tuple((r, e) for r, e in scalars.definitions if r.base in late & needed),
        drift=scalars.drift,
        init=scalars.init,
        theta=_members(writer, writer.theta),
        known=_members(writer, [n for n in writer.inputs if n not in kinds]),
        forcings=tuple(Forcing(kinds[n], _members(writer, [n])) for n in writer.inputs if n in kinds),
    )


def _members(writer: PathWriter, names: Sequence[str]) -> tuple[Ref, ...]:
    """Every scalar of the named values, the index along mapped dims left free."""
    found: list[Ref] = []
    for name in names:
        axes: list[list[Index]] = [
            [Along(d)] if d in writer.batch else [Member(d, k) for k in range(writer.known[d])]
            for d in writer._dims_of(name)
        ]
        found += [Ref(name, index) for index in product(*axes)]
    return tuple(found)


def run(function: Any, signature: Signature, arrays: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Any:
    """The kernel on numpy arrays, each with leading dims of a map that are 1 where it does not change."""
    tails = [d or 1 for d in signature.dims]
    leads = [np.shape(a)[: np.ndim(a) - tail] for a, tail in zip(arrays, tails, strict=True)]
    lead = np.broadcast_shapes(*leads)
    at = np.stack([_rows(leads[k], lead) for k in signature.rows], axis=-1)
    inputs = [
        np.reshape(a, (-1, *np.shape(a)[np.ndim(a) - d :]) if d else -1)
        for a, d in zip(arrays, signature.dims, strict=True)
    ]
    out = [np.empty((len(at), *shape)) for shape in shapes]
    function(at, *inputs, *out)
    return tuple(o.reshape(*lead, *shape) for o, shape in zip(out, shapes, strict=True))


def _rows(lead: tuple[int, ...], whole: tuple[int, ...]) -> Any:
    own = np.arange(int(np.prod(lead))).reshape(lead)
    return np.broadcast_to(own, whole).ravel().astype(np.int64)

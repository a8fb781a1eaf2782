"""Kernels for paths of ordinary differential equations: the text of a numba module from a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from sbmlang.kernels import follow, reverse, rosenbrock, runge_kutta
from sbmlang.kernels.dynamics import Dynamics, OdeSystem

Method = Literal["explicit", "implicit"]


def source(system: OdeSystem, method: Method, *, sensitivities: bool) -> str:
    """The module of a path kernel; its function ``run`` computes all members one after the other.

    ``run(at, theta, known, grid, options, jumps, *forcings, path, report, slopes)``, floats unless said:
    ``theta`` (row, parameter) and ``known`` (row, number); ``grid`` (time,) sorted; ``options`` (4,): start of
    the path, rtol, atol, most steps; ``jumps`` (jump,) sorted times at which the drift jumps; for each forcing
    its ``time`` (point,) and ``value`` (row, point, member), for a cubic one also ``slope`` like value.
    ``at`` (member, 2 + forcings), int64: which row of theta, known and each forcing belongs to a member.

    Written: ``path`` (member, time, state); ``report`` (member, 3): how it ended (``follow.OK`` ...), the time
    reached, steps tried; with ``sensitivities`` (else there is no such argument) ``slopes`` (member, time, state,
    parameter), the derivatives of the path by theta.
    A path that does not reach the end is NaN everywhere. A grid time up to the start gives the start.
    """
    dynamics = Dynamics(system, sensitivities)
    n = len(system.states)
    match method:
        case "explicit":
            written, stages, matrix = runge_kutta.steps(dynamics), runge_kutta.STAGES, 1
        case "implicit":
            written = rosenbrock.steps(dynamics)
            stages, matrix = rosenbrock.RATE + 1, rosenbrock.matrix_size(n)
        case _:
            assert_never(method)
    run = follow.run(dynamics, dynamics.rows.stage(stages), matrix)
    results = {"path": 2, "report": 1} | ({"slopes": 3} if sensitivities else {})
    handler = _handler(signature(system), results)
    return _text([*written, *follow.loop(dynamics), run, handler])


def reverse_source(system: OdeSystem) -> str:
    """The module of a kernel for gradients by a reverse sweep (explicit method; ``system`` has parameters).

    ``run(at, theta, known, grid, options, jumps, *forcings, cotangent, gradient, report)``: as ``source``, with
    ``cotangent`` (row, time, state) the derivative of something by the path; the last column of ``at`` is for
    its rows. Written: ``gradient`` (member, parameter), its derivative by theta, NaN where the path does not
    reach the end; ``report``.
    """
    functions = reverse.functions(Dynamics(system, sensitivities=False))
    return _text([*functions, _handler(signature(system, reverse=True), {"gradient": 1, "report": 1})])


def _text(parts: Sequence[str]) -> str:
    return "\n\n\n".join(part.strip() for part in (follow.HEAD, *parts)) + "\n"


@dataclass(frozen=True)
class Signature:
    """The arguments of a kernel after ``at``: ``names``, how many ``dims`` each has for one member (0 for what all
    members share, which has one), and ``rows``, the positions of those that ``at`` has a column for."""

    names: tuple[str, ...]
    dims: tuple[int, ...]
    rows: tuple[int, ...]


def signature(system: OdeSystem, *, reverse: bool = False) -> Signature:
    """That of ``source`` or ``reverse_source``."""
    names = follow.arguments(system.forcings) + ["cotangent"] * reverse
    dims = {"theta": 1, "known": 1, "cotangent": 2}
    rows = [k for k, n in enumerate(names) if n in dims or n.startswith("value")]
    return Signature(
        tuple(names),
        tuple(dims.get(n, 2 if n.startswith(("value", "slope")) else 0) for n in names),
        tuple(rows),
    )


def _handler(given: Signature, results: Mapping[str, int]) -> str:
    """``run`` as a typed XLA foreign function; ``results`` with their dims for one member."""
    shared = [k for k, d in enumerate(given.dims) if d == 0]
    single = " or ".join(f"count(ffi.argument(frame, {k}), 1) != 1" for k in shared)
    first, tail = next(iter(results.items()))
    places = "\n".join(
        f"        at[member, {j}] = row(ffi.argument(frame, {k}), member, whole, {tail})"
        for j, k in enumerate(given.rows)
    )
    readers = {1: "vectors", 2: "matrices", 3: "blocks"}
    inputs = ", ".join(
        f"{readers[d]}(ffi.argument(frame, {k}))" if d else f"vectors(ffi.argument(frame, {k}))[0]"
        for k, d in enumerate(given.dims)
    )
    outputs = "\n".join(
        f"    {name} = {readers[d]}(ffi.result(frame, {k}))" for k, (name, d) in enumerate(results.items())
    )
    return f"""
@cfunc("int64(int64)", cache=True)
def handler(frame):
    if ffi.asked_for_version(frame):
        return 0
    whole = ffi.result(frame, 0)
{outputs}
    if {single}:  # the grid and the times of forcings are the same for all members
        {first}[:], report[:] = math.nan, {follow.NO_START}
        return 0
    at = np.empty((len({first}), {len(given.rows)}), np.int64)
    for member in range(len(at)):
{places}
    run(at, {inputs},
        {", ".join(results)})
    return 0
"""

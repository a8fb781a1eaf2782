"""Kernels for paths of ordinary differential equations: the text of a numba module from a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, assert_never

from sbmlang.kernels import follow, reverse, rosenbrock, runge_kutta
from sbmlang.kernels.dynamics import Dynamics, OdeSystem

Method = Literal["explicit", "implicit"]


def source(system: OdeSystem, method: Method, *, sensitivities: bool) -> str:
    """The module of a path kernel; its function ``run`` computes all members one after the other.

    ``run(at, theta, known, grid, options, jumps, *forcings, path, slopes, report)``, floats unless said:
    ``theta`` (row, parameter) and ``known`` (row, number); ``grid`` (time,) sorted; ``options`` (4,): start of
    the path, rtol, atol, most steps; ``jumps`` (jump,) sorted times at which the drift jumps; for each forcing
    its ``time`` (point,) and ``value`` (row, point, member), for a cubic one also ``slope`` like value.
    ``at`` (member, 2 + forcings), int64: which row of theta, known and each forcing belongs to a member.

    Written: ``path`` (member, time, state); ``slopes`` (member, time, state, parameter), its derivatives where
    ``sensitivities``; ``report`` (member, 3): how it ended (``follow.OK`` ...), the time reached, steps tried.
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
    handler = _handler(system, {"path": 2, "report": 1} | ({"slopes": 3} if sensitivities else {}))
    return _text([*written, *follow.loop(dynamics), run, handler])


def reverse_source(system: OdeSystem) -> str:
    """The module of a kernel for gradients by a reverse sweep (explicit method; ``system`` has parameters).

    ``run(at, theta, known, grid, options, jumps, *forcings, cotangent, gradient, report)``: as ``source``, with
    ``cotangent`` (row, time, state) the derivative of something by the path; the last column of ``at`` is for
    its rows. Written: ``gradient`` (member, parameter), its derivative by theta, NaN where the path does not
    reach the end; ``report``.
    """
    functions = reverse.functions(Dynamics(system, sensitivities=False))
    return _text([*functions, _handler(system, {"gradient": 1, "report": 1}, {"cotangent": 2})])


def _text(parts: Sequence[str]) -> str:
    return "\n\n\n".join(part.strip() for part in (follow.HEAD, *parts)) + "\n"


def _handler(
    system: OdeSystem, results: Mapping[str, int], more: Mapping[str, int] = MappingProxyType({})
) -> str:
    """``run`` as a typed XLA foreign function: its arguments after ``at`` (``more`` after the forcings), its
    results in the order of ``results``. Numbers are the dims they have for one member."""
    names = [*follow.arguments(system.forcings), *more]
    dims = {"theta": 1, "known": 1, **{n: 2 for n in names if n[:5] in ("value", "slope")}, **more}
    shared = [k for k, n in enumerate(names) if n not in dims]
    single = " or ".join(f"count(ffi.argument(frame, {k}), 1) != 1" for k in shared)
    rows = [0, 1, *(names.index(f"value{k}") for k in range(len(system.forcings))), *map(names.index, more)]
    tail = next(iter(results.values()))
    places = "\n".join(
        f"        at[member, {j}] = row(ffi.argument(frame, {k}), member, whole, {tail})"
        for j, k in enumerate(rows)
    )
    readers = {1: "vectors", 2: "matrices", 3: "blocks"}
    given = ", ".join(
        f"{readers[dims.get(n, 1)]}(ffi.argument(frame, {k})){'' if n in dims else '[0]'}"
        for k, n in enumerate(names)
    )
    written = "\n".join(
        f"    {n} = {readers[d]}(ffi.result(frame, {k}))" for k, (n, d) in enumerate(results.items())
    )
    order = ["path", "slopes", "report"] if "path" in results else ["gradient", "report"]
    if "path" in results and "slopes" not in results:
        written += "\n    slopes = np.empty((len(path), path.shape[1], path.shape[2], 0))"
    first = next(iter(results))
    return f"""
@cfunc("int64(int64)", cache=True)
def handler(frame):
    if ffi.asked_for_version(frame):
        return 0
    whole = ffi.result(frame, 0)
{written}
    if {single}:  # the grid and the times of forcings are the same for all members
        {first}[:], report[:] = math.nan, {follow.NO_START}
        return 0
    at = np.empty((len({first}), {len(rows)}), np.int64)
    for member in range(len(at)):
{places}
    run(at, {given},
        {", ".join(order)})
    return 0
"""

"""The loop around a one-step method: step control, points of forcings, values at the grid, failures.

Every method (``runge_kutta``, ``rosenbrock``) writes four numba functions for it, on the work array ``w``
of ``Rows``: ``ready`` prepares a step from the states in ``start`` and leaves the drift there in stage 0;
``attempt`` makes a step, leaves its end in ``at`` and returns the error as a multiple of what is allowed;
``dense`` puts the states at a fraction of the step into ``slope``; ``advance`` prepares the next step.

Error control. A step is accepted when the root mean square over the states of error / (atol + rtol |x|) is at
most 1, sizes following the PI controller of Gustafsson and Hairer & Wanner. The sensitivities do not take part:
they go through the same steps by the same method, so that a gradient is the derivative of the value that was
computed (with the steps held fixed), exact to rounding, and a Hamiltonian sampler sees a density and a gradient
that fit together. Their own error is of the order of the states' error per change of the parameter.

Steps end at the points of the forcings and at jump times, so that within a step the drift is smooth.

Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, sections II.4 and II.6; Hairer &
Wanner (1996), Solving Ordinary Differential Equations II, section IV.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from sbmlang.kernels import emit
from sbmlang.kernels.dynamics import COEFFICIENTS, Dynamics, Forcing

OK, STUCK, TOO_MANY, NO_START = 0, 1, 2, 3
"""Why a path ends: at the last time; no step is small enough (a pole, a drift that is not a number); too many
steps; a start that is not finite, or a forcing that does not cover the path."""

HEAD = f"""{emit.HEAD}
from numba import cfunc
from sbmlang.kernels import ffi
from sbmlang.kernels.frames import blocks, count, matrices, row, vectors

OPTIONS = {{"fastmath": {{"contract", "arcp", "nsz", "reassoc"}}, "error_model": "numpy", "nogil": True}}
"""
"""Not-a-number and infinity keep their meaning: failures are found by them."""


def arguments(forcings: Sequence[Forcing]) -> list[str]:
    """Names of a kernel's inputs, in order: see ``ode.source``."""
    names = ["theta", "known", "grid", "options", "jumps"]
    for k, forcing in enumerate(forcings):
        names += [f"time{k}", f"value{k}"] + ([f"slope{k}"] if forcing.kind == "cubic" else [])
    return names


def combination(parts: Sequence[tuple[float, str]]) -> str:
    """Code of a weighted sum, zeros left out."""
    terms = [f"({number!r})*{code}" for number, code in parts if number]
    return " + ".join(terms) or "0.0"


def series(forcings: Sequence[Forcing], of_member: bool) -> str:
    """The forcings among a function's arguments, of all members or of the one at hand."""
    at = [f"[at[member, {2 + k}]]" if of_member else "" for k in range(len(forcings))]
    return "".join(
        f", time{k}, value{k}{at[k]}" + (f", slope{k}{at[k]}" if f.kind == "cubic" else "")
        for k, f in enumerate(forcings)
    )


def loop(dynamics: Dynamics, *, recording: bool = False) -> list[str]:
    """The functions ``first_step`` and ``follow`` (and ``write``, which they need).

    With ``recording``, ``follow`` also writes down the steps it takes, time, size and states at the start of
    each in a row of ``log``; it returns how many.
    """
    r = dynamics.rows
    forcings = dynamics.system.forcings
    log = ", log" if recording else ""
    record = (
        f"""
                log[taken, 0], log[taken, 1] = t, size
                for i in range({r.states}):
                    log[taken, 2 + i] = w[{r.start} + i*{r.width}]"""
        * recording
    )
    first_step = f"""
@njit(**OPTIONS)
def first_step(t, a, b, c, w, rtol, atol, most):
    # A step for which the first two terms of the path's expansion are below the tolerance.
    d0 = d1 = 0.0
    for i in range({r.states}):
        scale = atol + rtol*abs(w[{r.start} + i*{r.width}])
        d0 += (w[{r.start} + i*{r.width}]/scale)**2
        d1 += (w[{r.stage(0)} + i*{r.width}]/scale)**2
    d0, d1 = math.sqrt(d0/{r.states}), math.sqrt(d1/{r.states})
    h = min(1e-6*most if d0 < 1e-5 or d1 < 1e-5 else 0.01*d0/d1, most)
    for j in range({r.size}):
        w[{r.at} + j] = w[{r.start} + j] + h*w[{r.stage(0)} + j]
    field(t + h, a, b, c, w)
    d2 = 0.0
    for i in range({r.states}):
        scale = atol + rtol*abs(w[{r.start} + i*{r.width}])
        d2 += ((w[{r.slope} + i*{r.width}] - w[{r.stage(0)} + i*{r.width}])/scale)**2
    d2 = math.sqrt(d2/{r.states})/h
    largest = max(d1, d2)
    if not math.isfinite(largest):
        return h if math.isfinite(d1) else math.nan
    return min(100*h, most, max(1e-6*most, 1e-3*h) if largest <= 1e-15 else (0.01/largest)**0.2)
"""
    follow = f"""
@njit(**OPTIONS)
def follow(p, k, grid, options, jumps{series(forcings, False)}, path, slopes, report{log}, w, a, b, c, g, m):
    t0, rtol, atol, most = options[0], options[1], options[2], options[3]
    end, count = grid[len(grid) - 1], len(grid)
    report[0], report[1], report[2] = {NO_START}, t0, 0.0
    constants(p, k, a)
    begin(p, k, w)
    for i in range({r.states}):
        if not math.isfinite(w[{r.start} + i*{r.width}]):
            return 0
{_covers(forcings)}
    row = 0
    while row < count and grid[row] <= t0:
        write(w, {r.start}, path[row], slopes[row])
        row += 1
    t, h, steps, taken, jump, before = t0, 0.0, 0, 0, 0, 1e-4
    while row < count:
        cut = end
{pieces(forcings)}
        while jump < len(jumps) and jumps[jump] <= t:
            jump += 1
        jumping = jump < len(jumps) and np.nextafter(jumps[jump], math.inf) < cut
        if jumping:  # the drift at the jump itself belongs to neither side
            cut = np.nextafter(jumps[jump], -math.inf)
        pieces(a, b, c)
        ready(t, a, b, c, w, m)
        if h == 0.0:
            h = first_step(t, a, b, c, w, rtol, atol, end - t)
        while t < cut:
            if not h > 1e-15*abs(t) or not math.isfinite(h) or steps >= most:
                report[0], report[1], report[2] = {TOO_MANY} if steps >= most else {STUCK}, t, steps
                return 0
            steps += 1
            size, last = h, False
            if t + 1.0001*h >= cut:
                size, last = cut - t, True
            elif t + 2.0*h > cut:  # two equal steps rather than a long and a short one
                size = 0.5*(cut - t)
            error = attempt(t, size, a, b, c, w, m, rtol, atol)
            if error <= 1.0:{record}
                taken += 1
                reached = cut if last else t + size
                while row < count and grid[row] <= reached:
                    if grid[row] == reached:
                        write(w, {r.at}, path[row], slopes[row])
                    else:
                        dense((grid[row] - t)/size, size, w)
                        write(w, {r.slope}, path[row], slopes[row])
                    row += 1
                error = max(error, 1e-10)
                grown = size*min(10.0, max(0.2, 0.9*error**-0.17*before**0.04))
                h = grown if size >= h else max(h, grown)  # a step cut short tells little
                before = max(error, 1e-4)
                for j in range({r.size}):
                    w[{r.start} + j] = w[{r.at} + j]
                t = reached
                if t < cut:
                    advance(t, a, b, c, w, m)
            else:
                h = size*max(0.2, 0.9*error**-0.2) if math.isfinite(error) else 0.1*size
        if jumping:
            t = np.nextafter(jumps[jump], math.inf)
    report[0], report[1], report[2] = {OK}, t, steps
    return taken
"""
    write = f"""
@njit(**OPTIONS)
def write(w, block, values, slopes):
    for i in range({r.states}):
        values[i] = w[block + i*{r.width}]
        for j in range({r.parameters}):
            slopes[i, j] = w[block + i*{r.width} + 1 + j]
"""
    return [write, first_step, follow]


def run(dynamics: Dynamics, work: int, matrix: int) -> str:
    """The function ``run``; ``work`` and ``matrix`` are the sizes of the arrays w and m."""
    forcings, r = dynamics.system.forcings, dynamics.rows
    slopes = ", slopes" if r.parameters else ""
    empty = "" if r.parameters else f"\n    slopes = np.empty((len(at), len(grid), {r.states}, 0))"
    return f"""
@njit(cache=True, **OPTIONS)
def run(at, {", ".join(arguments(forcings))}, path, report{slopes}):
{allocate(dynamics, work, matrix)}{empty}
    for member in range(len(at)):
        g[:] = 0
        follow(theta[at[member, 0]], known[at[member, 1]], grid, options, jumps{series(forcings, True)},
               path[member], slopes[member], report[member], w, a, b, c, g, m)
        if report[member, 0] != {OK}:
            path[member] = math.nan
            slopes[member] = math.nan
"""


def allocate(dynamics: Dynamics, work: int, matrix: int) -> str:
    """The arrays that all functions share."""
    a, b, c = dynamics.places
    return f"""\
    w, m = np.zeros({work}), np.zeros({matrix})
    a, b, c = np.zeros({a}), np.zeros({b}), np.zeros({c})
    g = np.zeros({max(1, len(dynamics.system.forcings))}, np.int64)"""


def _covers(forcings: Sequence[Forcing]) -> str:
    """Ends the path where a forcing does not reach over it, up to rounding."""
    lines = []
    for k in range(len(forcings)):
        lines += [
            f"    slack = 1e-9*max(abs(time{k}[0]), abs(time{k}[len(time{k}) - 1]))",
            f"    if t0 < time{k}[0] - slack or end > time{k}[len(time{k}) - 1] + slack:",
            "        return 0",
        ]
    return "\n".join(lines)


def pieces(forcings: Sequence[Forcing]) -> str:
    """The polynomials of the forcings from time t on, and the next of their points."""
    lines, place = [], 0
    for k, forcing in enumerate(forcings):
        time, value = f"time{k}", f"value{k}"
        lines += [
            f"i, n = g[{k}], len({time})",
            f"while i < n - 2 and {time}[i + 1] <= t:",
            "    i += 1",
            f"while i > 0 and {time}[i] > t:",
            "    i -= 1",
            f"g[{k}] = i",
            "j = min(i + 1, n - 1)",
            f"width = {time}[j] - {time}[i] if j > i else 1.0",
            f"if {time}[j] > t and {time}[j] < cut:",
            f"    cut = {time}[j]",
        ]
        for q in range(len(forcing.members)):
            lines += _polynomial(forcing, k, q, place, value)
            place += 1 + COEFFICIENTS[forcing.kind]
    return "\n".join("        " + line for line in lines)


def _polynomial(forcing: Forcing, k: int, q: int, place: int, value: str) -> list[str]:
    left, right = f"{value}[i, {q}]", f"{value}[j, {q}]"
    start = [f"c[{place}] = time{k}[i]"]
    match forcing.kind:
        case "previous":
            return [*start, f"c[{place + 1}] = {left}"]
        case "next":
            return [*start, f"c[{place + 1}] = {right}"]
        case "linear":
            return [*start, f"c[{place + 1}] = {left}", f"c[{place + 2}] = ({right} - {left})/width"]
        case "cubic":
            low, high = f"slope{k}[i, {q}]", f"slope{k}[j, {q}]"
            return [
                *start,
                f"mean = ({right} - {left})/width",
                f"c[{place + 1}] = {left}",
                f"c[{place + 2}] = {low}",
                f"c[{place + 3}] = (3.0*mean - 2.0*{low} - {high})/width",
                f"c[{place + 4}] = ({low} + {high} - 2.0*mean)/(width*width)",
            ]

"""Gradients of explicit Runge-Kutta paths by a reverse sweep over the steps that were taken.

The path is followed once more, writing down time, size and states of each step; then, from the last step to the
first, the stages are done again and their adjoints swept by the adjoint of the drift. This is the exact
derivative of the numbers computed (with the steps held fixed), as the sensitivities are; its cost does not grow
with the number of parameters.

Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, section II.6; Sandu (2006), On the
properties of Runge-Kutta discrete adjoints, Lecture Notes in Computer Science 3994, 550-557.
"""

from __future__ import annotations

from sbmlang.kernels import follow, runge_kutta
from sbmlang.kernels.dynamics import Dynamics
from sbmlang.kernels.follow import combination


def functions(dynamics: Dynamics) -> list[str]:
    """``run(at, *arguments, cotangent, gradient, report)``: see ``ode.reverse_source``."""
    r, forcings = dynamics.rows, dynamics.system.forcings
    n, parameters = r.states, len(dynamics.system.theta)
    written = [*runge_kutta.steps(dynamics, ("pull", "end")), *follow.loop(dynamics, recording=True)]
    # The array u: adjoints of the slopes of the stages, then of the states (at the end and the start of a step),
    # then what ``pull`` takes and gives.
    end, start, given, found = (n * (runge_kutta.STAGES + k) for k in range(4))
    last = runge_kutta.STAGES - 1
    stages = "".join(f"""
        for i in range({n}):
            w[{r.at} + i] = w[{r.start} + i] + h*({_stages(dynamics, k)})
            u[{given} + i] = u[{n * k} + i]
        pull(t + {runge_kutta.NODES[k]!r}*h, a, b, c, w, u[{given}:{found}], u[{found}:], p)
        for i in range({n}):
            u[{start} + i] += u[{found} + i]{_spread(n, k, found)}"""
        for k in range(last - 1, -1, -1))  # fmt: skip
    sweep = f"""
@njit(**OPTIONS)
def sweep(grid, options, log, taken{follow.series(forcings, False)}, cotangent, w, a, b, c, g, m, u, p):
    row = len(grid) - 1
    u[{end}:{start}] = 0.0
    for step in range(taken - 1, -1, -1):
        t, h = log[step, 0], log[step, 1]
        reached = log[step + 1, 0] if step + 1 < taken else grid[len(grid) - 1]
        cut = reached
{follow.pieces(forcings)}
        pieces(a, b, c)
        for i in range({n}):
            w[{r.start} + i] = log[step, 2 + i]
        ready(t, a, b, c, w, m)
        attempt(t, h, a, b, c, w, m, 1.0, 1.0)
        u[0:{end}] = 0.0
        u[{start}:{given}] = 0.0
        while row >= 0 and grid[row] > t and grid[row] > options[0]:
            if grid[row] >= reached:
                for i in range({n}):
                    u[{end} + i] += cotangent[row, i]
            else:
                spread((grid[row] - t)/h, h, cotangent[row], u)
            row -= 1
        for i in range({n}):
            u[{given} + i] = u[{n * last} + i]
        pull(t + h, a, b, c, w, u[{given}:{found}], u[{found}:], p)
        for i in range({n}):
            u[{end} + i] += u[{found} + i]
            u[{start} + i] += u[{end} + i]{_spread(n, last, end)}
{stages}
        u[{end}:{start}] = u[{start}:{given}]
    while row >= 0:
        for i in range({n}):
            u[{end} + i] += cotangent[row, i]
        row -= 1
"""
    run = f"""
@njit(cache=True, **OPTIONS)
def run(at, {", ".join(follow.arguments(forcings))}, cotangent, gradient, report):
{follow.allocate(dynamics, r.stage(runge_kutta.STAGES), 1)}
    log = np.empty((int(options[3]) + 1, {2 + n}))
    u = np.zeros({found + n})
    path, slopes = np.empty((len(grid), {n})), np.empty((len(grid), {n}, 0))
    for member in range(len(at)):
        g[:] = 0
        p, k = theta[at[member, 0]], known[at[member, 1]]
        taken = follow(p, k, grid, options, jumps{follow.series(forcings, True)},
                       path, slopes, report[member], log, w, a, b, c, g, m)
        gradient[member] = 0.0
        sweep(grid, options, log, taken{follow.series(forcings, True)}, cotangent[at[member, {2 + len(forcings)}]], w, a, b, c, g, m, u,
              gradient[member])
        end(p, k, u[{end}:{start}], gradient[member])
        if report[member, 0] != {follow.OK}:
            gradient[member] = math.nan
"""
    assert parameters
    return [*written, _dense(n, end, start), sweep, run]


def _stages(dynamics: Dynamics, k: int) -> str:
    weights = runge_kutta.WEIGHTS[k]
    return combination([(x, f"w[{dynamics.rows.stage(i)} + i]") for i, x in enumerate(weights)])


def _spread(n: int, k: int, source: int) -> str:
    """Adjoints of the states of stage k handed on to the slopes these were made of."""
    return "".join(
        f"\n            u[{n * i} + i] += ({x!r})*h*u[{source} + i]"
        for i, x in enumerate(runge_kutta.WEIGHTS[k])
        if x
    )


def _dense(n: int, end: int, start: int) -> str:
    """The adjoint of ``dense``: x(t + z h) = x + sum b_i k_i."""
    head, *_ = runge_kutta.DENSE.split("    for j")
    lines = "\n".join(f"        u[{n * i} + i] += b{i}*cotangent[i]" for i in range(runge_kutta.STAGES))
    return f"""{head.replace("def dense(z, h, w)", "def spread(z, h, cotangent, u)")}\
    for i in range({n}):
        u[{start} + i] += cotangent[i]
{lines}
"""

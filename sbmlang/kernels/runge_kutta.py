"""Explicit Runge-Kutta steps with sensitivities: the pair of Tsitouras of orders 5 and 4.

Seven stages, the last of which is the first of the next step; values between the ends of a step by his
interpolant of order 4. Tsitouras (2011), Computers & Mathematics with Applications 62, 770-775.
"""

from __future__ import annotations

from sbmlang.kernels.dynamics import Dynamics
from sbmlang.kernels.follow import combination

STAGES = 7

NODES = (0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0)

WEIGHTS = (
    (),
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
    (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
    (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
    (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
)

ERROR = (
    0.0017800110522257714, 0.0008164344596567463, -0.007880878010261996, 0.1447110071732629, -0.5823571654525552,
    0.45808210592918686, -0.015151515151515152,
)  # fmt: skip
"""Weights of order 5 less those of order 4."""

DENSE = """
@njit(**OPTIONS)
def dense(z, h, w):
    s = h*z*z
    b0 = -1.0530884977290216*h*z*(z - 1.3299890189751412)*(z*(z - 1.4364028541716351) + 0.7139816917074209)
    b1 = 0.1017*s*(z*(z - 2.1966568338249754) + 1.2949852507374631)
    b2 = 2.490627285651252793*s*(z*(z - 2.38535645472061657) + 1.57803468208092486)
    b3 = -16.54810288924490272*s*(z - 1.21712927295533244)*(z - 0.61620406037800089)
    b4 = 47.37952196281928122*s*(z - 1.203071208372362603)*(z - 0.658047292653547382)
    b5 = -34.87065786149660974*s*(z - 1.2)*(z - 0.666666666666666667)
    b6 = 2.5*s*(z - 1.0)*(z - 0.6)
    for j in range({size}):
        w[{slope} + j] = w[{start} + j] + {sum}
"""


def steps(dynamics: Dynamics, more: tuple[str, ...] = ()) -> list[str]:
    """The functions ``ready``, ``attempt``, ``dense`` and ``advance`` (see ``follow``), and ``more`` of the
    dynamics."""
    r = dynamics.rows
    ready = f"""
@njit(**OPTIONS)
def ready(t, a, b, c, w, m):
    for j in range({r.size}):
        w[{r.at} + j] = w[{r.start} + j]
    field(t, a, b, c, w)
    for j in range({r.size}):
        w[{r.stage(0)} + j] = w[{r.slope} + j]
"""
    stages = "".join(f"""
    for j in range({r.size}):
        w[{r.at} + j] = w[{r.start} + j] + h*({combination([(x, f"w[{r.stage(i)} + j]") for i, x in enumerate(weights)])})
    field(t + {node!r}*h, a, b, c, w)
    for j in range({r.size}):
        w[{r.stage(k)} + j] = w[{r.slope} + j]"""
        for k, (node, weights) in enumerate(zip(NODES, WEIGHTS, strict=True)) if k)  # fmt: skip
    error = combination([(x, f"w[{r.stage(i)} + i*{r.width}]") for i, x in enumerate(ERROR)])
    attempt = f"""
@njit(**OPTIONS)
def attempt(t, h, a, b, c, w, m, rtol, atol):{stages}
    total = 0.0
    for i in range({r.states}):
        scale = atol + rtol*max(abs(w[{r.start} + i*{r.width}]), abs(w[{r.at} + i*{r.width}]))
        total += (h*({error})/scale)**2
    return math.sqrt(total/{r.states})
"""
    parts = " + ".join(f"b{i}*w[{r.stage(i)} + j]" for i in range(STAGES))
    advance = f"""
@njit(**OPTIONS)
def advance(t, a, b, c, w, m):
    for j in range({r.size}):
        w[{r.stage(0)} + j] = w[{r.stage(STAGES - 1)} + j]
"""
    dense = DENSE.format(size=r.size, slope=r.slope, start=r.start, sum=parts)
    return [*dynamics.functions(["field", *more]), ready, attempt, dense, advance]

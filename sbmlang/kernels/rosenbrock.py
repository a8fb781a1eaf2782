"""Stiff paths: Rosenbrock steps with sensitivities, by the method Rodas5P.

Eight stages of order 5 with an embedded error of order 4, L-stable and stiffly accurate; each solves a linear
system with the same matrix W = I/(gamma h) - J, J the Jacobian of the drift at the start of the step,

    W k_i = f(t + c_i h, x + sum_j a_ij k_j) + h d_i df/dt + sum_j C_ij k_j / h.

Sensitivities are the exact derivatives of these equations: those of k_i solve the same system with the derivative
of the right-hand side and of J times k_i (second derivatives of the drift, from the tape).

Steinebach (2023), Construction of Rosenbrock-Wanner method Rodas5P, BIT Numerical Mathematics 63, 27; Hairer &
Wanner (1996), Solving Ordinary Differential Equations II, section IV.7.
"""

from __future__ import annotations

from sbmlang.kernels.dynamics import Dynamics, Rows

STAGES = 8
RATE = 9  # the block of df/dt, after f and the stages

GAMMA = 0.21193756319429014

NODES = (0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0)

SLANTS = (
    0.21193756319429014, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069,
    0.0, 0.0, 0.0,
)  # fmt: skip
"""The d_i."""

_LAST = (
    -7.502846399306121,
    2.561846144803919,
    -11.627539656261098,
    -0.18268767659942256,
    0.030198172008377946,
)

WEIGHTS = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    _LAST,
    (*_LAST, 1.0),
    (*_LAST, 1.0, 1.0),
)
"""The a_ij; the end of the step has the last row and 1 for the last stage, which is the error."""

COUPLINGS = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
     -28.087943162872662),
    (37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
     -54.66780262877968, -9.48861652309627),
)  # fmt: skip
"""The C_ij."""

DENSE = (
    (25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204, 0.524948541321073,
     1.1241088310450404, 0.4272876194431874, -0.17202221070155493),
    (-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796, 20.176138334709044,
     15.98066361424651, -6.789040303419874, -6.710236069923372),
    (11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643, -52.072871366152654,
     -59.78993625266729, -0.15582684282751913, 4.883087185713722),
)  # fmt: skip
"""x(t + z h) = (1-z) x0 + z (x1 + (1-z) (D0 + z (D1 + z D2)) k), of order 4."""


def steps(dynamics: Dynamics) -> list[str]:
    """The functions ``ready``, ``attempt``, ``dense`` and ``advance`` (see ``follow``); m holds J, then W."""
    r, n = dynamics.rows, dynamics.rows.states
    moves = not dynamics.is_autonomous
    names = ["field", "matrix"] + ["rate"] * moves + ["bend"] * bool(r.parameters)
    rate = (
        f"""    rate(t, a, b, c, w)
    for j in range({r.size}):
        w[{r.stage(RATE)} + j] = w[{r.slope} + j]"""
        * moves
    )
    ready = f"""
@njit(**OPTIONS)
def ready(t, a, b, c, w, m):
    for j in range({r.size}):
        w[{r.at} + j] = w[{r.start} + j]
    field(t, a, b, c, w)
    for j in range({r.size}):
        w[{r.stage(0)} + j] = w[{r.slope} + j]
    matrix(t, a, b, c, w, m)
{rate}

@njit(**OPTIONS)
def advance(t, a, b, c, w, m):
    ready(t, a, b, c, w, m)
"""
    slant = (
        f"""
        add(w[{r.slope}:{r.slope + r.size}], w[{r.stage(RATE)}:{r.stage(RATE) + r.size}], h*SLANTS[k])"""
        * moves
    )
    bend = f"""
        for i in range({n}):
            v[i] = w[{r.slope} + i*{r.width}]
        bend(t, a, b, c, w, v)
        solve_rows(m, w)
        for i in range({n}):
            w[{r.slope} + i*{r.width}] = v[i]""" * bool(r.parameters)
    # A loop over the stages, not unrolled: that takes a quarter of the time to compile.
    attempt = f"""
NODES = np.array({NODES})
SLANTS = np.array({SLANTS})
WEIGHTS = np.array({_square(WEIGHTS)})
COUPLINGS = np.array({_square(COUPLINGS)})


@njit(**OPTIONS)
def add(to, x, factor):
    for j in range({r.size}):
        to[j] += factor*x[j]


@njit(**OPTIONS)
def attempt(t, h, a, b, c, w, m, rtol, atol):
    for j in range({n * n}):
        m[{n * n} + j] = -m[j]
    for i in range({n}):
        m[{n * n} + i*{n + 1}] += {1.0 / GAMMA!r}/h
    if not factor(m):
        return math.inf
    v = m[{2 * n * n + n}:]
    for k in range({STAGES}):
        for j in range({r.size}):
            w[{r.at} + j] = w[{r.start} + j]
            w[{r.slope} + j] = w[{r.stage(0)} + j]
        if k:
            for i in range(k):
                stage = {r.stage(1)} + i*{r.size}
                add(w[{r.at}:{r.at + r.size}], w[stage : stage + {r.size}], WEIGHTS[k, i])
            field(t + NODES[k]*h, a, b, c, w)
            for i in range(k):
                stage = {r.stage(1)} + i*{r.size}
                add(w[{r.slope}:{r.slope + r.size}], w[stage : stage + {r.size}], COUPLINGS[k, i]/h){slant}
        solve(m, w){bend}
        stage = {r.stage(1)} + k*{r.size}
        w[stage : stage + {r.size}] = w[{r.slope}:{r.slope + r.size}]
    for j in range({r.size}):
        w[{r.at} + j] += w[{r.stage(STAGES)} + j]
    total = 0.0
    for i in range({n}):
        scale = atol + rtol*max(abs(w[{r.start} + i*{r.width}]), abs(w[{r.at} + i*{r.width}]))
        total += (w[{r.stage(STAGES)} + i*{r.width}]/scale)**2
    return math.sqrt(total/{n})
"""
    weights = "\n".join(
        f"    b{i} = y*({DENSE[0][i]!r} + z*(({DENSE[1][i]!r}) + z*({DENSE[2][i]!r})))" for i in range(STAGES)
    )
    parts = " + ".join(f"b{i}*w[{r.stage(i + 1)} + j]" for i in range(STAGES))
    dense = f"""
@njit(**OPTIONS)
def dense(z, h, w):
    y = z*(1.0 - z)
{weights}
    for j in range({r.size}):
        w[{r.slope} + j] = (1.0 - z)*w[{r.start} + j] + z*w[{r.at} + j] + {parts}
"""
    return [*dynamics.functions(names), _factor(n), _solve(r), ready, attempt, dense]


def matrix_size(n: int) -> int:
    """Numbers for J, W, its row exchanges and the values of a stage."""
    return 2 * n * n + 2 * n


def _square(rows: tuple[tuple[float, ...], ...]) -> list[list[float]]:
    return [[*row, *([0.0] * (STAGES - len(row)))] for row in rows]


def _factor(n: int) -> str:
    """W = LU with row exchanges, in place; False where W is singular or not finite."""
    return f"""
@njit(**OPTIONS)
def factor(m):
    for k in range({n}):
        best, largest = k, abs(m[{n * n} + k*{n} + k])
        for i in range(k + 1, {n}):
            if abs(m[{n * n} + i*{n} + k]) > largest:
                best, largest = i, abs(m[{n * n} + i*{n} + k])
        if not (largest > 0.0 and math.isfinite(largest)):
            return False
        m[{2 * n * n} + k] = best
        if best != k:
            for j in range({n}):
                m[{n * n} + k*{n} + j], m[{n * n} + best*{n} + j] = m[{n * n} + best*{n} + j], m[{n * n} + k*{n} + j]
        inverse = 1.0/m[{n * n} + k*{n} + k]
        for i in range(k + 1, {n}):
            if m[{n * n} + i*{n} + k] != 0.0:
                m[{n * n} + i*{n} + k] *= inverse
                for j in range(k + 1, {n}):
                    m[{n * n} + i*{n} + j] -= m[{n * n} + i*{n} + k]*m[{n * n} + k*{n} + j]
    return True
"""


def _solve(r: Rows) -> str:
    """The values in the block ``slope`` := W^-1 of them; ``solve_rows`` does whole rows."""
    n, first = r.states, r.states * r.states
    exchange = f"""
    for k in range({n}):
        other = int(m[{2 * n * n} + k])
        if other != k:
            for q in range({{columns}}):
                x = w[{r.slope} + k*{r.width} + q]
                w[{r.slope} + k*{r.width} + q] = w[{r.slope} + other*{r.width} + q]
                w[{r.slope} + other*{r.width} + q] = x"""
    values = f"""
@njit(**OPTIONS)
def solve(m, w):{exchange.format(columns=1)}
    for i in range({n}):
        for k in range(i):
            w[{r.slope} + i*{r.width}] -= m[{first} + i*{n} + k]*w[{r.slope} + k*{r.width}]
    for i in range({n - 1}, -1, -1):
        for k in range(i + 1, {n}):
            w[{r.slope} + i*{r.width}] -= m[{first} + i*{n} + k]*w[{r.slope} + k*{r.width}]
        w[{r.slope} + i*{r.width}] /= m[{first} + i*{n} + i]
"""
    rows = f"""
@njit(**OPTIONS)
def subtract(w, i, k, factor):
    to = w[{r.slope} + i*{r.width} : {r.slope} + (i + 1)*{r.width}]
    row = w[{r.slope} + k*{r.width} : {r.slope} + (k + 1)*{r.width}]
    for q in range({r.width}):
        to[q] -= factor*row[q]


@njit(**OPTIONS)
def solve_rows(m, w):{exchange.format(columns=r.width)}
    for i in range({n}):
        for k in range(i):
            if m[{first} + i*{n} + k] != 0.0:
                subtract(w, i, k, m[{first} + i*{n} + k])
    for i in range({n - 1}, -1, -1):
        for k in range(i + 1, {n}):
            if m[{first} + i*{n} + k] != 0.0:
                subtract(w, i, k, m[{first} + i*{n} + k])
        x = 1.0/m[{first} + i*{n} + i]
        for q in range({r.width}):
            w[{r.slope} + i*{r.width} + q] *= x
"""
    return values + (rows if r.parameters else "")

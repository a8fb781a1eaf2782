"""The particle filter around the functions of a model (``particles_code``), compiled with them.

A cloud is an array (blocks, rows*BLOCK): each block has its rows one after the other, the states, the normals,
the log weight. Log weights are normalised after every stop (a time with rows, window starts or output), so
that the sum of the weights after a row is the estimate of the row's predictive density given the rows
before it; the product of all is an unbiased estimate of the likelihood.

Gordon, Salmond & Smith (1993), IEE Proceedings F 140, 107-113; Kitagawa (1996), J. Comput. Graph. Stat. 5, 1-25
(systematic resampling); Chopin & Papaspiliopoulos (2020), An Introduction to Sequential Monte Carlo, Springer.
"""

from __future__ import annotations

import inspect
import math
import re
from typing import Any, Protocol

import numba
import numpy as np

from sbmlang.kernels.random import fill_normals, mixed, uniform
from sbmlang.kernels.vectorised import exp

BLOCK = 64
_U = np.uint64
_OTHER, _RESAMPLING = _U(0x5851F42D4C957F2D), _U(0x2545F4914F6CDD1D)
_native = numba.njit(error_model="numpy", nogil=True, cache=True)
# Weights are never nan: sums and maxima may run in lanes.
_sums = numba.njit(
    error_model="numpy", nogil=True, cache=True, fastmath={"reassoc", "nnan", "nsz", "contract"}
)


@_sums
def _highest(weights: Any) -> float:
    top = -math.inf
    for x in weights:
        top = max(top, x)
    return top


@_sums
def _total(w: Any) -> float:
    total = 0.0
    for x in w:
        total += x
    return total


@_sums
def _scaled(log_weights: Any, top: float, w: Any) -> tuple[float, float]:
    """Weights over the greatest of them into ``w``; their sum and the sum of their squares."""
    total, squares = 0.0, 0.0
    for i in range(len(w)):
        w[i] = exp(log_weights[i] - top)
        total += w[i]
        squares += w[i] * w[i]
    return total, squares


@_native
def weigh(cloud: Any, row: int, w: Any) -> tuple[float, float]:
    """Log of the sum of the weights whose logs are in a row, and the effective sample size.

    ``w`` (particle,) gets the weights, up to a common factor. -inf and 0 where no particle has any weight.
    """
    top = -math.inf
    for b in range(len(cloud)):
        top = max(top, _highest(cloud[b][row * BLOCK : (row + 1) * BLOCK]))
    if not top > -math.inf:
        return -math.inf, 0.0
    total, squares = 0.0, 0.0
    for b in range(len(cloud)):
        s, q = _scaled(cloud[b][row * BLOCK : (row + 1) * BLOCK], top, w[b * BLOCK : (b + 1) * BLOCK])
        total += s
        squares += q
    return top + math.log(total), total * total / squares


@_native
def systematic(w: Any, u: float, ancestors: Any) -> None:
    """The particle each new one comes from: particle i gets n w_i/sum(w) children on average, within one.

    ``u`` in (0, 1) is the only random number; ``ancestors`` (n,) comes out sorted.
    """
    n = len(ancestors)
    scale = n / _total(w)
    reached, child = 0.0, 0
    for i in range(len(w)):
        reached += w[i] * scale
        while child < n and child + u < reached:
            ancestors[child] = i
            child += 1
    last = ancestors[child - 1] if child > 0 else 0
    while child < n:  # rounding may leave the last one over
        ancestors[child] = last
        child += 1


@_native
def move(cloud: Any, spare: Any, states: int, ancestors: Any) -> None:
    for b in range(len(cloud)):
        for i in range(BLOCK):
            from_ = ancestors[b * BLOCK + i]
            block, place = from_ // BLOCK, from_ % BLOCK
            for j in range(states):
                spare[b, j * BLOCK + i] = cloud[block, j * BLOCK + place]
    for b in range(len(cloud)):
        for i in range(states * BLOCK):
            cloud[b, i] = spare[b, i]


@_native
def weighted_mean(cloud: Any, states: int, w: Any, mean: Any) -> None:
    """The weighted mean of the states (state,)."""
    total = _total(w)
    for j in range(states):
        s = 0.0
        for b in range(len(cloud)):
            for i in range(BLOCK):
                if w[b * BLOCK + i] > 0.0:
                    s += w[b * BLOCK + i] * cloud[b, j * BLOCK + i]
        mean[j] = s / total


@_native
def add_row(h: Any, M: Any, r: Any) -> None:
    """What a row with slopes, residual and variance ``h`` tells about the state, added to M (n*n,) and r (n,)."""
    n = len(r)
    if not (0.0 < h[n + 1] < math.inf and -math.inf < h[n] < math.inf):
        return
    for i in range(n):
        r[i] += h[i] * h[n] / h[n + 1]
        for j in range(n):
            M[i * n + j] += h[i] * h[j] / h[n + 1]


@_native
def back_through(F: Any, B: Any, M: Any, r: Any, work: Any) -> None:
    """Information (M, r) about the state after x' = F x + B z, z standard normal, made information before it.

    One normal after the other: with M b = c and 1 + b'c = v, M loses cc'/v and r loses c b'r/v.
    """
    n = len(r)
    count = len(B) // n
    for k in range(count):
        v, drawn = 1.0, 0.0
        for i in range(n):
            work[i] = 0.0
            for j in range(n):
                work[i] += M[i * n + j] * B[j * count + k]
            v += work[i] * B[i * count + k]
            drawn += r[i] * B[i * count + k]
        for i in range(n):
            r[i] -= work[i] * drawn / v
            for j in range(n):
                M[i * n + j] -= work[i] * work[j] / v
    for i in range(n):  # r' = F'r, M' = F'MF
        work[i] = 0.0
        for j in range(n):
            work[i] += F[j * n + i] * r[j]
    for i in range(n):
        r[i] = work[i]
    for i in range(n):
        for j in range(n):
            total = 0.0
            for m in range(n):
                total += M[i * n + m] * F[m * n + j]
            work[i * n + j] = total
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for m in range(n):
                total += F[m * n + i] * work[m * n + j]
            M[i * n + j] = total
            M[j * n + i] = total


@_native
def has_rows(kind: Any, offset: Any, q: int) -> bool:
    for e in range(offset[q], offset[q + 1]):  # noqa: SIM110 (any() of a generator does not compile)
        if kind[e] >= 0:
            return True
    return False


class Own(Protocol):
    """What is written for a model (``particles_code``, ``particles_guide``).

    ``SIZES``: states, rows of normals, normals at the start and of a step, length of ``a``, words of random bits
    that a block uses in a step. ``known_*`` fill ``a`` with what all particles share; the others run over a block
    ``v``. ``p`` parameters, ``k`` known, ``t`` time, ``w`` width, ``f`` forcings, ``y`` a row's value, ``d`` durations.
    """

    SIZES: tuple[int, int, int, int, int, int]

    def known_start(self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any) -> None: ...
    def start(self, a: Any, v: Any, key: Any, counter: Any, stream: Any) -> None: ...
    def known_step(self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any) -> None: ...
    def step(self, a: Any, v: Any, key: Any, counter: Any, stream: Any) -> None: ...
    def known_row(
        self, kind: int, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any
    ) -> None: ...
    def row(self, kind: int, a: Any, v: Any) -> None: ...
    def known_jump(
        self, kind: int, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any
    ) -> None: ...
    def jump(self, kind: int, a: Any, v: Any) -> None: ...

    # the model around one state m: the value after, slopes F by state and B by normal; a row's slopes h
    def linear_start(self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, to: Any) -> None: ...
    def linear_step(self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any,
                    m: Any, to: Any, F: Any, B: Any) -> None: ...  # fmt: skip
    def linear_row(self, kind: int, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any,
                   m: Any, h: Any) -> None: ...  # fmt: skip
    def linear_jump(self, kind: int, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any,
                    m: Any, to: Any, F: Any) -> None: ...  # fmt: skip

    # proposals, given a row g of the plan
    def known_guided_start(
        self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any
    ) -> None: ...
    def guided_start(self, a: Any, g: Any, v: Any) -> None: ...
    def known_guided_step(
        self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any
    ) -> None: ...
    def guided_step(self, a: Any, g: Any, v: Any) -> None: ...
    def known_look(self, p: Any, k: Any, t: float, w: float, f: Any, y: float, d: Any, a: Any) -> None: ...
    def look(self, a: Any, g: Any, v: Any) -> None: ...


def filtered(
    own: Own, model: Any, stops: Any, clouds: Any, key: Any, threshold: float, look_ahead: int, out: Any
) -> tuple[float, int]:
    """Runs the filter of one member; returns the log likelihood, and the event at which all weights vanished.

    model: p (theta,), k (known,), time, width, forcing (step, [forcing]), time and forcing of the start.
    stops: steps done (stop,), offset of their events (stop + 1,), then by event kind, value, time, forcing,
    durations. out: ess (stop,), score (event,), and where they have a stop axis history (stop, state,
    particle), log weights (stop, particle) and ancestors (stop, particle).
    """
    states, normals, at_start, at_step, slots, words = own.SIZES
    p, k, time, width, forcing, start_time, start_forcing = model
    stop_steps, offset, kind, value, row_time, row_forcing, durations = stops
    cloud, spare = clouds
    ess, score, history, log_weights, lineage = out
    blocks = len(cloud)
    count = blocks * BLOCK
    lw = states + normals
    w, ancestors = np.ones(count), np.empty(count, np.int64)
    stream = np.zeros(1, np.uint64)
    other, resampling = mixed(key ^ _OTHER), mixed(key ^ _RESAMPLING)
    counter = _U(0)
    none = np.zeros(durations.shape[1])
    longest = stop_steps[0]
    for q in range(1, len(stop_steps)):
        longest = max(longest, stop_steps[q] - stop_steps[q - 1])
    a, guides = np.empty((longest + 1, slots)), np.empty((longest + 1, slots))
    size = 2 * states + states * states
    info = np.zeros((longest + 1, size))
    mean = np.zeros(states)

    # --- the start ---
    from_start = False
    if look_ahead > 0:
        own.linear_start(p, k, start_time, 0.0, start_forcing, 0.0, none, mean)
        plan(own, -1, 0, look_ahead, mean, model, stops, info)
        from_start = at_start > 0
    if from_start:
        own.known_guided_start(p, k, start_time, 0.0, start_forcing, 0.0, none, guides[0])
    own.known_start(p, k, start_time, 0.0, start_forcing, 0.0, none, a[0])
    for b in range(blocks):
        v = cloud[b]
        for i in range(BLOCK):
            v[lw * BLOCK + i] = -math.log(count)
        if at_start:
            fill_normals(v[states * BLOCK : (states + at_start) * BLOCK], key, counter)
        if from_start:
            own.guided_start(guides[0], info[0], v)
        else:
            own.start(a[0], v, other, counter, stream)
        counter += _U(words)

    done, total = 0, 0.0
    for q in range(len(stop_steps)):
        steps = stop_steps[q] - done
        if steps > 0:
            # --- resample, looking ahead where that is asked for ---
            here, enough = 0.0, weigh(cloud, lw, w)
            looked = False
            if look_ahead > 0 and at_step > 0:
                weighted_mean(cloud, states, w, mean)
                looked = plan(own, q - 1, done, look_ahead, mean, model, stops, info)
                for n in range(steps):
                    own.known_guided_step(
                        p, k, time[done + n], width[done + n], forcing[done + n], 0.0, none, guides[n]
                    )
            if looked:
                own.known_look(p, k, time[done], width[done], forcing[done], 0.0, none, a[0])
                for b in range(blocks):
                    v = cloud[b]
                    own.look(a[0], info[1], v)
                    for i in range(BLOCK):
                        x = v[(lw - 1) * BLOCK + i]
                        v[(lw - 1) * BLOCK + i] = x + v[lw * BLOCK + i] if x > -1e300 else v[lw * BLOCK + i]
                enough = weigh(cloud, lw - 1, w)
            if looked and q > 0:
                ess[q - 1] = enough[1]
            if enough[1] < threshold * count:
                here = enough[0]
                systematic(w, uniform(resampling, _U(q)), ancestors)
                if looked:  # w/look is what is left of the weight
                    for b in range(blocks):
                        for i in range(BLOCK):
                            v = cloud[b]
                            v[(lw - 1) * BLOCK + i] -= v[lw * BLOCK + i]
                    for n in range(count):
                        from_ = ancestors[n]
                        w[n] = (
                            here - math.log(count) - cloud[from_ // BLOCK, (lw - 1) * BLOCK + from_ % BLOCK]
                        )
                else:
                    for n in range(count):
                        w[n] = here - math.log(count)
                move(cloud, spare, states, ancestors)
                for b in range(blocks):
                    for i in range(BLOCK):
                        cloud[b, lw * BLOCK + i] = w[b * BLOCK + i]
                if q > 0 and len(lineage) > 0:
                    for n in range(count):
                        lineage[q - 1, n] = ancestors[n]
            # --- move ---
            for n in range(steps):
                own.known_step(p, k, time[done + n], width[done + n], forcing[done + n], 0.0, none, a[n])
            for b in range(blocks):
                v = cloud[b]
                for n in range(steps):
                    if at_step:
                        fill_normals(v[states * BLOCK : (states + at_step) * BLOCK], key, counter)
                    if looked:
                        own.guided_step(guides[n], info[n + 1], v)
                    else:
                        own.step(a[n], v, other, counter, stream)
                    counter += _U(words)
            done = stop_steps[q]
        # --- rows and windows ---
        before = 0.0
        for e in range(offset[q], offset[q + 1]):
            if kind[e] >= 0:
                own.known_row(kind[e], p, k, row_time[e], 0.0, row_forcing[e], value[e], durations[e], a[0])
                for b in range(blocks):
                    own.row(kind[e], a[0], cloud[b])
                after = weigh(cloud, lw, w)[0]
                score[e] = after - before
                if not after > -math.inf:
                    return -math.inf, e
                before = after
            else:
                own.known_jump(-1 - kind[e], p, k, row_time[e], 0.0, row_forcing[e], 0.0, durations[e], a[0])
                for b in range(blocks):
                    own.jump(-1 - kind[e], a[0], cloud[b])
        total += before
        if before != 0.0:
            for b in range(blocks):
                for i in range(BLOCK):
                    cloud[b, lw * BLOCK + i] -= before
        ess[q] = weigh(cloud, lw, w)[1]
        if len(history) > 0:
            for b in range(blocks):
                for i in range(BLOCK):
                    n = b * BLOCK + i
                    for j in range(states):
                        history[q, j, n] = cloud[b, j * BLOCK + i]
                    log_weights[q, n] = cloud[b, lw * BLOCK + i]
                    lineage[q, n] = n
    return total, -1


def plan(
    own: Own, last: int, done: int, look_ahead: int, mean: Any, model: Any, stops: Any, info: Any
) -> bool:
    """What the next rows say about the states on the way there, into ``info`` (step + 1, ...).

    ``mean`` (state,) is where the trajectory begins, after stop ``last`` with ``done`` steps done; rows of the
    next ``look_ahead`` stops that have any are heard. Row n of ``info`` belongs to the state after n steps, up to
    the next stop: the trajectory, r, M. Returns whether any row says anything.
    """
    p, k, time, width, forcing, _, _ = model
    stop_steps, offset, kind, value, row_time, row_forcing, durations = stops
    states, normals = own.SIZES[0], own.SIZES[1]
    none = np.zeros(durations.shape[1])
    until, heard = last, 0
    for q in range(last + 1, len(stop_steps)):
        if heard < look_ahead and has_rows(kind, offset, q):
            until = q
            heard += 1
    if heard == 0:
        return False
    # Forwards: steps, and the jumps between them, each x' = F x + B z around the trajectory.
    most = stop_steps[until] - done + offset[until + 1] - offset[last + 1]
    places = np.empty((most + 1, states))
    F, B = np.zeros((most, states * states)), np.zeros((most, states * normals))
    moves, seen = np.zeros(most, np.bool_), np.full(most + 1, -1)
    for j in range(states):
        places[0, j] = mean[j]
    at, now = 0, done
    for q in range(last + 1, until + 1):
        while now < stop_steps[q]:
            own.linear_step(
                p, k, time[now], width[now], forcing[now], 0.0, none, places[at], places[at + 1], F[at], B[at]
            )
            moves[at] = True
            at += 1
            now += 1
        seen[at] = q
        for e in range(offset[q], offset[q + 1]):
            if kind[e] < 0 and q < until:
                own.linear_jump(-1 - kind[e], p, k, row_time[e], 0.0, row_forcing[e], 0.0, durations[e],
                                places[at], places[at + 1], F[at])  # fmt: skip
                at += 1
    M, r, work = np.zeros(states * states), np.zeros(states), np.empty(states * states)
    h = np.empty(states + 2)
    # Backwards, keeping what stands after the steps until the next stop.
    n = now - done
    sound = True
    for back in range(at, -1, -1):
        if back < at:
            back_through(F[back], B[back], M, r, work)
            if moves[back]:
                n -= 1
        if seen[back] >= 0:
            for e in range(offset[seen[back]], offset[seen[back] + 1]):
                if kind[e] >= 0:
                    for j in range(states + 2):
                        h[j] = 0.0
                    own.linear_row(
                        kind[e],
                        p,
                        k,
                        row_time[e],
                        0.0,
                        row_forcing[e],
                        value[e],
                        durations[e],
                        places[back],
                        h,
                    )
                    add_row(h, M, r)
        if n < len(info) and (back == 0 or moves[back - 1]):
            for j in range(states):
                info[n, j] = places[back, j]
                info[n, states + j] = r[j]
                sound = sound and abs(r[j]) < math.inf and abs(places[back, j]) < math.inf
            for j in range(states * states):
                info[n, 2 * states + j] = M[j]
                sound = sound and abs(M[j]) < math.inf
    if not sound:
        for n in range(len(info)):
            for j in range(states, info.shape[1]):
                info[n, j] = 0.0
    return sound


def source(guided: bool) -> str:
    """``plan`` and ``filtered`` as code of a model's module, where ``own`` is the module itself.

    Numba can keep compiled code on disk only where the functions called are globals.
    """
    written = inspect.getsource(plan) if guided else _UNPLANNED
    text = "\n\n".join([written, inspect.getsource(filtered)])
    text = re.sub(r"\bown\.", "", text)
    text = re.sub(r"(?<=\()(\s*)own(: Own)?,\s*", r"\1", text)
    text = text.replace(
        "def plan", "@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **NATIVE)\ndef plan"
    )
    return text.replace("def filtered", "@njit(cache=True, **NATIVE)\ndef filtered")


_UNPLANNED = """def plan(last, done, look_ahead, mean, model, stops, info):
    return False
"""

"""A stochastic model written as one step of its path, member by member.

Schemes for dx = a dt + b dW over a step of width h, with xi standard normal:

    euler      x' = x + a h + b sqrt(h) xi                                        (Maruyama 1955)
    milstein   the same + b (db/dx) h (xi^2 - 1)/2, for noise that each state has alone (Milstein 1975)
    exact      the law of the linear equation, coefficients held over the step; closed where states do not
               touch, else left to the matrix exponential (``Step.scheme``)

Kloeden & Platen (1992), Numerical Solution of Stochastic Differential Equations, chapters 4 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, assert_never

import sympy as sp

from sbmlang.errors import SbmError, error
from sbmlang.ir.model import Law, Map, Model, Ode, Sde
from sbmlang.ir.notation import expression
from sbmlang.ir.stepping import WIDTH, Step
from sbmlang.ir.symbols import Expr, Ref, refs
from sbmlang.passes.linear import is_constant, linear_system
from sbmlang.passes.parts import Parts
from sbmlang.source import Span

_NORMAL = Law("Normal", {"mu": sp.S.Zero, "sigma": sp.S.One})


def discretise(model: Model, keep: Literal["observed", "all"] = "observed") -> Step:
    """One step of a stochastic model that went through all passes.

    ``keep``: by default the states that an observation or a report depends on, directly or through other
    states; "all" has every state, sinks too, for results.

    Raises ``SbmError`` E420 (an index that leaves its dim), E421 (members that come with the data touch each
    other), E722 (the noise is not what Milstein's scheme takes), E723 (no step), E724 (not what the exact
    scheme takes), ``NotYet`` E725 (a window that needs more than states where it begins).
    """
    parts = Parts(model, keep)
    match model.dynamics:
        case Map():
            step = _map(model, parts)
        case Sde():
            step = _sde(model, parts)
        case Ode():
            raise ValueError("deterministic models have no step")
        case _:
            assert_never(model.dynamics)
    return parts.pruned(step)


def _map(model: Model, parts: Parts) -> Step:
    update = {**parts.equations, **parts.held}
    return replace(parts.step, update=update, draws=tuple(parts.draws.items()), width=model.time.step or 1.0)


def _sde(model: Model, parts: Parts) -> Step:
    draws = tuple((w, _NORMAL) for w in parts.wieners)
    step = replace(parts.step, draws=draws, width=model.time.step)
    match model.time.scheme or "euler":
        case "euler":
            done = replace(step, scheme="euler", update=_euler(parts))
        case "milstein":
            update = {x: e + _correction(model, parts, x) for x, e in _euler(parts).items()}
            done = replace(step, scheme="milstein", update=update)
        case "exact":
            return _exact(model, parts, step)
        case other:
            raise ValueError(f"no scheme {other}")
    if step.width is None:
        raise _no_step(model)
    return done


def _no_step(model: Model, why: str = "the path has noise") -> SbmError:
    time = model.time
    return SbmError(
        error("E723", f"{why}, and no step is given", *_spans(model, next(iter(model.states), None)),
              help=f"give the time a step: time {time.name} [{time.unit}] step 1 [{time.unit}]")
    )  # fmt: skip


def _euler(parts: Parts) -> dict[Ref, Expr]:
    root = {w: sp.sqrt(WIDTH) * w for w in parts.wieners}
    return {
        **{
            x: x + drift * WIDTH + parts.diffusion.get(x, sp.S.Zero).xreplace(root)
            for x, drift in parts.equations.items()
        },
        **parts.held,
    }


def _correction(model: Model, parts: Parts, state: Ref) -> Expr:
    """What Milstein's scheme adds to Euler's for one state."""
    noise = parts.written_out(parts.diffusion.get(state, sp.S.Zero))
    slopes = {w: noise.diff(w) for w in parts.wieners if w in noise.free_symbols}
    states = set(parts.equations)
    if not any(refs(b) & states for b in slopes.values()):
        return sp.S.Zero
    shared = [w for w in slopes for x, b in parts.diffusion.items() if x != state and w in b.free_symbols]
    others = set().union(*map(refs, slopes.values())) & states - {state}
    if len(slopes) > 1 or shared or others:
        found = f"it depends on {', '.join(sorted(map(str, others)))}" if others else (
            f"it shares {shared[0]} with another state" if shared else "it has several Wiener processes")  # fmt: skip
        raise SbmError(
            error("E722", f"scheme milstein needs noise that each state has alone: that of {state} has not, "
                  f"{found}", *_spans(model, model.state(state.base)),
                  help="use scheme euler with a smaller step")
        )  # fmt: skip
    ((w, b),) = slopes.items()
    return b * b.diff(state) * WIDTH * (w**2 - 1) / 2


# --- exact --------------------------------------------------------------------------------------------


def _exact(model: Model, parts: Parts, step: Step) -> Step:
    """The law of a linear equation with additive noise. Raises ``SbmError`` E723, E724."""
    drift = {x: parts.written_out(e) for x, e in parts.equations.items()}
    noise = {x: parts.written_out(e) for x, e in parts.diffusion.items()}
    system = linear_system(drift, noise, parts.wieners)
    if system.offender is not None:
        state, what, wrong = system.offender
        raise SbmError(
            error("E724", "scheme exact needs linear drifts and noise that does not depend on the states: "
                  f"{what}: {expression(wrong)}", *_spans(model, model.state(state.base)),
                  help="use scheme euler with a step that is small enough")
        )  # fmt: skip
    held = is_constant(model, [*drift.values(), *noise.values()])
    if not held and step.width is None:
        raise _no_step(model, "the coefficients change over time and scheme exact holds them over each step")
    width = None if held else step.width
    closed = _closed(system.slopes, system.offsets, noise, parts)
    if closed is not None:
        return replace(step, scheme="exact", width=width, update={**closed, **parts.held})
    still = dict.fromkeys(parts.held, sp.S.Zero)
    return replace(step, scheme="exact", width=width, drift={**drift, **still}, diffusion=noise)


def _closed(
    slopes: Mapping[tuple[Ref, Ref], Expr],
    offsets: Mapping[Ref, Expr],
    noise: Mapping[Ref, Expr],
    parts: Parts,
) -> dict[Ref, Expr] | None:
    """The exact step where no state touches another and none shares its noise; else None."""
    owners = [w for w in parts.wieners for x in noise if w in noise[x].free_symbols]
    if any(x != y for x, y in slopes) or len(set(owners)) < len(owners):
        return None
    return {x: _decay(x, slopes.get((x, x), sp.S.Zero), offsets[x], noise.get(x, sp.S.Zero)) for x in offsets}


def _decay(x: Ref, slope: Expr, offset: Expr, noise: Expr) -> Expr:
    """x after dx = (slope x + offset) dt + noise, exactly."""
    from sympy.codegen.cfunctions import expm1

    if slope == 0:
        return x + offset * WIDTH + sp.sqrt(WIDTH) * noise
    kept = slope * WIDTH
    spread = sp.sqrt(expm1(2 * kept) / (2 * slope))
    return x * sp.exp(kept) + offset * expm1(kept) / slope + spread * noise


def _spans(model: Model, state: object) -> tuple[Span, ...]:
    span = getattr(state, "span", None)
    return () if span is None else (span,)

"""The ways to treat stochastic states that fit a model, best first, each with its reason."""

from __future__ import annotations

from sbmlang.ir.facts import Engine, Fact
from sbmlang.ir.model import Model, Sde, State
from sbmlang.ir.stepping import Step
from sbmlang.library.distributions import DISTRIBUTIONS
from sbmlang.passes.gaussian import Gaussianity
from sbmlang.passes.structure import linear_drift
from sbmlang.source import Span

_KINDS = {"moments": "moment-exact Kalman filter", "linearised": "extended Kalman filter"}


def engines(model: Model, step: Step, form: Gaussianity, chain: Fact) -> tuple[Engine, ...]:
    """Engines in order of preference.

    What is exact comes first, then a filter with exact moments. Sampling the path and the particle filter are
    exact but for Monte Carlo error; the second needs samplers that take a noisy likelihood. A filter that
    only linearises is last: nobody should get its error without asking for it.
    """
    kind = "" if form.model is None else form.model.kind
    exact = Engine("exact", _exact(model, form), "Kalman filter")
    forward = Engine("forward", chain, "forward algorithm")
    gaussian = Engine("gaussian", _gaussian(model, form, kind), _KINDS.get(kind, ""))
    sampled = Engine("sampled", _sampled(model, step), "path beside the parameters")
    particle = Engine("particle", _particle(step), "particle filter")
    if kind == "linearised":
        return exact, forward, sampled, particle, gaussian
    return exact, forward, gaussian, sampled, particle


def none_of_them(why: Fact) -> tuple[Engine, ...]:
    """All engines refused for one reason."""
    return tuple(Engine(n, why) for n in ("exact", "forward", "gaussian", "sampled", "particle"))


def _exact(model: Model, form: Gaussianity) -> Fact:
    if (other := _not_gaussian(model)) is not None:
        return other
    linear = linear_drift(model)
    # It names the flux.
    return linear if isinstance(model.dynamics, Sde) and not (linear or form.exact) else form.exact


def _gaussian(model: Model, form: Gaussianity, kind: str) -> Fact:
    if (other := _not_gaussian(model)) is not None:
        return other
    if kind == "exact":
        return Fact(True, "the Kalman filter is exact here, there is nothing to approximate")
    return form.usable


def _not_gaussian(model: Model) -> Fact | None:
    """A state that no Gaussian can be: of a finite set, or inside an enforced bound."""
    for s in model.states:
        if s.values:
            return Fact(False, f"{s.name} takes the values 1..{s.values}", span=s.span)
        if s.enforced:
            reason = f"the bound of {s.name} is enforced, and a Gaussian state knows no bounds"
            return Fact(False, reason, span=s.span)
    return None


def _finite(model: Model) -> State | None:
    return next((s for s in model.states if s.values), None)


def _sampled(model: Model, step: Step) -> Fact:
    if finite := _finite(model):
        return Fact(
            False, f"{finite.name} is discrete, and gradients need continuous states", span=finite.span
        )
    laws = [*step.draws, *((x, law) for x, law in step.start.items())]
    for ref, law in laws:
        if DISTRIBUTIONS[law.family].discrete:
            reason = f"{_drawn(str(ref))} is drawn from {law.family}, and gradients need continuous states"
            return Fact(False, reason, span=_span(model, ref.base))
    return Fact(True, "the path is sampled beside the parameters")


def _drawn(name: str) -> str:
    return f"the new value of {name.removesuffix('.next')}" if name.endswith(".next") else name


def _particle(step: Step) -> Fact:
    if not step.update and step.drift:
        reason = "scheme exact leaves the step to a matrix exponential, which particles cannot take"
        return Fact(False, reason)
    for e in step.emissions:
        if DISTRIBUTIONS[e.law.family].event_rank:
            return Fact(False, f"{e.channel} is a vector ({e.law.family})", span=e.span)
    return Fact(True, "any step can be drawn and any observation weighed")


def _span(model: Model, name: str) -> Span | None:
    return next((q.span for q in model.quantities() if q.name == name), None)

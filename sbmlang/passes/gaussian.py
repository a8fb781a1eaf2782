"""Whether the states can be integrated out by a Kalman filter, exactly or nearly.

With a step x' = u(x, xi) (``unit_noise``) and G = du/dxi the covariance of a step is G G^T. Three kinds:

    exact        u affine in (x, xi) with all xi normal, emissions Normal and affine, spreads free of the states
    moments      u affine in x and in xi, G G^T affine in x: the first two moments of each step are exact
    linearised   the extended Kalman filter: slopes of u and of the emissions' means at the mean state

A model may be exact after the logarithm of some states (population models: x' = a x^b eps).

Kalman (1960), J. Basic Engineering 82, 35-45; Jazwinski (1970), Stochastic Processes and Filtering Theory,
chapters 8 and 9; Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sympy as sp

from sbmlang.ir.facts import Fact
from sbmlang.ir.moments import moments
from sbmlang.ir.notation import expression
from sbmlang.ir.stepping import WIDTH, Emission, GaussianModel, Step
from sbmlang.ir.symbols import Expr, Ref, refs
from sbmlang.passes.derivatives import smooth
from sbmlang.passes.linear import affine
from sbmlang.passes.matrices import gaussian_model, spread, squared
from sbmlang.passes.unit_noise import Form, argument, log_candidates
from sbmlang.source import Span


@dataclass(frozen=True)
class Gaussianity:
    """What was found: ``model`` with the best kind there is (None with ``usable`` saying why not), and why it
    is or is not ``exact``.
    """

    model: GaussianModel | None
    exact: Fact
    usable: Fact


def gaussian(step: Step, spans: Mapping[str, Span] | None = None) -> Gaussianity:
    """The Gaussian form of a step: exact, moments or linearised, whichever comes first.

    ``spans`` has the places of states, draws and Wiener processes by name, for the reasons.
    """
    spans, plain = spans or {}, Form(step)
    no = next(_Exact(plain, spans).hindrances(), None)
    if no is None:
        return _exactly(plain, "a sum of states and Gaussian noise, observed with Gaussian errors")
    for logs in log_candidates(plain):
        form = Form(step, logs)
        if next(_Exact(form, spans).hindrances(), None) is None:
            names = " and ".join(str(step.states[k]) for k in sorted(logs))
            return _exactly(form, f"linear and Gaussian after the log of {names}")
    useless = next(_useless(plain, spans), None)
    if useless is not None:
        return Gaussianity(None, no, useless)
    if _has_exact_moments(plain):
        reason = "mean and covariance of every step are exact, its shape is not Gaussian"
        return Gaussianity(gaussian_model(plain, "moments"), no, Fact(True, reason))
    reason = "extended Kalman filter: linear around the mean state"
    return Gaussianity(gaussian_model(plain, "linearised"), no, Fact(True, reason))


def _exactly(form: Form, reason: str) -> Gaussianity:
    return Gaussianity(gaussian_model(form, "exact"), Fact(True, reason), Fact(True, "exact"))


# --- exact ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Exact:
    """What keeps a form from being exactly Gaussian."""

    form: Form
    spans: Mapping[str, Span]

    @property
    def states(self) -> set[Ref]:
        return set(self.form.states)

    def hindrances(self) -> Iterator[Fact]:
        form, step = self.form, self.form.step
        for ref, law in step.draws:
            if not form.is_normal(law):
                name = ref.base.removesuffix(".next")
                what = name if name == ref.base else f"the new value of {name}"
                reason = f"{what} is drawn from {law.family}, not from Normal"
                yield Fact(False, reason, span=self.spans.get(ref.base))
        if not form.is_continuous:
            for x in form.states:
                yield from self._of_update(x, form.update[x])
        for memory in step.memories:
            if affine(form.out(memory.expr), form.states) is None:
                shown = expression(memory.expr)
                reason = f"a window of {memory.channel} is not linear in the states: {shown}"
                yield Fact(False, reason, memory.expr)
        for k, x in enumerate(form.states):
            yield from self._of_start(x, "LogNormal" if k in form.logs else "Normal")
        for emission in step.emissions:
            yield from hindered(form, emission)

    def _of_update(self, x: Ref, value: Expr) -> Iterator[Fact]:
        form, span = self.form, self.spans.get(x.base)
        if affine(value, [*form.states, *form.noises]) is not None:
            return
        still = value.xreplace(dict(form.still))
        if affine(still, form.states) is None:
            offender = self._offender(still)
            reason = f"the step of {x} is not linear in the states: {expression(offender)}"
            yield Fact(False, reason, offender, span)
        for w in form.noises:
            alone = affine(value, [w]) if w in refs(value) else None
            if alone is not None and refs(alone.slopes.get(w, sp.S.Zero)) & self.states:
                factor = alone.slopes[w].xreplace({sp.sqrt(WIDTH): sp.S.One})
                where = self.spans.get(w.base.removesuffix(".xi"), span)
                reason = f"the noise of {x} depends on the states: {expression(factor)}"
                yield Fact(False, reason, factor, where)
        yield Fact(False, f"the step of {x} is not linear in its noise", form.step.update[x], span)

    def _offender(self, value: Expr) -> Expr:
        """The smallest part of an expression that is not affine in the states, without what does not matter."""
        parts = [a for a in value.args if isinstance(a, sp.Expr) and affine(a, self.states) is None]
        if isinstance(value, sp.Add) and parts:
            return self._offender(min(parts, key=sp.count_ops))
        if isinstance(value, sp.Mul):
            dependent = [f for f in value.args if refs(f) & self.states]
            return self._offender(parts[0]) if len(dependent) == 1 and parts else sp.Mul(*dependent)
        return value

    def _of_start(self, x: Ref, wanted: str) -> Iterator[Fact]:
        law = self.form.step.start.get(x)
        if law is not None and law.family != wanted:
            reason = f"the start of {x} is {law.family}, not {wanted}"
            yield Fact(False, reason, span=self.spans.get(x.base))
        if (coupled := _coupled_start(self.form, x, self.spans)) is not None:
            yield coupled


def hindered(form: Form, emission: Emission) -> Iterator[Fact]:
    """What keeps an observation from being Normal around something affine, with a spread of its own."""
    law, name = emission.law, emission.channel
    if emission.censoring is not None:
        reason = f"{name} is {_censored(emission)}: what is seen of such a value is not Gaussian"
        yield Fact(False, reason, emission.censoring.limit, emission.span)
    if law.family not in ("Normal", "LogNormal"):
        yield Fact(False, f"the error law of {name} is {law.family}", span=emission.span)
        return
    found = form.emission_moments(emission)
    assert found is not None, "both have moments"
    mu, sigma = argument(law, "mu"), argument(law, "sigma")
    if refs(found[1]) & set(form.states):
        reason = f"the spread of {name} depends on the states: {expression(sigma)}"
        yield Fact(False, reason, sigma, emission.span)
    if affine(found[0], form.states) is None:
        where = "the log of the median" if law.family == "LogNormal" else "the mean"
        reason = f"{where} of {name} is not linear in the states: {expression(mu)}"
        yield Fact(False, reason, mu, emission.span)


# --- approximate ----------------------------------------------------------------------------------------


def _useless(form: Form, spans: Mapping[str, Span]) -> Iterator[Fact]:
    """Why not even the linearised form makes sense."""
    updates = form.update
    for ref, law in form.unknown:
        reason = f"the law {law.family} of {ref} has no mean and variance in closed form"
        yield Fact(False, reason, span=spans.get(ref.base))
    for x in form.states:
        start = form.step.start.get(x)
        if start is not None and moments(start) is None:
            reason = f"the start of {x}, {start.family}, has no mean and variance in closed form"
            yield Fact(False, reason, span=spans.get(x.base))
        if (coupled := _coupled_start(form, x, spans)) is not None:
            yield coupled
    for emission in form.step.emissions:
        yield from _blind(form, emission)
    for x in form.states:
        used = [n for n in (*form.states, *form.noises) if n in updates[x].free_symbols]
        if any(smooth(updates[x].diff(n)).has(sp.Derivative, sp.Subs) for n in used):
            yield Fact(False, f"the step of {x} has no known derivative", updates[x], spans.get(x.base))


def _blind(form: Form, emission: Emission) -> Iterator[Fact]:
    """An observation that mean and variance do not describe, or that does not inform the mean."""
    name, law = emission.channel, emission.law
    if emission.censoring is not None and emission.censoring.kind != "rounded":
        reason = f"{name} is {_censored(emission)}, which a Gaussian filter cannot use"
        yield Fact(False, reason, emission.censoring.limit, emission.span)
    found = form.emission_moments(emission)
    if found is None:
        reason = f"the error law of {name}, {law.family}, has no mean and variance in closed form"
        yield Fact(False, reason, span=emission.span)
    elif refs(found[1]) & set(form.states) and not refs(found[0]) & set(form.states):
        reason = f"{name} tells of the states only by its spread, which a Gaussian filter cannot use"
        yield Fact(False, reason, found[1], emission.span)


def _coupled_start(form: Form, x: Ref, spans: Mapping[str, Span]) -> Fact | None:
    law = form.step.start.get(x)
    start = [form.step.init[x]] if law is None else list(law.expressions())
    if any(refs(form.out(e)) & set(form.states) for e in start):
        reason = f"the start of {x} depends on the start of another state"
        return Fact(False, reason, span=spans.get(x.base))
    return None


def _has_exact_moments(form: Form) -> bool:
    """Whether the mean of a step is affine in the states, and so is its covariance; emissions as exact."""
    if form.is_continuous or any(next(hindered(form, e), None) is not None for e in form.step.emissions):
        return False
    for value in form.update.values():
        alone = affine(value, form.noises)
        if alone is None or affine(alone.offset, form.states) is None:
            return False
    covariance = squared(spread(form), len(form.states))
    return all(affine(e, form.states) is not None for e in covariance.values())


def _censored(emission: Emission) -> str:
    assert emission.censoring is not None
    kind, limit = emission.censoring.kind, expression(emission.censoring.limit)
    return f"rounded to {limit}" if kind == "rounded" else f"censored {kind} {limit}"

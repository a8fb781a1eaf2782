"""The passes in their order, and the facts found at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sbmlang.errors import SbmError
from sbmlang.ir.facts import Fact, Facts
from sbmlang.ir.model import Model, Ode, Sde
from sbmlang.ir.stepping import Step
from sbmlang.ir.verify import verify
from sbmlang.passes import structure
from sbmlang.passes.balance import balances
from sbmlang.passes.chain import chain
from sbmlang.passes.derivatives import jacobian
from sbmlang.passes.discretise import discretise
from sbmlang.passes.engines import engines, none_of_them
from sbmlang.passes.gaussian import Gaussianity, gaussian
from sbmlang.passes.outside import likelihood
from sbmlang.passes.positivity import bounded
from sbmlang.passes.simplify import simplify
from sbmlang.passes.stages import all_stages, order, stages
from sbmlang.passes.steady import steady
from sbmlang.passes.windows import windows
from sbmlang.source import Span

LIMIT = 200  # states up to which Gaussian forms are made; their matrices have the square of it


@dataclass(frozen=True)
class Pass:
    """One step: its name for ``sbm show --after``, what it does, and the function that does it."""

    name: str
    doc: str
    run: Callable[[Model], Model]


PASSES = (
    Pass("lower", "the model as the front end built it", lambda model: model),
    Pass("order", "definitions sorted by what they use", order),
    Pass("steady", "steady() replaced by formulas or roots", steady),
    Pass("windows", "windows turned into differences of accumulators", windows),
    Pass("simplify", "numbers folded, unused definitions dropped", simplify),
    Pass("stages", "how often each definition has to be computed", stages),
)


def run(model: Model) -> tuple[Model, Facts]:
    """All passes, then the facts about their result.

    Mass balances are judged on the model as it was written, where fluxes still have their names.
    Raises ``SbmError`` E42x, E53x.
    """
    ordered = order(model)
    done = after(model, PASSES[-1].name)
    return done, replace(facts(done), balances=balances(ordered))


def after(model: Model, name: str) -> Model:
    """The model as it is after the pass ``name``; raises ``KeyError`` for a name that is none.

    Every result is verified: a broken promise is an ``InternalError`` that names the pass.
    """
    names = [p.name for p in PASSES]
    if name not in names:
        raise KeyError(name)
    for step in PASSES[: names.index(name) + 1]:
        model = step.run(model)
        verify(model, after=step.name)
    return model


def facts(model: Model) -> Facts:
    """Structure facts of a model that went through all passes; ``stiff`` and ``balances`` apart."""
    linear = structure.linear_drift(model)
    slopes = jacobian(model)
    found = Facts(
        linear_drift=linear,
        linear_observations=structure.linear_observations(model),
        gaussian_observations=structure.gaussian_observations(model),
        constant_coefficients=structure.constant_coefficients(model, linear),
        piecewise_constant=structure.piecewise_constant(model, linear),
        bounded=bounded(model),
        separable=structure.separable(model),
        stages=all_stages(model),
        jacobian=slopes.entries,
        jacobian_reason=slopes.reason,
        jump_times=structure.jump_times(model),
        likelihood=likelihood(model),
    )
    return found if isinstance(model.dynamics, Ode) else stochastic(model, found)


def stochastic(model: Model, found: Facts) -> Facts:
    """The facts with the step, its forms and the engines that fit.

    Where the members come with the data and touch each other, no engine fits. Raises ``SbmError`` E420, E72x
    as ``discretise`` does.
    """
    try:
        step = discretise(model)
    except SbmError as problem:
        if problem.codes != ("E421",):
            raise
        return replace(found, engines=none_of_them(Fact(False, problem.diagnostics[0].message)))
    form = gaussian(step, places(model)) if len(step.states) <= LIMIT else _too_many(step)
    finite, why = chain(step, model)
    return replace(
        found,
        step=step,
        gaussian=form.model if finite is None else None,
        chain=finite,
        engines=engines(model, step, form, why) if model.is_stochastic else (),
    )


def _too_many(step: Step) -> Gaussianity:
    why = Fact(False, f"{len(step.states)} states are more than {LIMIT}, too many for a covariance matrix")
    return Gaussianity(None, why, why)


def places(model: Model) -> dict[str, Span]:
    """Where states, draws and Wiener processes stand in the text, by name."""
    wieners = model.dynamics.wieners if isinstance(model.dynamics, Sde) else ()
    found = {q.name: q.span for q in model.quantities()} | {w.name: w.span for w in wieners}
    return {name: span for name, span in found.items() if span is not None}

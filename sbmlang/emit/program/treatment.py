"""Which engine treats the stochastic states of a model, and what to say about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.ir import Model, Sde
from sbmlang.ir.facts import Engine, Facts
from sbmlang.passes import pipeline
from sbmlang.source import Span

CHOICES = ("auto", "exact", "forward", "gaussian", "ekf", "ukf", "particle", "sampled")
MARGINAL = ("exact", "forward", "gaussian")  # engines that give a log density without the path


@dataclass(frozen=True)
class Treatment:
    """The engine of a program, how its filter is made, and what the user must know about the choice."""

    engine: Engine
    sigma_points: bool = False
    notes: tuple[Diagnostic, ...] = ()

    @property
    def is_marginal(self) -> bool:
        """Whether the path is integrated out."""
        return self.engine.name in MARGINAL

    @property
    def is_exact(self) -> bool:
        """Whether the posterior is that of the model itself, Monte Carlo error apart."""
        return self.engine.name != "gaussian"

    @property
    def kind(self) -> str:
        """Which filter or method."""
        return "unscented Kalman filter" if self.sigma_points else self.engine.kind

    @property
    def label(self) -> str:
        """In words: ``exact (Kalman filter)``, ``gaussian (extended Kalman filter), approximate``."""
        return f"{self.engine.name} ({self.kind})" + ("" if self.is_exact else ", approximate")

    def attributes(self) -> dict[str, Any]:
        """What results say about the engine."""
        return {
            "name": self.engine.name,
            "kind": self.kind,
            "label": self.label,
            "approximate": not self.is_exact,
            "reason": self.engine.fits.reason,
        }


def treatment(model: Model, facts: Facts, states: str) -> Treatment | None:
    """The engine that ``states`` asks for; None for a model whose path is not random.

    Raises ``SbmError`` E706 (the states are deterministic), E750 (no such engine), E751 (it does not fit), E752
    (none fits). An approximate filter where an exact one exists is W751.
    """
    if states not in CHOICES:
        raise SbmError(
            error("E750", f"there is no engine '{states}' for stochastic states",
                  help=did_you_mean(states, CHOICES) or f"engines: {', '.join(CHOICES)}")
        )  # fmt: skip
    if not model.is_stochastic:
        if states == "auto":
            return None
        raise SbmError(error("E706", f"states='{states}' is for stochastic states; this model's states are deterministic",
                             help="leave it at states='auto'"))  # fmt: skip
    if states == "auto":
        if facts.engine is None:
            raise SbmError(_nothing_fits(model, facts))
        return Treatment(facts.engine)
    return _asked(facts, states)


def with_step(model: Model, step: float) -> tuple[Model, Facts]:
    """The model with another step of its path, in the time variable's unit, and its facts.

    Raises ``SbmError`` E754 where the path has no step that could be another, or the step is not positive.
    """
    if not isinstance(model.dynamics, Sde):
        raise SbmError(
            error("E754", "step= is for stochastic differential equations; this model's path has no step to choose",
                  help="leave step= away")
        )  # fmt: skip
    if not step > 0:
        raise SbmError(
            error("E754", f"step = {step!r} is not positive", help=f"give it in {model.time.unit}")
        )
    changed = model.replace(time=replace(model.time, step=float(step)))
    return changed, pipeline.facts(changed)


def _asked(facts: Facts, states: str) -> Treatment:
    name = "gaussian" if states in ("ekf", "ukf") else states
    engine = next((e for e in facts.engines if e.name == name), None)
    if engine is None or not engine.fits:
        raise SbmError(_does_not_fit(facts, states, engine))
    exact = next((e for e in facts.engines if e.name == "exact" and e.fits), None)
    if name == "gaussian" and exact is not None:  # its equations are those of the Kalman filter then
        return Treatment(exact, notes=(_needless(states, exact),))
    return Treatment(engine, states == "ukf")


def _needless(states: str, better: Engine) -> Diagnostic:
    return error(
        "W751",
        f"states='{states}' asks for an approximate filter where the exact one is at hand ({better.fits.reason}); "
        "the exact one is used",
        help=f"write states='{better.name}', or leave it at 'auto'",
    )


def _does_not_fit(facts: Facts, states: str, engine: Engine | None) -> Diagnostic:
    reason = "the model does not have that structure" if engine is None else engine.fits.reason
    span = None if engine is None else engine.fits.span
    fitting = [e.name for e in facts.engines if e.fits]
    advice = (
        f"engines that fit: {', '.join(fitting)}; states='auto' takes {fitting[0]}"
        if fitting
        else "sbm show gives the reasons"
    )
    return error("E751", f"states='{states}' does not fit this model: {reason}", *_places(span), help=advice)


def _nothing_fits(model: Model, facts: Facts) -> Diagnostic:
    reasons = tuple(f"{e.name}: {e.fits.reason}" for e in facts.engines)
    spans = [e.fits.span for e in facts.engines if e.fits.span is not None]
    return error("E752", f"no engine fits the stochastic states of '{model.name}'", *spans[:1], help=reasons)


def _places(span: Span | None) -> tuple[Span, ...]:
    return () if span is None else (span,)

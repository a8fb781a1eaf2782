"""How a path without noise is solved, chosen from the structure of its equations."""

from __future__ import annotations

from dataclasses import replace

from sbmlang.errors import SbmError, did_you_mean, error
from sbmlang.ir import Model
from sbmlang.ir.facts import Facts

from .context import Method

EXPONENTIAL_LIMIT = 40  # states; beyond, dense matrix exponentials cost more than adaptive steps


def choose_method(model: Model, facts: Facts, solver: str) -> tuple[Method, str]:
    """How to solve the dynamics, and why.

    Raises ``SbmError`` E711 where the wanted solver cannot serve this model.
    """
    exact = facts.linear_drift and facts.jacobian is not None and len(model.states) <= EXPONENTIAL_LIMIT
    if not model.states:
        return "explicit", "there are no states"
    match solver:
        case "explicit":
            return "explicit", "it was asked for"
        case "implicit":
            return "implicit", "it was asked for"
        case "auto" | "exponential":
            if exact and facts.constant_coefficients:
                return (
                    "exponential",
                    "the drift is linear with constant coefficients, so the matrix exponential is exact",
                )
            if exact and facts.piecewise_constant:
                return (
                    "exponential pieces",
                    "the drift is linear with coefficients constant between forcing times, so matrix exponentials are exact",
                )
            if solver == "exponential":
                fact = facts.constant_coefficients if facts.linear_drift else facts.linear_drift
                raise SbmError(
                    error(
                        "E711",
                        f"the matrix exponential does not fit this model: {fact.reason}",
                        help="use solver='auto'",
                    )
                )
            if facts.stiff:
                return "implicit", f"the drift is stiff: {facts.stiff.reason}"
            why = (
                facts.stiff.reason
                if facts.stiff is not None
                else "stiffness could not be judged without the data"
            )
            return "explicit", f"the drift is not stiff: {why}" if facts.stiff is not None else why
        case _:
            known = ("auto", "explicit", "implicit", "exponential")
            raise SbmError(
                error(
                    "E708",
                    f"there is no solver '{solver}'",
                    help=did_you_mean(solver, known) or f"solvers: {', '.join(known)}",
                )
            )


def with_stiffness(model: Model, facts: Facts) -> Facts:
    """The facts with a judgement of stiffness, where there was none yet."""
    if facts.stiff is not None or not model.states:
        return facts
    from sbmlang.passes.stiffness import stiff

    return replace(facts, stiff=stiff(model))

"""Which models have paths that a variational approximation can stand on, and why others have not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp

from sbmlang.errors import SbmError, error
from sbmlang.ir import Model
from sbmlang.ir.facts import Facts
from sbmlang.ir.stepping import GaussianModel
from sbmlang.ir.symbols import refs
from sbmlang.passes.linear import affine
from sbmlang.passes.unit_noise import Form
from sbmlang.source import Span

from .path_density import dense_expressions

INSTEAD = (
    "the jax backend samples any such path: --backend jax --states sampled",
    "states='particle' takes any step",
)


def form_of(model: Model, facts: Facts) -> GaussianModel:
    """The Gaussian form of a model's step, whose mean and covariance are those of the step itself.

    Raises ``SbmError`` E781 (a state whose steps have no density: no noise of its own, or a window's memory), E782
    (noise that is not normal, or not linear in it), E783 (a start that is partly random, or not normal).
    """
    form = facts.gaussian
    if form is None:
        why = next((e.fits.reason for e in facts.engines if e.name == "gaussian"), "it has no Gaussian form")
        raise _refused(
            "E782", f"a flow for paths starts from a Gaussian form of the step, and there is none: {why}"
        )
    for refusal in (*_without_density(model, form), *_noise(model, form), *_starts(model, form)):
        raise refusal
    return form


def _without_density(model: Model, form: GaussianModel) -> Iterator[SbmError]:
    step = form.step
    if form.transition == "matrix exponential":
        yield _refused("E781", "scheme exact leaves the step to a matrix exponential, and a flow for paths needs its "
                       "mean and covariance written out", help=("use scheme euler or milstein", *INSTEAD))  # fmt: skip
    if step.memories:
        windows = ", ".join(sorted({m.channel for m in step.memories}))
        yield _refused("E781", f"observations over windows ({windows}) remember earlier states, and a flow for paths "
                       "sees single times")  # fmt: skip
    for k, x in enumerate(step.states):
        if form.noise.get((k, k), 0) == 0:
            yield _refused("E781", f"{x} has no noise: it follows from the other states, and has no density of its own",
                           *_span(model, x.base))  # fmt: skip
    if np.linalg.matrix_rank(_example(form)) < len(step.states):
        yield _refused("E781", "some states share their noise, so that their steps have no density together")


def _noise(model: Model, form: GaussianModel) -> Iterator[SbmError]:
    own = Form(form.step, form.logarithmic)
    for ref, law in form.step.draws:
        if not own.is_normal(law):
            yield _refused("E782", f"{ref.base.removesuffix('.next')} is drawn from {law.family}, and a flow for paths takes "
                           "normal noise", *_span(model, ref.base.removesuffix(".next")))  # fmt: skip
    for x, value in own.update.items():
        if affine(value, own.noises) is None:
            yield _refused("E782", f"the step of {x} is not linear in its noise", *_span(model, x.base))


def _starts(model: Model, form: GaussianModel) -> Iterator[SbmError]:
    step = form.step
    fixed = [x for x in step.states if x not in step.start]
    if step.start and fixed:
        yield _refused("E783", f"the start of {fixed[0]} is known while that of {next(iter(step.start))} is random",
                       *_span(model, fixed[0].base), help="give every state a random start, or none")  # fmt: skip
    for k, x in enumerate(step.states):
        law, wanted = step.start.get(x), "LogNormal" if k in form.logarithmic else "Normal"
        if law is not None and law.family != wanted:
            yield _refused("E783", f"the start of {x} is {law.family}, and a flow for paths takes {wanted} ones here",
                           *_span(model, x.base), help=(f"use {wanted}", *INSTEAD))  # fmt: skip


def _example(form: GaussianModel) -> np.ndarray:
    """The covariance of a step at some numbers."""
    entries = dense_expressions(form.noise, len(form.mean))
    symbols = sorted({r for row in entries for e in row for r in refs(e)}, key=str)
    numbers = np.random.default_rng(0).uniform(0.5, 1.5, len(symbols))
    at = dict(zip(symbols, map(sp.Float, numbers), strict=True))
    return np.array([[complex(e.xreplace(at).evalf()).real for e in row] for row in entries])


def _refused(code: str, message: str, *spans: Span, help: tuple[str, ...] | str = INSTEAD) -> SbmError:
    return SbmError(error(code, message, *spans, help=help))


def _span(model: Model, name: str) -> tuple[Span, ...]:
    found = next((q.span for q in model.quantities() if q.name == name and q.span is not None), None)
    return () if found is None else (found,)

"""Finite state sets and the choice of an engine."""

from __future__ import annotations

import pytest
import sympy as sp

import sbmlang as sbm
from sbmlang.ir import Ref
from sbmlang.ir.facts import Engine, Facts

HIDDEN = """
model hidden
time t step 1
param stay ~ Beta(8, 2)
param rate ~ HalfNormal(5)
let low = rate/2
state mood in {1..2}
init mood ~ Categorical(p=[0.3, 0.7])
next mood ~ Categorical(p=[if mood == 1 then stay else 1 - stay, if mood == 1 then 1 - stay else stay])
let level = if mood == 1 then low else rate
observe y ~ Poisson(level)
"""


def facts(text: str) -> Facts:
    return sbm.loads(text).facts


def engine(found: Facts, name: str) -> Engine:
    return next(e for e in found.engines if e.name == name)


def test_a_finite_state_is_a_hidden_markov_model() -> None:
    found = facts(HIDDEN)
    assert found.chain is not None and found.gaussian is None
    stay = Ref("stay")
    assert found.chain.start == (sp.Float(0.3), sp.Float(0.7))
    assert found.chain.transition == ((stay, 1 - stay), (1 - stay, stay))
    assert [law.args["mean"] for law in found.chain.laws[0]] == [Ref("low"), Ref("rate")]
    assert found.engine is not None and found.engine.name == "forward"
    assert not engine(found, "sampled").fits and engine(found, "particle").fits


def test_a_fixed_start_is_certain() -> None:
    found = facts(HIDDEN.replace("init mood ~ Categorical(p=[0.3, 0.7])", "init mood = 2")).chain
    assert found is not None and found.start == (0, 1)


def test_a_second_state_beside_a_finite_one_is_not_yet_possible() -> None:
    text = HIDDEN + "state X\ninit X ~ Normal(0, 1)\nnext X ~ Normal(X + mood, 1)\nobserve x ~ Normal(X, 1)\n"
    found = facts(text)
    assert found.chain is None
    assert "mood is not the only state" in engine(found, "forward").fits.reason
    assert engine(found, "forward").fits.span is not None


WALK = """
model walk
time t step 1
param s ~ HalfNormal(1)
state X BOUND
init X ~ Normal(1, 0.1)
DYNAMICS
observe y ~ Normal(X, 0.1)
"""


def walk(dynamics: str = "next X ~ Normal(X, s)", bound: str = "") -> Facts:
    return facts(WALK.replace("BOUND", bound).replace("DYNAMICS", dynamics))


@pytest.mark.parametrize(
    ("found", "order"),
    [
        (walk(), "exact gaussian sampled particle"),
        (walk("draw n ~ Poisson(2)\nnext X = 0.5*X + n", ">= 0"), "gaussian particle"),
        (walk("draw e ~ Normal(0, s)\nnext X = X*exp(e - X)"), "sampled particle gaussian"),
        (walk(bound=">= 0 enforced"), "sampled particle"),
    ],
)
def test_engines_that_fit_in_order(found: Facts, order: str) -> None:
    assert " ".join(e.name for e in found.engines if e.fits) == order
    assert len(found.engines) == 5 and all(e.fits.reason for e in found.engines)


def test_every_refusal_says_why_and_where() -> None:
    enforced = engine(walk(bound=">= 0 enforced"), "exact").fits
    assert "the bound of X is enforced" in enforced.reason and enforced.span is not None
    discrete = engine(walk("draw n ~ Poisson(2)\nnext X = 0.5*X + n"), "sampled").fits
    assert "n is drawn from Poisson" in discrete.reason and discrete.span is not None


def test_deterministic_models_have_no_engines() -> None:
    found = facts("model d\ntime t\nstate X\nd X/dt = -X\ninit X = 1\nobserve y ~ Normal(X, 1)\n")
    assert found.engines == () and found.step is None and found.engine is None


def test_members_that_come_with_the_data_and_touch_fit_no_engine_and_say_so() -> None:
    found = facts(
        """
        model sites
        time t [day] step 1 [day]
        index site from data
        wiener W
        state X[site]
        d X[site]/dt = -X[site]/(1 [day])
        noise X[site] = 0.1*W/sqrt(1 [day])
        init X[site] = 1
        observe y[site] ~ Normal(X[site], 1)
        """
    )
    assert found.engine is None and found.step is None
    assert all("come with the data" in e.fits.reason for e in found.engines)


def test_hundreds_of_states_have_no_gaussian_form() -> None:
    found = facts(
        """
        model ring
        time t step 0.1
        index x = 1..210 cyclic
        state X[x]
        d X[x]/dt = X[x+1] - X[x]
        noise X[x] = 1
        init X[x] ~ Normal(0, 1)
        observe y[x] ~ Normal(X[x], 1)
        """
    )
    assert found.gaussian is None and "210 states are more than 200" in engine(found, "exact").fits.reason
    assert engine(found, "sampled").fits

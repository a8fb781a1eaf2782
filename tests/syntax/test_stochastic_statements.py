"""Noise, draws, next values, sets of values and censoring: text into tree, tree into symbolic model."""

import math

import pytest
import sympy as sp

from sbmlang.driver import loads
from sbmlang.errors import SbmError
from sbmlang.ir import Along, Censoring, Law, Map, Member, Ode, Ref, Sde
from sbmlang.ir.noise import is_linear
from sbmlang.ir.verify import verify
from sbmlang.library.family import constant
from sbmlang.source import Source
from sbmlang.syntax import ast, parse


def one(text):
    found, problems = parse(Source("m.sbm", text))
    assert problems == ()
    return found.statements[-1]


def model(text, time="time t [hour] step 1 [hour]"):
    found = loads(f"model m\n{time}\n{text}").checked
    verify(found, "lower")
    return found


def codes(text, time="time t [hour] step 1 [hour]"):
    with pytest.raises(SbmError) as caught:
        model(text, time)
    return list(caught.value.codes)


# --- text into tree ----------------------------------------------------------------------------------------


def test_noise_and_wiener():
    noise = one('index k = 1..2 noise S[k] = a*W "doc"')
    assert isinstance(noise, ast.NoiseDecl) and (noise.state.name, noise.doc) == ("S", "doc")
    wiener = one('index k = 1..2 wiener W[k] "weather"')
    assert (wiener.name, [i.name for i in wiener.index], wiener.doc) == ("W", ["k"], "weather")


def test_next_and_draw():
    value, law = one("next S = 2*S"), one('next S ~ Normal(S, 1) "d"')
    assert value.law is None and isinstance(value.value, ast.Binary)
    assert law.value is None and (law.law.function, law.doc) == ("Normal", "d")
    draw = one("index k = 1..2 draw n[k] [mg] ~ Gamma(mean=2, sd=1)")
    assert (draw.name, draw.index[0].name, draw.unit.factors[0].name, draw.law.function) == (
        "n", "k", "mg", "Gamma"
    )  # fmt: skip


def test_a_set_of_values():
    state = one('state X in {1..3} "regime"')
    assert (state.values.first, state.values.last, state.lower, state.doc) == (1, 3, None, "regime")
    assert one("state X in (0, 1)").values is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [("censored below 2", "below"), ("censored  above 2", "above"), ("rounded to 2", "rounded")],
)
def test_censoring_stands_after_the_law_in_any_order(text, kind):
    for clauses in (f'{text} column "y"', f'column "y" {text}'):
        found = one(f'observe a ~ Normal(S, 1) {clauses} "doc"')
        assert (found.censoring.kind, found.censoring.limit.value) == (kind, 2)
        assert (found.column, found.doc) == ("y", "doc")


def test_an_index_may_have_an_index():
    (item,) = one("let x = level[X[site]]").value.index
    assert (item.name, item.index[0].name) == ("X", "site")


@pytest.mark.parametrize("word", ["noise", "wiener", "next", "draw", "censored", "rounded"])
def test_the_new_keywords_are_names_too(word):
    assert one(f"let {word} = 2 + {word}").name == word


# --- noise -------------------------------------------------------------------------------------------------

POOL = "state S [mg]\nd S/dt = -0.1 [1/hour]*S\ninit S = 10\n"


def test_a_noise_gets_a_wiener_process_of_its_own():
    found = model(POOL + "param v [mg^2/hour] ~ HalfNormal(1)\nnoise S = sqrt(v)").dynamics
    assert isinstance(found, Sde)
    (own,) = found.wieners
    assert (own.name, own.owner, own.dims) == ("S.noise", "S", ())
    assert found.diffusion == {"S": sp.sqrt(Ref("v")) * Ref("S.noise")}


def test_a_noise_in_other_units_is_converted():
    # 1 ug/day^(1/2) is 1e-3 mg per (24 hours)^(1/2).
    found = model(POOL + "param s [ug/day^(1/2)] ~ HalfNormal(1)\nnoise S = s").dynamics
    factor = found.diffusion["S"] / (Ref("s") * Ref("S.noise"))
    assert float(factor) == pytest.approx(1e-3 / math.sqrt(24), rel=1e-12)


def test_the_coherent_unit_of_a_state_may_be_another_than_its_own():
    # mg is written most often, so the model computes in it; the form for a state in g is in g.
    text = "state S [g]\nd S/dt = 0\ninit S = 1\nparam s [mg/hour^(1/2)] ~ HalfNormal(1 [mg/hour^(1/2)])\nnoise S = s"
    found = model(text + "\nconst a = 1 [mg]\nconst b = 1 [mg]\nreport r = a*b").dynamics
    assert float(found.diffusion["S"].subs({Ref("s"): 1, Ref("S.noise"): 1})) == pytest.approx(
        1e-3, rel=1e-12
    )


def test_shared_and_indexed_wiener_processes():
    text = """index k = 1..2
        wiener W
        wiener V[k]
        param a [mg/hour^(1/2)] ~ HalfNormal(1)
        state S[k] [mg]
        d S[k]/dt = 0
        init S[k] = 1
        noise S[k] = a*W + 2*a*V[k] - a*V[1]"""
    found = model(text).dynamics
    a, W, V = Ref("a"), Ref("W"), Ref("V", (Along("k"),))
    assert found.diffusion["S"] == a * W + 2 * a * V - a * Ref("V", (Member("k", 0),))
    assert [(w.name, w.dims) for w in found.wieners] == [("W", ()), ("V", ("k",))]


def test_a_noise_of_zero_leaves_an_ode():
    found = model(POOL.replace("init S = 10", "init S ~ Normal(10, 1)") + "noise S = 0")
    assert isinstance(found.dynamics, Ode) and found.states[0].start is None
    assert [p.name for p in found.parameters] == ["S_init"]


@pytest.mark.parametrize(
    ("expr", "linear"),
    [
        ("a*W", True), ("W*(a + x) + b*V", True), ("a*(W + V)/b", True), ("a", False), ("a*W + a", False),
        ("W*V", False), ("W**2", False), ("exp(W)", False), ("1/W", False), ("Piecewise((W, a > 0), (0, True))", True),
        ("Piecewise((W, W > 0), (0, True))", False),
    ],
)  # fmt: skip
def test_linear_forms(expr, linear):
    names = {n: Ref(n) for n in ("a", "b", "x", "W", "V")}
    assert is_linear(sp.sympify(expr, locals=names), frozenset("WV")) is linear


def test_the_scheme_and_the_step_are_needed_as_they_say():
    noise = POOL + "noise S = 1 [mg/hour^(1/2)]"
    assert codes(noise, "time t [hour]") == ["E554"]
    assert model(noise, "time t [hour] scheme exact").time.scheme == "exact"
    assert codes(noise, "time t [hour] step 1 [hour] scheme exakt") == ["E555"]
    assert [
        d.code
        for d in loads(
            "model m\ntime t [hour] step 1 [hour] scheme milstein forcing at end\n" + noise
        ).diagnostics
    ] == []


# --- next and draw -----------------------------------------------------------------------------------------


def test_next_with_a_law_is_a_draw_that_becomes_the_state():
    found = model("state x\ninit x ~ Normal(0, 3)\nnext x ~ Normal(0.5*x, 2)")
    assert isinstance(found.dynamics, Map)
    (draw,) = found.dynamics.draws
    assert found.dynamics.update == {"x": Ref("x.next")} and draw.name == "x.next"
    assert draw.law == Law("Normal", {"mu": 0.5 * Ref("x"), "sigma": sp.Integer(2)})
    assert found.states[0].start == Law("Normal", {"mu": sp.Integer(0), "sigma": sp.Integer(3)})
    assert found.states[0].init == 0 and found.parameters == () and found.is_stochastic


def test_draws_are_sorted_and_those_of_states_come_last():
    text = "state n\ninit n = 1\nnext n ~ Poisson(a + b)\ndraw b ~ Binomial(a, 0.5)\ndraw a ~ Poisson(n)"
    assert [d.name for d in model(text).dynamics.draws] == ["a", "b", "n.next"]


def test_next_is_in_the_unit_of_the_state():
    found = model("state x [g]\ninit x = 1\nnext x = x + 5 [mg]\nreport mg = x/(1 [mg])")
    assert float(sp.expand(found.dynamics.update["x"] - Ref("x"))) == pytest.approx(5e-3, rel=1e-12)
    assert codes("state x [g]\ninit x = 1\nnext x = x + 1 [hour]") == ["E301"]


def test_a_deterministic_map_has_an_unknown_start():
    found = model("state x\ninit x ~ Normal(0, 3)\nnext x = 0.5*x")
    assert not found.is_stochastic and [p.name for p in found.parameters] == ["x_init"]


@pytest.mark.parametrize(
    ("law", "location"),
    [
        ("LogNormal(median=2, sigma=1)", 2 * math.exp(0.5)), ("Gamma(mean=3, sd=1)", 3), ("Uniform(1, 4)", 2.5),
        ("Poisson(7)", 7), ("Binomial(10, 0.3)", 3), ("StudentT(3, 5, 1)", 5), ("Exponential(mean=4)", 4),
        ("TruncatedNormal(-1, 1, lower=0)", 0.5251352761609807), ("Cauchy(2, 1)", 2),
        ("LogitNormal(median=3, sd=0.5, lower=2, upper=5)", 3), ("InverseGamma(3, 8)", 4), ("InverseGamma(1, 8)", 4), ("HalfNormal(1)", math.sqrt(2 / math.pi)), ("Beta(2, 6)", 0.25),
        ("Weibull(2, 3)", 3 * math.gamma(1.5)), ("NegativeBinomial(4, 2)", 4), ("Categorical([0.25, 0.75])", 1.75),
    ],
)  # fmt: skip
def test_a_random_start_is_located(law, location):
    found = model(f"state x\ninit x ~ {law}\nnext x ~ Normal(x, 1)").states[0]
    assert found.start is not None and constant(found.init) == pytest.approx(location)


# --- sets of values ----------------------------------------------------------------------------------------

REGIMES = """index regime = {calm, rough}
    index to = 1..2
    param P[regime, to] ~ Dirichlet(1)
    param level[regime] ~ Normal(0, 5)
    state X in {1..2}
    init X ~ Categorical([0.5, 0.5])
    observe y ~ Normal(level[X], 1)
    """


def member(base, *positions):
    dims = {"level": ("regime",), "P": ("regime", "to")}[base]
    return Ref(base, tuple(map(Member, dims, positions)))


def test_a_state_chooses_members_and_rows():
    found = model(REGIMES + "next X ~ Categorical(P[X])")
    (state,), (draw,), (seen,) = found.states, found.dynamics.draws, found.observations
    assert (state.values, state.lower, state.upper) == (2, 1, 2)
    for value in (1, 2):
        at = {Ref("X"): value}
        assert [p.xreplace(at) for p in draw.law.args["p"]] == [member("P", value - 1, k) for k in (0, 1)]
        assert seen.law.args["mu"].xreplace(at) == member("level", value - 1)


def test_a_list_by_condition_is_a_list_of_conditions():
    text = REGIMES.replace("param P[regime, to] ~ Dirichlet(1)\n", "")
    (draw,) = model(text + "next X ~ Categorical(if X == 1 then [0.9, 0.1] else [0.3, 0.7])").dynamics.draws
    rows = [[float(p.subs(Ref("X"), v)) for p in draw.law.args["p"]] for v in (1, 2)]
    assert rows == [[0.9, 0.1], [0.3, 0.7]]


def test_a_state_of_a_site_chooses_for_that_site():
    text = """index site = {a, b}
        index regime = 1..2
        param level[regime] ~ Normal(0, 5)
        state X[site] in {1..2}
        init X[site] = 1
        next X[site] ~ Categorical([0.5, 0.5])
        observe y[site] ~ Normal(level[X[site]], 1)"""
    (seen,) = model(text).observations
    assert seen.law.args["mu"].xreplace({Ref("X", (Along("site"),)): 2}) == member("level", 1)


def test_censoring_is_in_the_unit_of_the_observation():
    found = model("param limit [ug] ~ HalfNormal(1)\nobserve a [mg] ~ Normal(1 [mg], 1 [mg]) censored below limit\n"
                  "observe b [mg] ~ Normal(1 [mg], 1 [mg]) rounded to 0.5")  # fmt: skip
    a, b = found.observations
    assert a.censoring.kind == "below" and float(a.censoring.limit.subs(Ref("limit"), 1)) == pytest.approx(
        1e-3
    )
    assert b.censoring == Censoring("rounded", sp.Float(0.5))


def test_a_definition_may_use_draws_and_is_then_part_of_the_step():
    text = """index k = 1..2
        state n[k]
        state m
        init n[k] = 1
        init m = 0
        fn twice(x) = 2*x
        let gain[k] = twice(birth[k]) - death
        draw birth[k] ~ Poisson(n[k])
        draw late ~ Poisson(sum(gain[k], k) + 10)
        draw death ~ Poisson(1)
        next n[k] = n[k] + gain[k]
        next m = m + gain[2] + late"""
    found = model(text)
    birth, death = Ref("birth", (Along("k"),)), Ref("death")
    assert found.definitions == ()
    assert found.dynamics.update["n"] == Ref("n", (Along("k"),)) + 2 * birth - death
    assert found.dynamics.update["m"] == Ref("m") + 2 * Ref("birth", (Member("k", 1),)) - death + Ref("late")
    assert [d.name for d in found.dynamics.draws] == ["birth", "death", "late"]
    assert codes(text + "\nobserve y ~ Poisson(gain[1])") == ["E556"]
    assert codes(text.replace("let gain[k] =", "let gain[k] [hour] =")) == ["E305"]

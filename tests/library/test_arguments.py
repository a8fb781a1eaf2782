"""Which form is meant, and what is said when none is."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sympy as sp

from sbmlang.ir.symbols import Expit
from sbmlang.library.distributions import DISTRIBUTIONS, ArgumentError, find, match_arguments


def refused(call) -> ArgumentError:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.help, "an error says what to do"
    return caught.value


def canonical(name: str, *values, size=None, **written):
    def value(x):
        return tuple(map(value, x)) if isinstance(x, list) else sp.sympify(x)

    binding = match_arguments(find(name), len(values), tuple(written))
    return binding.canonical([*map(value, values), *map(value, written.values())], size)


def names(binding) -> tuple[str, ...]:
    return tuple(a.name for a in binding.arguments)


@pytest.mark.parametrize("dist", DISTRIBUTIONS.values(), ids=lambda d: d.name)
def test_every_alias_of_every_form_selects_that_argument(dist):
    for form in dist.forms:
        for argument in form.arguments:
            for alias in argument.names:
                words = [alias if a is argument else a.name for a in form.arguments]
                binding = match_arguments(dist, 0, words)
                assert binding.form is form
                assert binding.arguments == form.arguments


@pytest.mark.parametrize("dist", DISTRIBUTIONS.values(), ids=lambda d: d.name)
def test_positions_are_those_of_the_first_form(dist):
    first = dist.forms[0]
    binding = match_arguments(dist, len(first.arguments), ())
    assert (binding.form, binding.arguments) == (first, first.arguments)


@pytest.mark.parametrize("dist", DISTRIBUTIONS.values(), ids=lambda d: d.name)
def test_descriptions_are_complete(dist):
    assert dist.doc and not dist.doc.endswith(".")
    assert all(form.instead for form in dist.forms if form.needs_dimensionless)
    assert dist.needs_dimensionless >= dist.discrete


def test_positional_and_named_arguments_mix():
    binding = match_arguments(find("Gamma"), 1, ("scale",))
    assert names(binding) == ("shape", "scale")
    assert canonical("Gamma", 2, scale=4) == {"shape": 2, "rate": sp.Rational(1, 4)}


def test_named_arguments_come_in_any_order():
    binding = match_arguments(find("LogitNormal"), 0, ("upper", "sigma", "mu"))
    assert names(binding) == ("upper", "sigma", "mu")
    assert canonical("LogitNormal", upper=4, sigma=2, mu=1) == {"mu": 1, "sigma": 2, "lower": 0, "upper": 4}


@pytest.mark.parametrize(
    ("name", "positional", "keywords", "code", "position", "says"),
    [
        ("Normal", 0, ("maen", "sd"), "E241", 0, "'maen'"),
        ("Normal", 1, (), "E242", None, "'sd'"),
        ("Normal", 0, (), "E242", None, "'mean' and 'sd'"),
        ("LogitNormal", 0, ("median",), "E242", None, "'sd'"),
        ("LogNormal", 0, ("median", "mean"), "E244", 1, "'mean' together with median"),
        ("LogNormal", 1, ("mu",), "E244", 1, "'mu' together with median"),
        ("Gamma", 0, ("shape", "rate", "scale"), "E244", 2, "'scale' together with shape, rate"),
        ("Normal", 3, (), "E245", 2, "at most 2"),
        ("Normal", 0, ("mean", "sd", "mean"), "E246", 2, "mean twice"),
        ("Normal", 1, ("mu", "sd"), "E246", 1, "as 'mean' and as 'mu'"),
    ],
)
def test_arguments_that_do_not_match(name, positional, keywords, code, position, says):
    found = refused(lambda: match_arguments(find(name), positional, keywords))
    assert (found.code, found.position) == (code, position)
    assert says in found.message
    assert name in found.message


def test_misspelt_names_get_a_suggestion():
    assert refused(lambda: find("Normall")).help == ("did you mean 'Normal'?",)
    assert refused(lambda: match_arguments(find("Gamma"), 0, ("shap",))).help[0] == "did you mean 'shape'?"


@pytest.mark.parametrize(
    ("name", "written", "code", "argument"),
    [
        ("Normal", {"mean": 0, "sd": -1}, "E543", "sd"),
        ("Normal", {"mean": 0, "sd": 0}, "E543", "sd"),
        ("Normal", {"mean": sp.zoo, "sd": 1}, "E543", "mean"),
        ("Normal", {"mean": sp.sqrt(-1), "sd": 1}, "E543", "mean"),
        ("Uniform", {"lower": 2, "upper": 2}, "E545", "upper"),
        ("TruncatedNormal", {"mean": 0, "sd": 1, "lower": 2, "upper": 1}, "E545", "upper"),
        ("LogNormal", {"median": -3, "sigma": 1}, "E543", "median"),
        ("Beta", {"mean": 0.2, "sd": 0.4}, "E542", "sd"),
        ("Beta", {"mean": 1.2, "sd": 0.4}, "E543", "mean"),
        ("Binomial", {"n": 2.5, "p": 0.4}, "E543", "n"),
        ("Binomial", {"n": 2, "p": 1.4}, "E543", "p"),
        ("Categorical", {"p": [0.2, 0.3]}, "E543", "p"),
        ("Categorical", {"p": 0.2}, "E441", "p"),
        ("Normal", {"mean": [1, 2], "sd": 1}, "E441", "mean"),
        ("MvNormal", {"mean": [0, 0], "sd": [1, 1, 1], "corr": [[1, 0], [0, 1]]}, "E441", "sd"),
        ("MvNormal", {"mean": [0, 0], "sd": [1, 1], "corr": [[1, 0], [0, 1, 0]]}, "E441", "corr"),
        ("MvNormal", {"mean": [0, 0], "sd": [1, 1], "corr": [[1, 2], [2, 1]]}, "E544", "corr"),
        ("MvNormal", {"mean": [0, 0], "sd": [1, 1], "corr": [[1, 0.1], [0.2, 1]]}, "E544", "corr"),
        ("MvNormal", {"mean": [0, 0], "sd": [1, 1], "corr": [[2, 0], [0, 2]]}, "E544", "corr"),
        ("MvNormal", {"mean": [0, 0], "cov": [[1, 2], [2, 1]]}, "E544", "cov"),
        ("MvNormal", {"mean": [0, 0], "cov": [[0, 0], [0, 1]]}, "E543", "cov"),
    ],
)
def test_values_that_no_member_of_the_family_has(name, written, code, argument):
    found = refused(lambda: canonical(name, **written))
    assert (found.code, found.argument, found.position) == (code, argument, list(written).index(argument))


def test_one_number_stands_for_all_members_of_a_joint_prior():
    args = canonical("MvNormal", 0, 2, 0.5, size=3)
    half = sp.Float(0.5)
    assert args == {
        "mu": (0, 0, 0),
        "sigma": (2, 2, 2),
        "corr": ((1, half, half), (half, 1, half), (half, half, 1)),
    }
    assert canonical("Dirichlet", 1, size=3) == {"alpha": (1, 1, 1)}


def test_an_exchangeable_correlation_has_a_lower_bound():
    found = refused(lambda: canonical("MvNormal", 0, 1, -0.5, size=3))
    assert (found.code, found.argument) == ("E544", "corr")
    assert "-0.5 and 1" in found.help[0]
    assert canonical("MvNormal", 0, 1, -0.49, size=3)


def test_a_correlation_may_be_a_parameter():
    r = sp.Symbol("r")
    assert canonical("MvNormal", 0, 1, r, size=2)["corr"] == ((1, r), (r, 1))


def test_a_joint_prior_says_which_entry_is_wrong():
    found = refused(lambda: canonical("MvLogitNormal", median=[0.5, 1.5], sd=0.1, corr=0, size=2))
    assert (found.code, found.argument, found.position) == ("E545", "median", 0)
    assert found.message.startswith("entry 2: ")


def test_the_length_of_a_list_is_checked_against_the_members():
    found = refused(lambda: canonical("MvNormal", [0, 0], 1, 0, size=3))
    assert (found.code, found.position) == ("E441", 0)
    assert "2 entries where 3 are expected" in found.message


def test_constant_expressions_become_numbers_and_others_stay():
    assert canonical("Normal", Expit(sp.Integer(0)), 1)["mu"] == sp.Float(0.5)
    tau = sp.Symbol("tau")
    assert canonical("Normal", 0, 2 * tau) == {"mu": 0, "sigma": 2 * tau}


def test_importing_the_library_loads_no_numerics():
    code = "import sys, sbmlang.library.distributions, sbmlang.library.functions, sbmlang.library.quantiles\n"
    code += "print([m for m in ('scipy', 'numpy', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

"""What is said about approximate fits: each finding from the attributes that provoke it, and from none else."""

import json

import pytest
import xarray as xr

from sbmlang.results.approximation import approximation_findings, approximation_line

GOOD = {"pareto_k": 0.4, "pareto_k_limit": 0.7, "corrected": "psis", "proposals": 4000, "effective_proposals": 3000.0,
        "elbo": -10.0, "elbo_se": 0.01, "method": "flow"}  # fmt: skip
NESTED = {
    "options": {"draws": 1000, "family": "spline"},
    "training": {
        "elbo": -10.01,
        "elbo_se": 0.01,
        "ending": "plateau",
        "iterations": 900,
        "dropped": 0,
        "draws": 28800,
    },
    "not_finite": {"proposals": 0},
}


def tree(**changes):
    simple = {k: changes.get(k, v) for k, v in GOOD.items()}
    nested = {k: json.dumps({**v, **changes.get(k, {})}) for k, v in NESTED.items()}
    return xr.DataTree(xr.Dataset(attrs={**simple, **nested, "json_attributes": " ".join(NESTED)}))


@pytest.mark.parametrize(("changes", "code"), [
    ({"corrected": "", "pareto_k": 0.9}, "W793"),
    ({"training": {"ending": "time"}}, "W794"),
    ({"training": {"elbo": -11.0}}, "W795"),
    ({"not_finite": {"proposals": 100}}, "W796"),
    ({"training": {"dropped": 1000}}, "W796"),
    ({"effective_proposals": 40.0}, "W797"),
    ({"options": {"family": "mean-field"}}, "W798"),
])  # fmt: skip
def test_each_finding(changes, code):
    assert [d.code for d in approximation_findings(tree(**changes))] == [code]


def test_a_good_fit_has_no_findings_but_a_line():
    assert list(approximation_findings(tree())) == []
    line = approximation_line(tree())
    assert "Pareto k 0.40" in line and "3000 of 4000" in line and "-10.01" in line


def test_exact_methods_are_passed_over():
    exact = xr.DataTree(xr.Dataset(attrs={"method": "nuts"}))
    assert list(approximation_findings(exact)) == [] and approximation_line(exact) == ""


def test_answers_of_networks_have_no_elbo():
    """How they were corrected is said; what was asked for is no finding."""
    of_network = {n: v for n, v in GOOD.items() if not n.startswith("elbo")} | {"method": "npe"}

    def of(**changes):
        return xr.DataTree(xr.Dataset(attrs=of_network | changes))

    assert "ELBO" not in approximation_line(of())
    assert "moved by short Metropolis chains" in approximation_line(of(corrected="metropolis"))
    assert "those of NUTS" in approximation_line(of(corrected="nuts", pareto_k=1.2))
    assert "uncorrected" in approximation_line(of(corrected="none"))
    assert [d.code for d in approximation_findings(of(corrected="none"))] == []
    assert [d.code for d in approximation_findings(of(corrected="nuts", pareto_k=1.2))] == []
    (found,) = approximation_findings(of(corrected="", pareto_k=1.2))
    assert found.code == "W793" and "more simulations" in found.help[1]

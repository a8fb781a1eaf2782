"""Every way to treat a path has its references."""

import re

import pytest

from sbmlang.citations import references

KEYS = {
    "explicit": "tsitouras2011",
    "implicit": "kvaerno2004",
    "exponential pieces": "almohy2011",
    "exact (Kalman filter), native kernel": "kalman1960",
    "forward (forward algorithm), plain JAX": "rabiner1989",
    "gaussian (moment-exact Kalman filter), approximate, native kernel": "kalman1960",
    "gaussian (extended Kalman filter), approximate, plain JAX": "jazwinski1970",
    "gaussian (unscented Kalman filter), approximate, plain JAX": "julier2004",
    "sampled (path beside the parameters)": "papaspiliopoulos2007",
    "particle (particle filter)": "andrieu2010",
}


@pytest.mark.parametrize("solver", KEYS)
def test_a_path_has_its_reference(solver):
    keys = re.findall(r"^@\w+\{(\w+),$", "\n".join(references(solver)), re.MULTILINE)
    assert KEYS[solver] in keys
    assert len(keys) == len(set(keys))
    assert ("hoffman2014nuts" in keys) == (not solver.startswith("particle"))

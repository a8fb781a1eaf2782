"""Without scikit-learn, emulators say what to install."""

from __future__ import annotations

import pytest

import sbmlang as sbm
from sbmlang.emulation import emulate
from sbmlang.errors import SbmError


def test_a_missing_package_is_named_before_anything_runs(monkeypatch) -> None:
    monkeypatch.setattr("sbmlang.emulation.learning.find_spec", lambda name: None)
    model = sbm.loads("model m\nparam k ~ Normal(0, 1)\nobserve y ~ Normal(k, 1)\n")
    with pytest.raises(SbmError, match=r"(?s)E805.*scikit-learn.*sbmlang\[emulate\]"):
        emulate(model)

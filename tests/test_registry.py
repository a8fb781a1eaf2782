"""Backends are found by name; what is missing is said."""

from importlib.metadata import EntryPoint

import pytest

from sbmlang import registry
from sbmlang.errors import SbmError


def test_a_missing_library_is_named(monkeypatch):
    point = EntryPoint("jax", "sbmlang_no_such_library:Backend", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(SbmError) as caught:
        registry.backend("jax")
    assert caught.value.codes == ("E702",)
    assert "sbmlang_no_such_library" in str(caught.value)

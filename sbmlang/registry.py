"""Backends, found by the entry point group ``sbmlang.backends`` and loaded when first asked for."""

from __future__ import annotations

from importlib.metadata import entry_points

from sbmlang.errors import SbmError, did_you_mean, error
from sbmlang.protocols import Backend

GROUP = "sbmlang.backends"


def names() -> tuple[str, ...]:
    return tuple(sorted({e.name for e in entry_points(group=GROUP)}))


def backend(name: str) -> Backend:
    """The backend of that name.

    Raises ``SbmError`` E701 for an unknown one and E702 when the libraries it needs are not installed.
    """
    found = {e.name: e for e in entry_points(group=GROUP)}
    if name not in found:
        hints = did_you_mean(name, found) or (f"installed backends: {', '.join(sorted(found)) or 'none'}",)
        raise SbmError(error("E701", f"unknown backend '{name}'", help=hints))
    try:
        made: Backend = found[name].load()()
    except ModuleNotFoundError as missing:
        raise SbmError(
            error("E702", f"the {name} backend needs the package '{missing.name}', which is not installed",
                  help=f"pip install 'sbmlang[{name}]'")
        ) from missing  # fmt: skip
    return made

"""What pint says about unit names, kept on disk: importing pint costs more than checking a whole model.

Only facts of pint are kept, under its version; units that a model declares are never among them. Without a
folder to write to, pint is asked every time.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs

Facts = tuple[float, dict[str, str], float]  # scale, root unit -> power, offset


def unit_facts(name: str) -> Facts | None:
    """Scale, powers of root units and offset of a unit name to pint's root units; None for no unit."""
    known = _known()
    if name not in known:
        known[name] = _ask(name)
        _write(known)
    found = known[name]
    return None if found is None else (found[0], found[1], found[2])


def cache_folder() -> Path:
    return platformdirs.user_cache_path("sbmlang")


def _file() -> Path:
    return cache_folder() / f"units-pint-{version('pint')}.json"


@cache
def _known() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(_file().read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _write(known: dict[str, Any]) -> None:
    """Replaces the file in one step, so that no other process reads half of it."""
    target = _file()
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(known), "utf-8")
        os.replace(temporary, target)


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


def _ask(name: str) -> Facts | None:
    import pint

    registry = _registry()
    try:
        found = registry.Unit(name)
        scale, root = registry.get_root_units(found)
    except (pint.errors.UndefinedUnitError, pint.errors.DefinitionSyntaxError, AttributeError, ValueError):
        return None
    powers = {str(k): str(v) for k, v in root._units.items() if str(k) != "radian"}
    offset = float(registry.Quantity(0.0, found).to(root).magnitude) if "deg" in name else 0.0
    return float(scale), powers, offset

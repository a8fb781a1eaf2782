"""sbmlang: state-space models declared once, compiled to the inference backend of your choice.

>>> import sbmlang as sbm
>>> model = sbm.load("model.sbm")                                          # doctest: +SKIP
>>> fit = model.compile("jax").infer(sbm.read_data(model, "obs.csv"))      # doctest: +SKIP

Importing is cheap; everything heavy is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbmlang.driver import Model, load, loads, read_data, read_sites
    from sbmlang.errors import Diagnostic, NotYet, SbmError
    from sbmlang.results import open_fit, save
    from sbmlang.runs import Runs, open_runs, simulate_runs
    from sbmlang.studies.comparison import compare

__version__ = "0.1.0"

# In a checkout the grammars and backends lie beside this package, not inside it.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))

_HOMES = {
    "Model": "sbmlang.driver", "load": "sbmlang.driver", "loads": "sbmlang.driver",
    "read_data": "sbmlang.driver", "read_sites": "sbmlang.driver", "compare": "sbmlang.studies.comparison", "open_fit": "sbmlang.results", "save": "sbmlang.results",
    "Runs": "sbmlang.runs", "simulate_runs": "sbmlang.runs", "open_runs": "sbmlang.runs",
    "Diagnostic": "sbmlang.errors", "NotYet": "sbmlang.errors", "SbmError": "sbmlang.errors",
}  # fmt: skip

__all__ = [
    "Diagnostic",
    "Model",
    "NotYet",
    "Runs",
    "SbmError",
    "compare",
    "load",
    "loads",
    "open_fit",
    "open_runs",
    "read_data",
    "read_sites",
    "save",
    "simulate_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sbmlang' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

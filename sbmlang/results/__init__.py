"""Results of inference and simulation: ArviZ trees, files, diagnostics, tables and figures.

The one door to ArviZ and matplotlib. Importing this package loads neither; each function loads what it
needs on first use. Everything takes and gives ``xarray.DataTree`` and assumes no particular method.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbmlang.results.amortized import amortized_line, sites_lines
    from sbmlang.results.approximation import approximation_line
    from sbmlang.results.diagnostics import diagnose
    from sbmlang.results.emulated import emulator_line
    from sbmlang.results.loo import LooRow, loo_findings, loo_table
    from sbmlang.results.plots import KINDS, figures, save_figures
    from sbmlang.results.store import open_fit, save
    from sbmlang.results.summary import SummaryRow, rounded, summarise
    from sbmlang.results.tree import assemble, attributes, name_clashes, plain

_HOME = {
    "assemble": "tree", "attributes": "tree", "name_clashes": "tree", "plain": "tree",
    "save": "store", "open_fit": "store",
    "diagnose": "diagnostics", "approximation_line": "approximation",
    "amortized_line": "amortized", "sites_lines": "amortized", "emulator_line": "emulated",
    "loo_table": "loo", "loo_findings": "loo", "LooRow": "loo",
    "summarise": "summary", "rounded": "summary", "SummaryRow": "summary",
    "figures": "plots", "save_figures": "plots", "KINDS": "plots",
}  # fmt: skip

__all__ = [
    "KINDS", "LooRow", "SummaryRow", "amortized_line", "approximation_line", "assemble", "attributes", "diagnose", "emulator_line", "figures",
    "loo_findings", "loo_table", "name_clashes", "open_fit", "plain", "rounded", "save", "save_figures", "sites_lines", "summarise",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

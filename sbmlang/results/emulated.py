"""What a fit by an emulator says about the emulator."""

from __future__ import annotations

import xarray as xr

from sbmlang.results.tree import attributes

NAMED = 4  # outputs that are named one by one


def emulator_line(tree: xr.DataTree) -> str:
    """One sentence about the emulator behind a fit: runs, error and R2 of runs held out, truncation; "" for other fits."""
    a = attributes(tree)
    if "emulator_r2" not in a:
        return ""
    outputs = [
        f"{name} R2 {r2:.3f}, error {a['emulator_error'][name]:.3g}" for name, r2 in a["emulator_r2"].items()
    ]
    more = f"; and {len(outputs) - NAMED} more outputs" if len(outputs) > NAMED else ""
    return (
        f"emulator: learned from {a['emulator']['runs']} runs; on runs held out {'; '.join(outputs[:NAMED])}{more}; "
        f"components leave {a['emulator_truncation']:.2%} of the variance out; the error is part of the likelihood"
    )

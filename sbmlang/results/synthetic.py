"""Synthetic observations as a long table that ``read_data`` takes as it is."""

from __future__ import annotations

import xarray as xr

from sbmlang.data.origin import comment


def synthetic_csv(tree: xr.DataTree) -> str:
    """CSV text with a row per draw, channel and place: draw, variable, time, index columns, value, unit.

    The values are in the declared units; the unit of time stands in the header. With one draw the column
    ``draw`` is left out, so that ``sbm run --data`` has nothing to remark. A comment before the header says
    how a path in steps was made.
    """
    import pandas as pd

    made = tree.attrs.get("path_made")

    found = tree["prior_predictive"].to_dataset().isel(chain=0, drop=True)
    frames = []
    for name, values in found.data_vars.items():
        frame = values.to_dataframe(name="value").reset_index()
        frame = frame.rename(columns={c: str(c).removeprefix(f"{name}_") for c in frame.columns})
        frame = frame.drop(columns=[c for c in ("row",) if c in frame.columns])
        frame.insert(1, "variable", str(name))
        frame["unit"] = values.attrs.get("units") or "1"
        unit = found.coords[f"{name}_time"].attrs.get("time_unit", "")
        frames.append(frame.rename(columns={"time": f"time [{unit}]"} if unit else {}))
    table = pd.concat(frames, ignore_index=True)
    text = str(table.drop(columns="draw" if found.sizes["draw"] == 1 else []).to_csv(index=False))
    return (comment(str(made)) if made else "") + text

"""Studies of an engine or a fit, built on any program: calibration, recovery, prediction.

They call only what every backend offers (``compile``, ``simulate``, ``infer``), so they judge any method.
Importing this package is light; replications run in other processes through dask, which is loaded when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sbmlang.studies.calibration import Calibration, sbc
    from sbmlang.studies.prediction import Forecast, predict
    from sbmlang.studies.recovery import Recovery, recover

_HOME = {
    "sbc": "calibration", "Calibration": "calibration",
    "recover": "recovery", "Recovery": "recovery",
    "predict": "prediction", "Forecast": "prediction",
}  # fmt: skip

__all__ = ["Calibration", "Forecast", "Recovery", "predict", "recover", "sbc"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

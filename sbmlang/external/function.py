"""Simulators that are Python functions of many parameter sets at once."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.errors import SbmError, did_you_mean, error
from sbmlang.ir import Simulator


def loaded(simulator: Simulator, folder: Path) -> Callable[..., Any]:
    """The function that ``"file.py:function"`` names. Raises ``SbmError`` E841, E842."""
    file, _, name = simulator.source.rpartition(":")
    path = folder / file
    spans = (simulator.span,) if simulator.span else ()
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise SbmError(
            error("E841", f"simulator '{simulator.name}' is in '{path}', and there is no such file", *spans,
                  help=did_you_mean(path.name, near) or "the file is named as seen from the model's folder")
        )  # fmt: skip
    module = _module(simulator, path)
    found = getattr(module, name, None)
    if not callable(found):
        functions = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise SbmError(
            error("E841", f"'{path}' has no function '{name}'", *spans,
                  help=did_you_mean(name, functions) or f"write in it: def {name}(parameters, rng): ...")
        )  # fmt: skip
    made: Callable[..., Any] = found
    return made


def _module(simulator: Simulator, path: Path) -> ModuleType:
    """The module in a file, executed once for every state of the file; files beside it can be imported by it."""
    name = f"sbmlang_simulator_{path.stem}_{abs(hash((str(path.resolve()), path.stat().st_mtime_ns)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        raise SbmError(_failed(simulator, problem, f"'{path.name}' cannot be loaded")) from problem
    finally:
        sys.path.remove(str(path.parent.resolve()))
    sys.modules[name] = module
    return module


def called(
    simulator: Simulator, function: Callable[..., Any], params: Mapping[str, Floats], rng: np.random.Generator
) -> Any:
    """What the function gives for parameters {name: (n, *dims)}. Raises ``SbmError`` E842."""
    try:
        return function({n: v.copy() for n, v in params.items()}, rng)
    except Exception as problem:
        raise SbmError(_failed(simulator, problem, "it failed")) from problem


def _failed(simulator: Simulator, problem: Exception, what: str) -> Any:
    frames = traceback.extract_tb(problem.__traceback__)
    last = frames[-1] if frames else None
    where = f", line {last.lineno} of {Path(last.filename).name}" if last else ""
    return error(
        "E842", f"simulator '{simulator.name}': {what}: {type(problem).__name__}: {problem}{where}",
        *((simulator.span,) if simulator.span else ()),
        help="it is called with {name: array (n, *dims)} and a numpy random generator, and gives {output: array (n, *dims)}",
    )  # fmt: skip

"""Generated kernels on disk, so that the second start of a model compiles nothing.

The text of a module lies under the hash of what it says, of numba's version and of this package's own code;
numba keeps its machine code beside it and looks at the processor itself. The folder is the user's cache
folder, or what SBMLANG_CACHE says. Where it cannot be written or what lies there is broken, kernels are
compiled in memory, and a warning (W740) says so once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numba
import platformdirs

from sbmlang.errors import error

_modules: dict[str, ModuleType] = {}
_warned: list[str] = []


def folder() -> Path:
    """Where kernels are kept."""
    chosen = os.environ.get("SBMLANG_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("sbmlang")) / "kernels"


@lru_cache
def _package() -> bytes:
    """This package's code, which generated modules import from."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def key(source: str) -> str:
    """The name of a generated module."""
    return "kernel_" + hashlib.sha256(_package() + source.encode()).hexdigest()[:32]


def load(source: str) -> ModuleType:
    """The module with this text, compiled now or at an earlier time."""
    name = key(source)
    if name not in _modules:
        _modules[name] = _loaded(source, name)
    return _modules[name]


def _loaded(source: str, name: str) -> ModuleType:
    try:
        file = _written(source, folder() / name / f"{name}.py")
        try:
            return _imported(name, file)
        except Exception:  # what numba raises on broken files is anything: begin afresh, once
            shutil.rmtree(file.parent)
            return _imported(name, _written(source, file))
    except OSError as problem:
        _warn(problem)
        return _in_memory(source, name)


def _written(source: str, file: Path) -> Path:
    """The file, written in one go, so that another process never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or file.read_text("utf-8") != source:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as draft:
            draft.write(source)
        os.replace(draft.name, file)
    return file


def _imported(name: str, file: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, file)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _in_memory(source: str, name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source.replace("cache=True", "cache=False"), f"<{name}>", "exec"), module.__dict__)
    return module


def _warn(problem: OSError) -> None:
    if not _warned:
        _warned.append(str(problem))
        text = f"compiled kernels cannot be kept: {problem}"
        help = "set SBMLANG_CACHE to a folder that can be written; until then every start compiles again"
        warnings.warn(str(error("W740", text, help=help)), stacklevel=2)

"""Who may import whom. The two tables below are the architecture; the rest of the file only reads them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "examples" / "incubation" / "model.sbm"

TEXT = "__version__ source errors codes "
MODELS = TEXT + "library ir "
TOOLS = MODELS + "passes emit kernels data external citations protocols results "
ALL = TOOLS + "registry syntax check driver studies "

# A room is a package or a module of sbmlang, or one backend; "sbmlang" is what __init__ itself defines, and
# a module with a row of its own is a room apart from its package. A room may import the rooms beside it, and
# these all stand further up, so there is no way round in a circle.
ARROWS = {
    "__version__": "",  # the one name of __init__ that is for everybody
    "source": "",
    "errors": "source",
    "codes": "source errors",
    "grammars": "",
    "ir.symbols": "",
    "library.remembered": "",
    "library.units": TEXT + "library.remembered",
    "library": TEXT + "library.units ir.symbols",
    "ir": TEXT + "library.units ir.symbols",
    "syntax": TEXT,
    "check": MODELS + "syntax",
    "passes": MODELS,
    "emit": MODELS + "passes",  # what is shared by generated programs asks facts how members are coupled
    "data": MODELS,
    "external": MODELS + "data",  # the only room that runs what a model file names
    "kernels": MODELS + "passes emit data",
    "citations": MODELS,
    "protocols": MODELS + "data",
    "registry": TEXT + "protocols",
    "results": MODELS + "data citations protocols",
    "driver": TOOLS + "registry syntax check",
    "studies": TOOLS + "driver",  # a fit is compiled again from its text
    "runs": TOOLS + "studies driver",  # dask as in studies; a model is compiled in every process
    "studies.amortized": TOOLS + "studies runs",  # checks of networks, on simulations that they have not seen
    "emulation": TOOLS + "registry driver runs",
    "sbmlang": ALL + "runs emulation",
    "testing": ALL + "runs emulation sbmlang",
    "cli": ALL + "runs emulation sbmlang",
    "__main__": "cli",
    "backends": "",
    "backends.*": TOOLS
    + "runs registry",  # what a network cannot answer is asked of another backend, by its name
}

# Libraries that enter through certain rooms only. Imports for type checkers load nothing and are free.
DOORS = {
    "lark": "syntax",
    "pint": "library",
    "pandas": "data results",
    "xarray": "data results studies runs emulation backends.*",
    "arviz*": "results",
    "matplotlib": "results",
    "sklearn": "results emulation",
    "jinja2": "results",
    "plotly": "results",
    "typer": "cli",
    "rich": "cli",
    "numba": "kernels",
    "llvmlite": "kernels",
    "zarr": "runs",
    "dask": "studies",
    "distributed": "studies",
    "nutpie": "backends.jax",
    "cuthbert*": "backends.jax",
    "jax": "backends.jax",
    "jaxlib": "backends.jax",
    "numpyro": "backends.jax",
    "diffrax": "backends.jax",
    "optimistix": "backends.jax",
    "equinox": "backends.jax",
    "lineax": "backends.jax",
    "torch": "backends.torch",
    "torchdiffeq": "backends.torch",
    "zuko": "backends.torch",
    "azula": "backends.torch",
}

# Rooms that get by with the libraries named here (and the standard library).
ONLY = {"ir": "sympy"}

# What neither `import sbmlang` nor `sbm check` may load.
HEAVY = [
    "jax",
    "jaxlib",
    "numpyro",
    "torch",
    "pandas",
    "arviz*",
    "matplotlib",
    "numba",
    "sklearn",
    "jinja2",
    "plotly",
]


@dataclass(frozen=True)
class Import:
    """``import a.b`` has the target ``a.b``, and ``from a.b import c`` the target ``a.b.c``."""

    file: Path
    line: int
    target: str
    relative: bool
    for_types: bool


def module_name(path: Path) -> str:
    """The dotted name under which a file, given relative to the checkout, is installed."""
    parts = list(path.with_suffix("").parts)
    if parts[0] in ("backends", "grammars"):
        parts.insert(0, "sbmlang")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, folder: str) -> Iterator[Import]:
    for file in sorted((root / folder).rglob("*.py")):
        path = file.relative_to(root)
        package = module_name(path if path.stem == "__init__" else path.parent / "__init__.py")
        yield from _imports(ast.parse(file.read_text("utf-8")), path, package, for_types=False)


def _imports(tree: ast.AST, path: Path, package: str, for_types: bool) -> Iterator[Import]:
    def absolute(name: str, level: int) -> str:
        above = package.split(".")[: len(package.split(".")) - level + 1]
        return ".".join([*above, name] if name else above)

    def found(target: str, relative: bool) -> Import:
        return Import(path, node.lineno, target, relative, for_types)

    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (found(alias.name, False) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = absolute(module or "", level) if level else module
                yield from (found(f"{base}.{alias.name}", level > 0) for alias in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                yield from _imports(ast.Module(node.body, []), path, package, for_types=True)
                yield from _imports(ast.Module(node.orelse, []), path, package, for_types)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                dots = len(name) - len(name.lstrip("."))
                yield found(absolute(name[dots:], dots) if dots else name, dots > 0)
                yield from _imports(node, path, package, for_types)
            case _:
                yield from _imports(node, path, package, for_types)


def room_of(module: str) -> str:
    """The longest row of the table that a module belongs to, or the name of a room that has none."""
    parts = module.split(".")[1:]
    if parts[:1] == ["backends"]:
        return ".".join(parts[:2])
    prefixes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in ARROWS), parts[0] if parts else "sbmlang")


def inside(module: str, rooms: str) -> bool:
    return any(fnmatch(f"{module}.", f"sbmlang.{room}.*") for room in rooms.split())


def breach(found: Import) -> str | None:
    """The rule that an import breaks, in words."""
    module = module_name(found.file)
    room = room_of(module)
    row = "backends.*" if room.startswith("backends.") else room
    if row not in ARROWS:
        return f"the room '{room}' has no row in the table"

    library, *_ = found.target.split(".")
    if library != "sbmlang":
        if found.for_types:
            return None
        for pattern, rooms in DOORS.items():
            if fnmatch(library, pattern) and not inside(module, rooms):
                return f"{library} enters through: {rooms}"
        for rooms, libraries in ONLY.items():
            if inside(module, rooms) and library not in {*sys.stdlib_module_names, *libraries.split()}:
                return f"of all libraries only {libraries} may be imported here"
        return None

    target = room_of(found.target)
    if target not in ARROWS and not target.startswith("backends."):
        target = "sbmlang"  # a name defined by __init__, as in `from sbmlang import load`
    if row == "backends.*" and found.relative != (target == room):
        return "a backend imports its own modules relatively, and everything else absolutely"
    if target == room or target in ARROWS[row].split() or inside(found.target, ARROWS[row]):
        return None
    return f"'{room}' may import: {ARROWS[row] or 'nothing'}"


def breaches(root: Path) -> list[str]:
    own = [found for folder in ("sbmlang", "grammars", "backends") for found in imports(root, folder)]
    return [f"{f.file}:{f.line}: {f.target}: {rule}" for f in own if (rule := breach(f))]


def loaded_by(program: str, folder: Path) -> set[str]:
    """Top-level modules in memory after a program has run in a fresh interpreter outside the checkout."""
    ask = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", ask], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def pyproject() -> dict[str, dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def package_folders() -> dict[str, Path]:
    inits = (
        file for top in ("sbmlang", "grammars", "backends") for file in (ROOT / top).rglob("__init__.py")
    )
    return {module_name(file.relative_to(ROOT)): file.parent for file in inits}


def test_imports_follow_the_tables():
    assert not (wrong := breaches(ROOT)), "\n" + "\n".join(wrong)


def test_the_table_points_one_way():
    above: set[str] = set()
    for room, allowed in ARROWS.items():
        assert set(allowed.split()) <= above, room
        above.add(room)


def test_nobody_imports_by_the_folder_name():
    folders = ("sbmlang", "grammars", "backends", "tests", "examples", "benchmarks")
    everything = [found for folder in folders for found in imports(ROOT, folder)]
    wrong = [f for f in everything if not f.relative and f.target.split(".")[0] in ("backends", "grammars")]
    assert not wrong


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("sbmlang/syntax/parse.py", "from sbmlang.check import check"),
        ("sbmlang/syntax/parse.py", "from ..check import check"),
        ("sbmlang/ir/model.py", "from sbmlang.syntax import ast"),
        ("sbmlang/ir/model.py", "from sbmlang.library.functions import FUNCTIONS"),
        ("sbmlang/ir/model.py", "import numpy"),
        ("sbmlang/ir/symbols.py", "from sbmlang.ir.model import Model"),
        ("sbmlang/library/units.py", "from sbmlang.ir.symbols import Expr"),
        ("sbmlang/library/functions.py", "import sbmlang.ir"),
        ("sbmlang/data/table.py", "from sbmlang import check"),
        ("sbmlang/results/plots.py", "if TYPE_CHECKING:\n    from sbmlang.syntax import ast"),
        ("sbmlang/driver.py", "def f():\n    import sbmlang.backends.jax"),
        ("sbmlang/driver.py", "importlib.import_module('sbmlang.cli')"),
        ("sbmlang/driver.py", "from sbmlang import load"),
        ("sbmlang/driver.py", "import rich.progress"),
        ("sbmlang/__init__.py", "from .cli import main"),
        ("sbmlang/check/units.py", "import lark"),
        ("sbmlang/cli/plot.py", "def f():\n    import arviz_plots"),
        ("sbmlang/testing/laws.py", "import jax.numpy as jnp"),
        ("sbmlang/attic.py", "import math"),
        ("backends/jax/program.py", "from sbmlang.backends.jax.printer import Printer"),
        ("backends/jax/program.py", "from sbmlang.backends.torch import Backend"),
        ("backends/jax/program.py", "from ..torch import Backend"),
        ("backends/jax/program.py", "from ...ir import Model"),
        ("backends/jax/program.py", "from sbmlang.check import check"),
        ("backends/torch/program.py", "import jax"),
    ],
)
def test_the_rules_bite(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line)
    assert len(breaches(tmp_path)) == 1


def test_the_rules_let_through_what_they_should(tmp_path):
    allowed = {
        "sbmlang/check/lower.py": "import sympy\nfrom sbmlang.ir import Model\nfrom . import scope",
        "sbmlang/ir/model.py": "import sympy as sp\nfrom sbmlang.library.units import Unit\nimport math",
        "sbmlang/protocols.py": "if TYPE_CHECKING:\n    import pandas\n    from sbmlang.data import Dataset",
        "sbmlang/cli/app.py": "import typer\nimport sbmlang as sbm\nfrom sbmlang import driver, load",
        "sbmlang/__main__.py": "from sbmlang.cli import main",
        "backends/jax/program.py": "import jax, xarray\nfrom sbmlang.ir import Model\nfrom . import nuts",
    }
    for file, text in allowed.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert not breaches(tmp_path)


def test_every_package_is_in_pyproject():
    assert sorted(pyproject()["tool"]["setuptools"]["packages"]) == sorted(package_folders())


def test_every_data_file_is_packed():
    patterns = pyproject()["tool"]["setuptools"]["package-data"]["*"]
    files = (file for folder in package_folders().values() for file in folder.iterdir() if file.is_file())
    data = [file for file in files if file.suffix != ".py" and not file.name.startswith(".")]
    assert not [file for file in data if not any(fnmatch(file.name, pattern) for pattern in patterns)]


def test_importing_sbmlang_is_light(tmp_path):
    loaded = loaded_by("import sbmlang", tmp_path)
    assert not [name for name in loaded for heavy in [*HEAVY, "lark", "sympy"] if fnmatch(name, heavy)]


def test_checking_a_model_is_light(tmp_path):
    run = f"""
import sys
from sbmlang.cli import main
sys.argv = ["sbm", "check", {str(MODEL)!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    loaded = loaded_by(run, tmp_path)
    assert "lark" in loaded
    assert not [name for name in loaded for heavy in HEAVY if fnmatch(name, heavy)]

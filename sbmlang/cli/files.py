"""The files a command reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sbmlang.cli.show import print_diagnostic
from sbmlang.driver import Model, load, read_data
from sbmlang.errors import SbmError, error

if TYPE_CHECKING:
    from sbmlang.data.dataset import Dataset
    from sbmlang.emulation import Emulated

ModelFile = Annotated[Path, typer.Argument(help="A model file (.sbm).", metavar="FILE")]
DataFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--data", "-d", metavar="FILE", help="Data file, CSV or NetCDF; may be given several times."
    ),
]
ForcingFiles = Annotated[
    list[Path] | None,
    typer.Option("--forcing", "-f", metavar="FILE", help="File with forcings or covariates."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of all random numbers.")]
BackendName = Annotated[str, typer.Option("--backend", metavar="NAME", help="The backend to compile to.")]


AllowExternal = Annotated[
    bool,
    typer.Option("--allow-external", help="Run functions and programs that the model's simulators name."),
]


EmulatorFile = Annotated[
    Path | None,
    typer.Option(
        "--emulator",
        metavar="FILE",
        help="Let this emulator (sbm emulate) stand for the path or simulator.",
    ),
]


def loaded(path: Path) -> Model:
    """The model of a file, its warnings printed."""
    model = load(path)
    for diagnostic in model.diagnostics:
        print_diagnostic(diagnostic)
    return model


def dataset(
    model: Model, data: Sequence[Path] | None, forcing: Sequence[Path] | None, *, plan: bool = False
) -> Dataset:
    """The dataset of the command line; with ``plan`` one to simulate on when no observations are given."""
    from sbmlang.data.empty import empty
    from sbmlang.data.read import read_inputs

    if data:
        found = read_data(model, *data, forcing=list(forcing or []) or None)
    elif plan and forcing:
        found = read_inputs(model.ir, *forcing, observe=True, parse_unit=model.parse_unit)
    elif plan:
        found = empty(model.ir, observe=True)
    else:
        observed = ", ".join(o.name for o in model.ir.observations) or "nothing"
        hint = "add --data FILE (sbm simulate needs none)"
        raise SbmError(error("E735", f"no data are given; the model observes {observed}", help=hint))
    for note in found.notes:
        print_diagnostic(note)
    return found


def emulated(path: Path, model: Model, data: Dataset, backend: str) -> Emulated:
    """The model with the emulator in a file in the place of its path or simulator.

    Raises ``SbmError`` E886 for a file without an emulator, E887 for an emulator of another map.
    """
    from sbmlang.emulation import apply, open_emulator

    return apply(open_emulator(path), model, data, backend=backend)


def require_output(output: Path, *kinds: str) -> None:
    """Raises ``SbmError`` E738 for another ending, E651 to E653 for a file that could not be written."""
    from sbmlang.results.store import require_writable

    require_writable(output)
    if output.suffix not in kinds:
        raise SbmError(
            error(
                "E738",
                f"'{output.name}' does not end in {' or '.join(kinds)}",
                help=f"e.g. -o {output.stem}{kinds[0]}",
            )
        )

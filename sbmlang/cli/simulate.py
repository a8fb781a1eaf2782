"""The command that simulates."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import (
    BackendName,
    DataFiles,
    ForcingFiles,
    ModelFile,
    Seed,
    dataset,
    loaded,
    require_output,
)
from sbmlang.cli.fits import draw
from sbmlang.errors import SbmError, error
from sbmlang.protocols import Program

if TYPE_CHECKING:
    from xarray import DataTree


@app.command()
def simulate(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=NUMBER", help="Fix a parameter, in its unit; may be given several times."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Number of trajectories.")] = 100,
    seed: Seed = 0,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write: .nc, or .csv for synthetic observations."
        ),
    ] = Path("simulated.nc"),
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Draw the envelope of the observations into this folder."),
    ] = None,
    backend: BackendName = "jax",
) -> None:
    """Simulate trajectories and synthetic observations.

    Parameters are drawn from the prior unless --set fixes them. Without data the times are those of the
    model's own range.
    """
    model = loaded(file)
    require_output(output, ".nc", ".csv")
    fixed = dict(assignment(s) for s in sets or [])
    places = dataset(model, data, forcing, plan=True)
    program = model.compile(backend)
    _require_inside(program, fixed)
    tree = program.simulate(places, draws=draws, params=fixed, seed=seed)
    _write(tree, output)
    typer.echo(f"{output}: {draws} draw{'s' * (draws != 1)}")
    if plot is not None:
        draw(tree, plot, ["prior_fit"])


def assignment(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return name.strip(), float(value)
    except ValueError:
        raise SbmError(
            error(
                "E736",
                f"'{text}' does not fix a parameter",
                help="write --set NAME=NUMBER, the number in the parameter's unit",
            )
        ) from None


def _require_inside(program: Program, fixed: Mapping[str, float]) -> None:
    """Raises ``SbmError`` E737 for a value that the prior excludes.

    Ends that depend on other parameters are not checked.
    """
    for p in program.parameters:
        low = p.lower if isinstance(p.lower, float | int) else -inf
        high = p.upper if isinstance(p.upper, float | int) else inf
        if p.name in fixed and not low <= fixed[p.name] <= high:
            support = f"{low:g} to {high:g} [{p.unit}]"
            message = f"{p.name} = {fixed[p.name]:g} is outside the support of its prior"
            raise SbmError(error("E737", message, help=f"give a value from {support}"))


def _write(tree: DataTree, output: Path) -> None:
    from sbmlang.results import save
    from sbmlang.results.store import write_whole
    from sbmlang.results.synthetic import synthetic_csv

    if output.suffix == ".csv":
        text = synthetic_csv(tree)
        write_whole(output, lambda file: file.write(text.encode()))
    else:
        save(tree, output)

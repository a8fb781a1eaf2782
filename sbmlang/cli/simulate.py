"""The command that simulates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import (
    AllowExternal,
    DataFiles,
    ForcingFiles,
    ModelFile,
    Seed,
    dataset,
    loaded,
    require_output,
)
from sbmlang.cli.fits import draw
from sbmlang.cli.show import print_diagnostic
from sbmlang.driver import Model, read_sites
from sbmlang.errors import SbmError, error
from sbmlang.protocols import Program

if TYPE_CHECKING:
    from xarray import DataTree

    from sbmlang.data.dataset import Dataset

STOPPED = "\nstopped; finished shards are kept, the same command goes on with the others"


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
            "--output", "-o", metavar="FILE", help="Where to write: .nc, .csv for synthetic observations, or .zarr for very many runs."
        ),
    ] = Path("simulated.nc"),
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Draw the envelope of the observations into this folder."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="For .zarr: the column that tells the data sets of --data apart; runs are dealt evenly to them."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="For .zarr: processes on this machine.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="For .zarr: a dask scheduler that is there already, e.g. tcp://host:8786.")
    ] = None,
    shard: Annotated[int, typer.Option(min=1, metavar="N", help="For .zarr: runs that are simulated and kept together.")] = 1000,
    tolerate: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="For .zarr: the share of runs that may fail.")
    ] = 0.1,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="The backend to compile to; default jax, and torch for .zarr.")
    ] = None,
    allow_external: AllowExternal = False,
) -> None:  # fmt: skip
    """Simulate trajectories and synthetic observations.

    Parameters are drawn from the prior unless --set fixes them. Without data the times are those of the
    model's own range. A .zarr store holds parameters and observations of very many runs, for networks to learn
    from; a command that was stopped goes on where it was.
    """
    model = loaded(file)
    if output.suffix == ".zarr":
        _require_alone(output, {"--set": sets, "--plot": plot})
        designs = _designs(model, data, forcing, by)
        _simulate_store(
            model,
            designs,
            output,
            draws,
            seed,
            backend or "torch",
            workers,
            scheduler,
            shard,
            tolerate,
            allow_external,
        )
        return
    _require_alone(output, {"--by": by, "--scheduler": scheduler, "--workers": workers > 1})
    require_output(output, ".nc", ".csv", ".zarr")
    fixed = dict(assignment(s) for s in sets or [])
    places = dataset(model, data, forcing, plan=True)
    program = model.compile(backend or "jax", allow_external=allow_external)
    _require_inside(program, fixed)
    tree = program.simulate(places, draws=draws, params=fixed, seed=seed)
    _write(tree, output)
    typer.echo(f"{output}: {draws} draw{'s' * (draws != 1)}")
    if plot is not None:
        draw(tree, plot, ["prior_fit"])


def _require_alone(output: Path, given: Mapping[str, object]) -> None:
    """Raises ``SbmError`` E859 for options that do not go with this kind of output."""
    if wrong := [name for name, value in given.items() if value]:
        store = output.suffix == ".zarr"
        help = (
            "a store holds draws from the whole prior; write -o x.nc to fix parameters or to draw figures"
            if store
            else "write to a store: -o runs.zarr"
        )
        raise SbmError(
            error(
                "E859",
                f"{' and '.join(wrong)} do{'es' * (len(wrong) == 1)} not go with -o {output.name}",
                help=help,
            )
        )


def _designs(
    model: Model, data: Sequence[Path] | None, forcing: Sequence[Path] | None, by: str | None
) -> list[Dataset]:
    """One design, or one of each site of a table."""
    if by is None:
        return [dataset(model, data, forcing, plan=True)]
    sites = read_sites(model, *(data or []), by=by, forcing=list(forcing or []) or None)
    for note in sites.notes:
        print_diagnostic(note)
    return list(sites.values())


def _simulate_store(
    model: Model,
    designs: Sequence[Dataset],
    output: Path,
    draws: int,
    seed: int,
    backend: str,
    workers: int,
    scheduler: str | None,
    shard: int,
    tolerate: float,
    allow_external: bool,
) -> None:
    from sbmlang.cli.progress import progress_bar
    from sbmlang.runs.simulate import notes, simulate_runs

    with progress_bar(STOPPED) as progress:
        runs = simulate_runs(
            model, designs, draws, seed, store=output, backend=backend, workers=workers, scheduler=scheduler,
            shard=shard, tolerated=tolerate, progress=progress,
            compile={"allow_external": True} if allow_external else None,
        )  # fmt: skip
    for note in notes(runs):
        print_diagnostic(note)
    several = f" on {len(designs)} designs" if len(designs) > 1 else ""
    typer.echo(f"{output}: {len(runs)} run{'s' * (len(runs) != 1)}{several}")


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

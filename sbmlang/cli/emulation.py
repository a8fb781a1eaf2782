"""The command that makes emulators."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import (
    AllowExternal,
    BackendName,
    DataFiles,
    ForcingFiles,
    ModelFile,
    Seed,
    dataset,
    loaded,
    require_output,
)
from sbmlang.cli.show import number, print_diagnostic
from sbmlang.cli.table import Column, print_table
from sbmlang.driver import Model, read_run_table

if TYPE_CHECKING:
    from sbmlang.emulation import Emulator

_COLUMNS = (
    Column("output", left=True),
    Column("unit", left=True),
    Column("numbers"),
    Column("R2"),
    Column("R2 of the typical one", spare=1),
    Column("R2 of the worst 5 %", spare=2),
    Column("error"),
)


@app.command()
def emulate(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Runs there are already: a table (.csv, .nc) or a store of sbm simulate (.zarr)."
        ),
    ] = None,
    simulations: Annotated[
        int, typer.Option(min=1, metavar="N", help="Runs to make where none are given; they fill the prior.")
    ] = 20,
    explained: Annotated[
        float, typer.Option(min=0.5, max=1.0, metavar="SHARE", help="Share of the variance that components are kept for.")
    ] = 0.999,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the emulator (.nc).")
    ] = Path("emulator.nc"),
    backend: BackendName = "jax",
    seed: Seed = 0,
    allow_external: AllowExternal = False,
) -> None:  # fmt: skip
    """Learn an emulator of a slow simulator or path from few runs.

    For models with a simulator from its runs; for models with states from paths that are solved at the rows of
    --data. The scores are those of runs that took no part. Then: sbm run FILE --data DATA --emulator emulator.nc
    """
    from sbmlang.emulation import emulate as learn
    from sbmlang.emulation import save_emulator

    model = loaded(file)
    require_output(output, ".nc")
    rows = dataset(model, data, forcing) if model.ir.states else None
    clock = time.perf_counter()
    options: dict[str, Any] = {"allow_external": True} if allow_external else {}
    emulator = learn(
        model, rows, runs=None if runs is None else _runs(model, runs), simulations=simulations, explained=explained,
        backend=backend, seed=seed, **options,
    )  # fmt: skip
    save_emulator(emulator, output)
    _told(emulator)
    typer.echo(f"{output}: {emulator.about['runs']} runs, {time.perf_counter() - clock:.0f} s")


def _runs(model: Model, path: Path) -> Any:
    """Runs of a table or a store, what is to be said about them printed."""
    if path.suffix == ".zarr" and model.ir.states:
        from sbmlang.runs import open_runs

        return open_runs(path)
    table = read_run_table(model, path)
    for note in table.notes:
        print_diagnostic(note)
    return table


def _told(emulator: Emulator) -> None:
    rows = []
    for field in emulator.fields:
        s = emulator.held_out[field.name]
        shares = [f"{v:.4f}" for v in (s.r2, s.typical, s.worst)]
        rows.append([field.name, field.unit, f"{field.last - field.first}", *shares, number(s.error)])
    print_table("emulator, scored on runs held out", _COLUMNS, rows)
    about = emulator.about
    failed = f", {about['failed_runs']} failed and are left out" if about["failed_runs"] else ""
    typer.echo(f"runs: {about['runs']}, {about['design']}{failed}")
    logarithm = " of logarithms" if emulator.reduction.logarithm.any() else ""
    typer.echo(
        f"components{logarithm}: {emulator.reduction.components}; they leave {emulator.truncated:.2%} of the variance out"
    )
    for k, what in enumerate(about["components"]):
        typer.echo(f"  {k + 1}: {what}; error {emulator.errors.component[k]:.3f} of its standard deviation")

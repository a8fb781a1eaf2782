"""Whether the answers of a trained network can be trusted: calibrate."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sbmlang.cli.amortized import Backend, States, opened, opened_on, require_alone, runs_of
from sbmlang.cli.app import app
from sbmlang.cli.files import (
    AllowExternal,
    DataFiles,
    EmulatorFile,
    ForcingFiles,
    Seed,
    dataset,
    require_output,
)
from sbmlang.cli.fits import draw
from sbmlang.cli.progress import progress_bar
from sbmlang.cli.show import number, print_diagnostic
from sbmlang.cli.table import Column, print_table
from sbmlang.errors import SbmError, error

if TYPE_CHECKING:
    from sbmlang.studies.amortized import AmortizedCalibration

KINDS = ["calibration", "contraction", "coverage"]
_MARK = {"good": "+", "warning": "!", "bad": "✗"}


@app.command()
def calibrate(
    file: Annotated[Path, typer.Argument(help="A network (.pt) of sbm amortize.", metavar="NETWORK")],
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Runs that the network has not seen, in place of new simulations (.zarr, or the table of a simulator)."),
    ] = None,
    simulations: Annotated[int, typer.Option(metavar="N", help="Data sets to simulate.")] = 500,
    draws: Annotated[int, typer.Option(min=4, metavar="N", help="Draws of each answer.")] = 200,
    corrected: Annotated[
        bool, typer.Option("--corrected", help="Check the corrected answers, as sbm apply gives them, not the network's own.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the results (.nc).")] = Path("calibration.nc"),
    format: Annotated[str, typer.Option(metavar="NAME", help="text or json.")] = "text",
    plot: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw the figures into this folder.")] = None,
    states: States = "auto",
    emulator: EmulatorFile = None,
    seed: Seed = 0,
    backend: Backend = "torch",
    allow_external: AllowExternal = False,
) -> None:  # fmt: skip
    """Check a network: are its answers those of the model?

    Parameters and data are simulated anew from the model inside the network's file, and true values must lie evenly among the
    draws: alone, in regions of all parameters, and in balls about other points. With --data also at these very data.
    Exit code 1 where the network is not calibrated.
    """
    from sbmlang.results import save_figures
    from sbmlang.studies.amortized import calibrate as checked
    from sbmlang.studies.amortized import calibrated_on

    require_output(output, ".nc")
    if format not in ("text", "json"):
        raise SbmError(error("E892", f"there is no format '{format}'", help="text or json"))
    if emulator is None:
        model, program, network = opened(file, backend, states, allow_external)
        observed = dataset(model, data, forcing) if data else None
    else:
        require_alone(None, runs)
        stands, network = opened_on(emulator, file, data, forcing, backend)
        program, observed = stands.program, stands.data if data else None
    how = "auto" if corrected else "none"
    method = f"{network.method}, {'corrected' if corrected else 'as trained'}"
    common: dict[str, Any] = {
        "observed": observed, "seed": seed,
        "settings": {"backend": backend, "method": method, "network": str(file), "options": {"draws": draws, "correct": how}},
    }  # fmt: skip
    with progress_bar() as progress:
        if observed is not None:
            common["at_observed"] = network.posterior(
                observed, draws=max(draws, 400), correct=how, seed=seed, keep_states=False
            )
        weighed = {} if corrected else {"proposals": draws}
        answer = partial(network.table, draws=draws, correct=how, seed=seed, progress=progress, **weighed)
        if runs is not None:
            found = calibrated_on(
                program, answer, runs_of(model, runs, seed), simulations=simulations, **common
            )
        else:
            found = checked(
                program, answer, network.designs, simulations=simulations, progress=progress, **common
            )
    found.save(output)
    if format == "json":
        typer.echo(json.dumps(found.plain(), indent=1))
    else:
        report(found, f"calibration of {file.name} ({method})")
        typer.echo(str(output))
    if plot is not None and format == "json":
        save_figures(found.tree(), plot, KINDS)
    elif plot is not None:
        draw(found.tree(), plot, KINDS)
    if found.wrong:
        raise typer.Exit(1)


_EACH = (
    Column("parameter", left=True), Column("unit", left=True), Column("p"), Column("z-score"), Column("in 50%", spare=2),
    Column("in 90%"), Column("in 95%", spare=1), Column("contraction", spare=3),
)  # fmt: skip
_ALL = (
    Column("true values within", left=True),
    Column("p"),
    Column("in 50%"),
    Column("in 90%"),
    Column("in 95%"),
)
_THERE = (
    Column("channel", left=True),
    Column("statistic", left=True),
    Column("data"),
    Column("replicates"),
    Column("p"),
)


def report(found: AmortizedCalibration, title: str) -> None:
    """The tables and the verdict."""
    good, count = len(found.ranks.study.good), len(found.ranks.study.records)
    each = [
        [r.label, r.unit, _p(r.p), f"{r.z_mean:+.2f} ± {r.z_sd:.2f}", *(f"{100 * r.coverage[v][0]:.0f}%" for v in (0.5, 0.9, 0.95)),
         number(r.contraction)]
        for r in found.ranks.rows
    ]  # fmt: skip
    print_table(f"{title}: {good} of {count} simulated data sets", _EACH, each)
    whole = [
        ["regions of highest density", _p(found.coverage.p), *(f"{100 * found.coverage.at(v):.0f}%" for v in (0.5, 0.9, 0.95))],
        ["balls about other points (TARP)", _p(found.tarp.p), *(f"{100 * found.tarp.at(v):.0f}%" for v in (0.5, 0.9, 0.95))],
    ]  # fmt: skip
    print_table("all parameters together", _ALL, whole)
    if found.at is not None and found.at.checks:
        rows = [
            [c.channel, c.statistic, number(c.observed), number(c.replicated), f"{c.p:.3f}"]
            for c in found.at.checks
        ]
        print_table("at the observed data", _THERE, rows)
    for note in found.notes():
        print_diagnostic(note)
    for said in found.said:
        typer.echo(f"{_MARK[said.level]} {said.text}")


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"

"""Commands that ask whether results can be trusted, and what they foretell: sbc, recover, predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from sbmlang.cli.fits import FitFile, draw
from sbmlang.cli.progress import progress_bar
from sbmlang.cli.show import number, print_diagnostic
from sbmlang.cli.simulate import assignment
from sbmlang.cli.table import Column, print_table
from sbmlang.errors import SbmError, error

if TYPE_CHECKING:
    from sbmlang.errors import Diagnostic

STOPPED = "\nstopped; finished replications are kept, the same command goes on with the others"

Method = Annotated[str, typer.Option(metavar="NAME", help="The inference method, as of sbm run.")]
States = Annotated[
    str, typer.Option(metavar="NAME", help="How stochastic states are treated, as of sbm run.")
]
Step = Annotated[
    float | None, typer.Option(metavar="H", help="Step of a stochastic path instead of the file's.")
]
Draws = Annotated[int | None, typer.Option(metavar="N", help="Draws per chain of each fit; default 250 (500 of a method without chains).")]  # fmt: skip
Chains = Annotated[int | None, typer.Option(metavar="N", help="Chains of each fit; default 2.")]
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Processes on this machine.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A dask scheduler that is there already, e.g. tcp://host:8786."),
]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="An option of the method; may be given several times.")
]  # fmt: skip
PlotFolder = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw the figures into this folder.")]


@app.command()
def sbc(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the results (.nc).")] = Path("sbc.nc"),
    backend: BackendName = "jax",
    method: Method = "auto",
    states: States = "auto",
    step: Step = None,
    replications: Annotated[int, typer.Option(metavar="N", help="Data sets to simulate and fit.")] = 200,
    draws: Draws = None,
    chains: Chains = None,
    option: Options = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    seed: Seed = 0,
    plot: PlotFolder = None,
    allow_external: AllowExternal = False,
) -> None:  # fmt: skip
    """Check an engine: are its posteriors those of the model?

    Simulation-based calibration: parameters are drawn from the prior, data simulated at them on the times, members and gaps of --data (or the model's
    own), and fitted; true values must lie evenly among the draws. A study that was stopped goes on where it was.
    """
    from sbmlang.studies import sbc as calibrate

    model = loaded(file)
    require_output(output, ".nc")
    design = dataset(model, data, forcing, plan=True)
    with progress_bar(STOPPED) as progress:
        found = calibrate(
            model, design, backend=backend, method=method, replications=replications, draws=draws, chains=chains,
            workers=workers, scheduler=scheduler, seed=seed, output=output, compile=_chosen(states, step, allow_external),
            options=_options(option), progress=progress,
        )  # fmt: skip
    found.save(output)
    rows = [
        [r.label, r.unit, _p(r.p), f"{r.bias:+.2f}", f"{r.spread:.2f}", *(_share(r.coverage[v]) for v in (0.5, 0.9, 0.95)),
         number(r.contraction), f"{r.ess:.0f}"]
        for r in found.rows
    ]  # fmt: skip
    good = len(found.study.good)
    print_table(f"calibration of {model.name}: {good} of {replications} replications", _SBC, rows)
    _end(found.notes(), found.verdict, output, found.tree(), plot, "calibration", "contraction")
    if found.wrong:
        raise typer.Exit(1)


@app.command()
def recover(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="Fix a true value, in its unit; the others are drawn from the prior."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the results (.nc).")] = Path("recovery.nc"),
    backend: BackendName = "jax",
    method: Method = "auto",
    states: States = "auto",
    step: Step = None,
    replications: Annotated[int, typer.Option(metavar="N", help="Data sets to simulate and fit.")] = 50,
    draws: Draws = None,
    chains: Chains = None,
    option: Options = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    seed: Seed = 0,
    plot: PlotFolder = None,
    allow_external: AllowExternal = False,
) -> None:  # fmt: skip
    """Check a design: would data like these tell the parameters?

    Data are simulated at true values (--set, or drawn from the prior) and fitted: bias, error and coverage of intervals.
    """
    from sbmlang.studies import recover as recovered

    model = loaded(file)
    require_output(output, ".nc")
    given = dict(assignment(s) for s in sets or [])
    design = dataset(model, data, forcing, plan=True)
    with progress_bar(STOPPED) as progress:
        found = recovered(
            model, design, params=given, backend=backend, method=method, replications=replications, draws=draws,
            chains=chains, workers=workers, scheduler=scheduler, seed=seed, output=output,
            compile=_chosen(states, step, allow_external), options=_options(option), progress=progress,
        )  # fmt: skip
    found.save(output)
    rows = [
        [r.label, r.unit, "" if r.truth is None else number(r.truth), f"{r.bias:+.3f} ± {r.bias_error:.3f}", f"{r.rmse:.3f}",
         *(_share(r.coverage[v]) for v in (0.5, 0.9, 0.95)), number(r.contraction)]
        for r in found.rows
    ]  # fmt: skip
    good = len(found.study.good)
    print_table(f"recovery of {model.name}: {good} of {replications} replications", _RECOVER, rows)
    _end(found.notes(), found.verdict, output, found.tree(), plot, "recovery")


_SBC = (
    Column("quantity", left=True), Column("unit", left=True), Column("p"), Column("bias (sd)"), Column("spread"),
    Column("in 50%", spare=2), Column("in 90%"), Column("in 95%", spare=1), Column("contraction", spare=3),
    Column("ESS", spare=4),
)  # fmt: skip
_RECOVER = (
    Column("quantity", left=True), Column("unit", left=True), Column("truth", spare=3), Column("bias (prior sd)"),
    Column("RMSE (prior sd)"), Column("in 50%", spare=2), Column("in 90%"), Column("in 95%", spare=1),
    Column("contraction", spare=4),
)  # fmt: skip


def _chosen(states: str, step: float | None, allow_external: bool) -> dict[str, Any]:
    """The options of the compiler that were given; a backend may not know the others."""
    given = {"states": (states, "auto"), "step": (step, None), "allow_external": (allow_external, False)}
    return {name: value for name, (value, default) in given.items() if value != default}


def _options(given: Sequence[str] | None) -> Mapping[str, Any]:
    """``NAME=VALUE`` with numbers, true and false read as such."""
    found = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{text}' is not NAME=VALUE", param_hint="--option")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def _share(found: tuple[float, float, float]) -> str:
    return f"{100 * found[0]:.0f}%"


def _end(
    notes: Sequence[Diagnostic], verdict: str, output: Path, tree: Any, plot: Path | None, *kinds: str
) -> None:
    for note in notes:
        print_diagnostic(note)
    typer.echo(verdict)
    typer.echo(str(output))
    if plot is not None:
        draw(tree, plot, list(kinds))


@app.command()
def predict(
    fit: FitFile,
    forcing: ForcingFiles = None,
    data: DataFiles = None,
    until: Annotated[float | None, typer.Option(metavar="T", help="The last time of the forecast, in the model's time unit.")] = None,
    every: Annotated[float | None, typer.Option(metavar="H", help="Spacing of predicted observations; default: that of the data.")] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", metavar="NAME=FILE", help="A named forcing file; several make several scenarios, the same name may have several files."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the forecast (.nc).")] = Path("forecast.nc"),
    draws: Annotated[int, typer.Option(min=2, metavar="N", help="Posterior draws that are carried on.")] = 400,
    seed: Seed = 0,
    plot: PlotFolder = None,
) -> None:  # fmt: skip
    """Forecast from a fit, under new forcings if there are any.

    The fit knows its model and its data; the state at the end of the data goes on. Observations given with --data are
    not fitted but compared: CRPS, log score and coverage by lead time.
    """
    from sbmlang.results import open_fit
    from sbmlang.studies import predict as foretell

    require_output(output, ".nc")
    tree = open_fit(fit)
    with progress_bar() as progress:
        found = foretell(
            tree, forcing=forcing, data=data, until=until, every=every, scenarios=_scenarios(scenario), draws=draws,
            seed=seed, progress=progress,
        )  # fmt: skip
    found.save(output)
    _forecast_table(found.tree)
    if found.scores:
        rows = [
            [s.scenario, s.channel, s.unit, f"{number(s.lead[0])} to {number(s.lead[1])}", str(s.rows), number(s.crps), f"{s.log_score:.2f}",
             *(f"{100 * share:.0f}%" for share in s.inside)]
            for s in found.scores
        ]  # fmt: skip
        print_table("what came, against the forecast", _SCORES, rows)
    for note in found.notes:
        print_diagnostic(note)
    typer.echo(str(output))
    if plot is not None:
        draw(found.tree, plot, ["forecast"])


_FORECAST = (
    Column("scenario", left=True), Column("observation", left=True), Column("unit", left=True), Column("time"),
    Column("5%"), Column("50%"), Column("95%"),
)  # fmt: skip
_SCORES = (
    Column("scenario", left=True), Column("observation", left=True), Column("unit", left=True), Column("lead time"),
    Column("rows"), Column("CRPS"), Column("log score", spare=2), Column("in 50%", spare=3), Column("in 90%"),
    Column("in 95%", spare=1),
)  # fmt: skip


def _scenarios(given: Sequence[str] | None) -> dict[str, list[Path]]:
    """``NAME=FILE`` by name. Raises ``SbmError`` E834."""
    found: dict[str, list[Path]] = {}
    for text in given or []:
        name, equals, file = text.partition("=")
        if not (equals and name.strip() and file.strip()):
            raise SbmError(
                error("E834", f"'{text}' is not a scenario", help="write --scenario NAME=FILE, e.g. --scenario warm=warm.csv")
            )  # fmt: skip
        found.setdefault(name.strip(), []).append(Path(file.strip()))
    return found


def _forecast_table(tree: Any) -> None:
    """The last predicted value of every channel and member, by scenario."""
    import numpy as np

    from sbmlang.results.plot_fit import members
    from sbmlang.results.scalars import unit_of

    rows = []
    for name, predicted in tree["forecast"].to_dataset().data_vars.items():
        for title, at in members(predicted):
            last = predicted.isel({f"{name}_row": int(at[-1])})
            for scenario in predicted["scenario"].values:
                low, middle, high = np.nanquantile(last.sel(scenario=scenario).values, (0.05, 0.5, 0.95))
                label = f"{name} ({title})" if title else str(name)
                rows.append([str(scenario), label, unit_of(predicted), number(float(last[f"{name}_time"])),
                             number(low), number(middle), number(high)])  # fmt: skip
    print_table("forecast, at its last time", _FORECAST, rows)

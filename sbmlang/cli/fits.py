"""Commands with data and results: simulate, run, summary, plot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sbmlang.cli.app import app
from sbmlang.cli.models import ModelFile, loaded
from sbmlang.cli.show import number, print_diagnostic, print_table
from sbmlang.driver import Model, read_data
from sbmlang.errors import SbmError, error
from sbmlang.protocols import Progress, ProgressCallback

if TYPE_CHECKING:
    from xarray import DataTree

    from sbmlang.data.dataset import Dataset

DataFiles = Annotated[list[Path] | None, typer.Option("--data", "-d", help="Data file, CSV or NetCDF; may be given several times.")]
ForcingFiles = Annotated[list[Path] | None, typer.Option("--forcing", "-f", help="File with forcings or covariates.")]
FitFile = Annotated[Path, typer.Argument(help="Results of sbm run (.nc).", metavar="FIT")]


def dataset(model: Model, data: Sequence[Path] | None, forcing: Sequence[Path] | None, *, plan: bool = False) -> Dataset:
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
        raise SbmError(error("E735", "no data are given", help="add --data FILE"))
    for note in found.notes:
        print_diagnostic(note)
    return found


@app.command()
def simulate(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Fix a parameter: --set k=0.1")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Number of trajectories.")] = 100,
    seed: Annotated[int, typer.Option()] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write: .nc, or .csv for synthetic observations.")] = Path("simulated.nc"),
    plot: Annotated[Path | None, typer.Option(help="Draw the envelope of the observations into this folder.")] = None,
    backend: Annotated[str, typer.Option()] = "jax",
) -> None:
    """Trajectories and synthetic observations, parameters drawn from the prior unless --set."""
    model = loaded(file)
    fixed = dict(_assignment(s) for s in sets or [])
    places = dataset(model, data, forcing, plan=True)
    tree = model.compile(backend).simulate(places, draws=draws, params=fixed, seed=seed)
    _write(tree, output)
    typer.echo(f"{output}: {draws} draws")
    if plot is not None:
        _plot(tree, plot, ["prior_fit"])


def _assignment(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return name.strip(), float(value)
    except ValueError:
        raise SbmError(error("E736", f"'{text}' does not fix a parameter", help="write --set NAME=NUMBER")) from None


def _write(tree: DataTree, output: Path) -> None:
    from sbmlang.results import save
    from sbmlang.results.store import write_whole

    if output.suffix == ".csv":
        table = tree["prior_predictive"].to_dataset().isel(chain=0, drop=True)
        frames = [_rows(table[name]) for name in table.data_vars]
        import pandas as pd

        text = pd.concat(frames, ignore_index=True).to_csv(index=False)
        write_whole(output, lambda file: file.write(text.encode()))
    else:
        save(tree, output)


def _rows(variable: Any) -> Any:
    """A channel as a long table: draw, time, index, variable, value."""
    name = str(variable.name)
    frame = variable.to_dataframe(name="value").reset_index()
    frame = frame.rename(columns={c: c.removeprefix(f"{name}_") for c in frame.columns})
    frame.insert(1, "variable", name)
    return frame.drop(columns=[c for c in ("row",) if c in frame.columns])


@app.command()
def run(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the results (.nc).")] = Path("fit.nc"),
    backend: Annotated[str, typer.Option(help="The backend to compile to.")] = "jax",
    method: Annotated[str, typer.Option(help="The inference method.")] = "nuts",
    draws: Annotated[int, typer.Option(help="Draws per chain.")] = 1000,
    warmup: Annotated[int | None, typer.Option(help="Warm-up iterations per chain; default: as many as draws, at most 1000.")] = None,
    chains: Annotated[int, typer.Option(help="Number of chains.")] = 4,
    target_accept: Annotated[float, typer.Option(help="Raise it towards 1 against divergences.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    solver: Annotated[str, typer.Option(help="auto, explicit, implicit or exponential.")] = "auto",
    rtol: Annotated[float, typer.Option(help="Relative tolerance of the ODE solver.")] = 1e-6,
    atol: Annotated[float, typer.Option(help="Absolute tolerance of the ODE solver, in units of the states.")] = 1e-8,
) -> None:
    """Inference: posterior draws with progress, a summary with units, and diagnostics in plain words."""
    from sbmlang.results import save
    from sbmlang.results.store import require_writable

    model = loaded(file)
    require_writable(output)
    program = model.compile(backend, solver=solver, rtol=rtol, atol=atol)
    observed = dataset(model, data, forcing)
    for line in observed.describe():
        typer.echo(line)
    clock = time.perf_counter()
    with _progress() as progress:
        tree = program.infer(observed, method=method, draws=draws, warmup=warmup, chains=chains, seed=seed,
                             target_accept=target_accept, progress=progress)  # fmt: skip
    save(tree, output)
    _summary(tree)
    typer.echo(f"{output}: {chains} x {draws} draws in {time.perf_counter() - clock:.0f} s")


_STAGES = {"compile": "compiling", "warmup": "warming up", "sample": "sampling", "predict": "predicting"}


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A progress bar with step size, leapfrogs and divergences; one line a stage when not on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[details]}"))  # fmt: skip
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=False) as bar:
        tasks: dict[str, Any] = {}

        def report(p: Progress) -> None:
            if p.stage not in tasks:
                for task in tasks.values():
                    bar.stop_task(task)
                tasks[p.stage] = bar.add_task(_STAGES.get(p.stage, p.stage), total=p.total, details="")
            details = "  ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in p.details.items())
            bar.update(tasks[p.stage], completed=p.done, total=p.total, details=details)

        yield report


@app.command()
def summary(fit: FitFile) -> None:
    """The posterior in a table with units, and what the diagnostics say."""
    from sbmlang.results import open_fit

    _summary(open_fit(fit))


def _summary(tree: DataTree) -> None:
    from sbmlang.results import attributes, diagnose, rounded, summarise

    rows = []
    for r in summarise(tree):
        prior = "" if r.prior_mean is None or r.prior_sd is None else f"{number(r.prior_mean)} ± {number(r.prior_sd)}"
        values = [rounded(v, r.mcse_mean) for v in (r.mean, r.sd, r.q05, r.q50, r.q95)]
        rows.append([r.label, r.unit, *values, f"{r.ess_bulk:.0f}", f"{r.ess_tail:.0f}", f"{r.r_hat:.3f}", prior, r.doc])
    columns = ["parameter", "unit", "mean", "sd", "5%", "50%", "95%", "ESS bulk", "ESS tail", "R-hat", "prior", "meaning"]
    print_table(f"posterior of {tree.name or tree.attrs.get('model_name', '')}", columns, rows, left=2)
    for note in attributes(tree).get("notes", []):
        typer.echo(f"{note}\n", err=True)
    findings = diagnose(tree)
    for finding in findings:
        print_diagnostic(finding)
    if not findings:
        typer.echo("diagnostics: all chains agree, nothing to worry about")


@app.command()
def plot(
    fit: FitFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the figures.")] = Path("figures"),
    kind: Annotated[list[str] | None, typer.Option(help="fit, prior_posterior, pairs, trace, energy, prior_fit; default: all that apply.")] = None,
    format: Annotated[str, typer.Option(help="png, pdf or svg.")] = "png",
) -> None:
    """Figures: fit with predictive bands, prior against posterior, traces and ranks, pairs, energy."""
    from sbmlang.results import open_fit

    _plot(open_fit(fit), output, kind, format)


def _plot(tree: DataTree, folder: Path, kinds: list[str] | None, format: str = "png") -> None:
    from sbmlang.results import save_figures

    for path in save_figures(tree, folder, kinds, format):
        typer.echo(str(path))

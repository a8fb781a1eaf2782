"""Commands that make and read fits: run, summary, plot."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import (
    AllowExternal,
    BackendName,
    DataFiles,
    EmulatorFile,
    ForcingFiles,
    ModelFile,
    Seed,
    dataset,
    emulated,
    loaded,
    require_output,
)
from sbmlang.cli.progress import progress_bar
from sbmlang.cli.show import number, print_diagnostic
from sbmlang.cli.table import MEANING, Column, print_table
from sbmlang.errors import SbmError, error

if TYPE_CHECKING:
    from xarray import DataTree


TARGET = 0.8  # of the acceptance of nuts
FitFile = Annotated[Path, typer.Argument(help="Results of sbm run (.nc).", metavar="FIT")]


@app.command()
def run(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the results (.nc).")
    ] = Path("fit.nc"),
    backend: BackendName = "jax",
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto; of jax: nuts, or pmmh and smc by particles; of torch: flow, laplace, pathfinder, npe, diffusion, flow-matching, dbuq.",
        ),
    ] = "auto",
    states: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How stochastic states are treated: auto, exact, forward, gaussian, ekf, ukf, particle, sampled.",
        ),
    ] = "auto",
    sampler: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sampler of nuts: numpyro (default) or nutpie.")
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(metavar="H", help="Step of a stochastic path instead of the file's, in its time unit."),
    ] = None,
    draws: Annotated[int, typer.Option(metavar="N", help="Draws per chain.")] = 1000,
    warmup: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Warm-up iterations per chain; default: as many as draws, at most 1000."
        ),
    ] = None,
    chains: Annotated[int, typer.Option(metavar="N", help="Number of chains.")] = 4,
    whiten: Annotated[
        bool | None,
        typer.Option(
            help="Start nuts at the mode and move on the scale of the curvature there; default: where states are integrated out."
        ),
    ] = None,
    target_accept: Annotated[
        float, typer.Option(metavar="X", help="Raise it towards 1 against divergences.")
    ] = TARGET,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of flow: spline (default), autoregressive, full-rank, mean-field."
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(metavar="N", help="Of flow: at most so many; by default until a plateau.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="S", help="Of flow: train for so many seconds at most.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of flow: keep the training in this file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    seed: Seed = 0,
    solver: Annotated[
        str, typer.Option(metavar="NAME", help="auto, explicit, implicit or exponential.")
    ] = "auto",
    rtol: Annotated[float, typer.Option(metavar="X", help="Relative tolerance of the ODE solver.")] = 1e-6,
    atol: Annotated[
        float, typer.Option(metavar="X", help="Absolute tolerance of the ODE solver, in units of the states.")
    ] = 1e-8,
    emulator: EmulatorFile = None,
    network: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of npe, diffusion, flow-matching: a network of sbm amortize."),
    ] = None,
    simulations: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of npe, diffusion, flow-matching, dbuq: take so many simulations."),
    ] = None,
    correct: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of npe, diffusion, flow-matching: auto, none, psis, metropolis or nuts."
        ),
    ] = None,
    allow_external: AllowExternal = False,
) -> None:
    """Fit the model to data, by NUTS or a normalizing flow.

    Flows, Laplace and Pathfinder are methods of --backend torch, everything else of jax.
    Shows progress, then the posterior with units and what the diagnostics say. An existing output file is
    replaced at the very end.
    """
    from sbmlang.results import save

    model = loaded(file)
    require_output(output, ".nc")
    infer: Callable[..., DataTree]
    compiling: dict[str, Any] = {"states": states, "step": step, "solver": solver, "rtol": rtol, "atol": atol}
    observed = dataset(model, data, forcing)
    if emulator is None:
        infer = partial(model.compile(backend, allow_external=allow_external, **compiling).infer, observed)
    else:
        infer = emulated(emulator, model, observed, backend).infer
    for line in observed.describe():
        typer.echo(line)
    clock = time.perf_counter()
    trained = {"family": family, "iterations": iterations, "time_limit": time_limit, "checkpoint": checkpoint,
               "resume": resume or None, "network": network, "simulations": simulations, "correct": correct}  # fmt: skip
    sampled = {"warmup": warmup, "target_accept": target_accept, "sampler": sampler, "whiten": whiten}
    options = _of_method(
        backend, method, states, sampled, {k: v for k, v in trained.items() if v is not None}
    )
    with progress_bar() as progress:
        tree = infer(method=method, draws=draws, chains=chains, seed=seed, progress=progress, **options)
    save(tree, output)
    summarised(tree)
    typer.echo(f"{output}: {chains} x {draws} draws in {time.perf_counter() - clock:.0f} s")


def _of_method(
    backend: str, method: str, states: str, sampled: dict[str, Any], trained: dict[str, Any]
) -> dict[str, Any]:
    """The options that the method knows; those of others only when they were given.

    Raises ``SbmError`` E795 for an option of the torch backend's methods with another backend.
    """
    given = {k: v for k, v in sampled.items() if v is not None and not (k == "target_accept" and v == TARGET)}
    if backend == "torch":
        return given | trained
    if trained:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in trained)
        raise SbmError(error("E795", f"{names}: the methods of the {backend} backend train nothing",
                             help="add --backend torch --method flow, or leave it away"))  # fmt: skip
    if method in ("pmmh", "smc") or (method == "auto" and states == "particle"):
        return {k: v for k, v in given.items() if k not in ("target_accept", "whiten")}
    return {"warmup": sampled["warmup"], "target_accept": sampled["target_accept"]} | given


@app.command()
def summary(fit: FitFile) -> None:
    """Show the posterior and what the diagnostics say."""
    from sbmlang.results import open_fit

    summarised(open_fit(fit))


_COLUMNS = (
    Column("parameter", left=True),
    Column("unit", left=True),
    Column("mean"),
    Column("sd"),
    Column("5%"),
    Column("50%", spare=2),
    Column("95%"),
    Column("ESS bulk"),
    Column("ESS tail", spare=3),
    Column("R-hat", spare=1),  # of a single chain there is none
    Column("prior", spare=4),
    MEANING,
)


def summarised(tree: DataTree) -> None:
    from sbmlang.results import (
        amortized_line,
        approximation_line,
        attributes,
        diagnose,
        emulator_line,
        rounded,
        summarise,
    )

    if "posterior" not in tree.children:
        raise SbmError(
            error(
                "E739",
                "these results hold no posterior, they were made by 'sbm simulate'",
                help="make some: sbm run FILE --data DATA -o fit.nc",
            )
        )
    rows = []
    for r in summarise(tree):
        prior = (
            ""
            if r.prior_mean is None or r.prior_sd is None
            else f"{number(r.prior_mean)} ± {number(r.prior_sd)}"
        )
        values = [rounded(v, r.mcse_mean) for v in (r.mean, r.sd, r.q05, r.q50, r.q95)]
        rows.append(
            [
                r.label,
                r.unit,
                *values,
                f"{r.ess_bulk:.0f}",
                f"{r.ess_tail:.0f}",
                "" if isnan(r.r_hat) else f"{r.r_hat:.3f}",
                prior,
                r.doc,
            ]
        )
    print_table(f"posterior of {tree.name or tree.attrs.get('model_name', '')}", _COLUMNS, rows)
    for note in attributes(tree).get("notes", []):
        typer.echo(f"{note}\n", err=True)
    for line in filter(None, (amortized_line(tree), emulator_line(tree), approximation_line(tree))):
        typer.echo(line)
    findings = diagnose(tree)
    for finding in findings:
        print_diagnostic(finding)
    if not findings:
        independent = attributes(tree).get("independent_draws")
        typer.echo(f"diagnostics: {'' if independent else 'all chains agree, '}nothing to worry about")


@app.command()
def plot(
    fit: FitFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the figures.")
    ] = Path("figures"),
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="fit, states, prior_posterior, pairs, trace, energy, prior_fit; default: all that apply.",
        ),
    ] = None,
    format: Annotated[str, typer.Option(metavar="NAME", help="png, pdf or svg.")] = "png",
) -> None:
    """Draw figures: fit, prior and posterior, traces, pairs, energy."""
    from sbmlang.results import open_fit

    draw(open_fit(fit), output, kind, format)


def draw(tree: DataTree, folder: Path, kinds: list[str] | None, format: str = "png") -> None:
    from sbmlang.results import save_figures

    for path in save_figures(tree, folder, kinds, format):
        typer.echo(str(path))

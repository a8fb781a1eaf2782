"""Commands that train networks and apply them: amortize, apply."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sbmlang import registry
from sbmlang.cli.app import app
from sbmlang.cli.files import (
    AllowExternal,
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
from sbmlang.cli.fits import summarised
from sbmlang.cli.progress import progress_bar
from sbmlang.cli.show import number, print_diagnostic
from sbmlang.driver import Model, loads, read_sites
from sbmlang.errors import SbmError, error
from sbmlang.protocols import Amortizing, Networks, Program

if TYPE_CHECKING:
    from xarray import DataTree

    from sbmlang.data.dataset import Dataset
    from sbmlang.emulation import Emulated

By = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column that tells the data sets of a table apart.")
]
Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="The backend that trains networks.")]
States = Annotated[
    str, typer.Option(metavar="NAME", help="How stochastic states are treated; see sbm run --help.")
]
NAMED = 8  # sites that are named one by one


@app.command()
def amortize(
    file: ModelFile,
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    by: By = None,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Runs there are already: a store of sbm simulate (.zarr), or the table of a simulator."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the network (.pt).")
    ] = Path("network.pt"),
    method: Annotated[str, typer.Option(metavar="NAME", help="npe, diffusion or flow-matching.")] = "npe",
    simulations: Annotated[int, typer.Option(min=20, metavar="N", help="Simulations to make where no runs are given.")] = 10_000,
    embedding: Annotated[
        str, typer.Option(metavar="NAME", help="auto, columns, moments, convolution, set, transformer, score or none.")
    ] = "auto",
    missing: Annotated[
        str, typer.Option(metavar="SHARE", help="Hide up to this share of the rows in training, so that later data may have gaps; auto: where the design has some; none.")
    ] = "auto",
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Steps of training.")] = None,
    time_limit: Annotated[float | None, typer.Option(metavar="S", help="Train for so many seconds at most.")] = None,
    states: States = "auto",
    emulator: EmulatorFile = None,
    seed: Seed = 0,
    backend: Backend = "torch",
    allow_external: AllowExternal = False,
) -> None:  # fmt: skip
    """Train a network once, for the posterior of any data like these.

    Data tell where rows are and what forcings and covariates there are, their values are not used; with --by there is
    one design for each value of that column. With --emulator the emulator makes the simulations. Then: sbm apply.
    """
    model = loaded(file)
    require_output(output, ".pt")
    given: dict[str, Any] = {}
    if emulator is not None:
        require_alone(by, runs)
        stands = emulated(emulator, model, dataset(model, data, forcing, plan=True), backend)
        program, given["designs"] = _trains(stands.program, backend), stands.data
    else:
        program = _amortizing(model, backend, states, allow_external)
    if runs is not None:
        given["runs"] = runs_of(model, runs, seed)
    elif emulator is None and (data or forcing or by):
        given["designs"] = [dataset(model, data, forcing, plan=True)] if by is None else list(_sites(model, data, forcing, by).values())  # fmt: skip
    clock = time.perf_counter()
    with progress_bar() as progress:
        network = program.amortize(
            method=method, simulations=simulations, seed=seed, progress=progress, embedding=embedding,
            missing=_share(missing), steps=steps, time_limit=time_limit, **given,
        )  # fmt: skip
    network.save(output)
    for note in network.provenance["notes"]:
        typer.echo(f"{note}\n", err=True)
    for line in network.describe():
        typer.echo(line)
    history = network.provenance["history"]
    loss = min(history["validation"])
    typer.echo(
        f"training: validation loss {number(loss)} at step {history['best']} of {history['step'][-1]}, ended by "
        f"{history['ending']}"
    )
    typer.echo(f"{output}: {time.perf_counter() - clock:.0f} s")


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="A network (.pt) of sbm amortize.", metavar="NETWORK")],
    data: DataFiles = None,
    forcing: ForcingFiles = None,
    by: By = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the results (.nc).")
    ] = Path("fit.nc"),
    draws: Annotated[int, typer.Option(metavar="N", help="Draws for each data set.")] = 1000,
    correct: Annotated[
        str, typer.Option(metavar="NAME", help="auto, none, psis, metropolis or nuts.")
    ] = "auto",
    states: States = "auto",
    solver: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of the declared density: auto, explicit, implicit or exponential."
        ),
    ] = "auto",
    emulator: EmulatorFile = None,
    seed: Seed = 0,
    backend: Backend = "torch",
    allow_external: AllowExternal = False,
) -> None:
    """Draw posteriors of new data from a trained network.

    They are corrected by the model's own density where there is one. With --by one posterior for each value of that
    column, all in one file. A network that was trained on an emulator is used with it.
    """
    from sbmlang.results import save

    require_output(output, ".nc")
    if emulator is not None:
        require_alone(by, solver=solver)
        stands, network = opened_on(emulator, file, data, forcing, backend)
        with progress_bar() as progress:
            tree = network.posterior(stands.data, draws=draws, correct=correct, seed=seed, progress=progress)
        tree = stands.told(tree)
        save(tree, output)
        summarised(tree)
        typer.echo(f"{output}: {draws} draws")
        return
    model, _, network = opened(file, backend, states, allow_external, solver)
    if by is None:
        observed = dataset(model, data, forcing)
        with progress_bar() as progress:
            tree = network.posterior(observed, draws=draws, correct=correct, seed=seed, progress=progress)
        save(tree, output)
        summarised(tree)
        typer.echo(f"{output}: {draws} draws")
        return
    sites = _sites(model, data, forcing, by)
    clock = time.perf_counter()
    with progress_bar() as progress:
        tree = network.table(sites, draws=draws, correct=correct, seed=seed, progress=progress)
    seconds = time.perf_counter() - clock
    save(tree, output)
    for line in told(tree):
        typer.echo(line)
    typer.echo(f"{output}: {len(sites)} data sets, {draws} draws each, in {seconds:.1f} s ({len(sites) / seconds:.3g} per second)")  # fmt: skip


def told(tree: DataTree) -> list[str]:
    """What there is to say about the posteriors of many data sets, a line each."""
    from sbmlang.results import sites_lines

    return list(sites_lines(tree, NAMED))


def opened(
    file: Path, backend: str, states: str, allow_external: bool, solver: str = "auto"
) -> tuple[Model, Any, Any]:
    """The model in the file of a network, its program, and the network."""
    model = _model_in(file, backend)
    program = _amortizing(model, backend, states, allow_external, solver)
    return model, program, program.load_network(file)


def opened_on(emulator: Path, file: Path, data: DataFiles, forcing: ForcingFiles, backend: str) -> tuple[Emulated, Any]:  # fmt: skip
    """The model in the file of a network that was trained on an emulator, with it in the place of its path or simulator
    (at these data, or at the model's own rows), and the network."""
    model = _model_in(file, backend)
    stands = emulated(emulator, model, dataset(model, data, forcing, plan=True), backend)
    return stands, _trains(stands.program, backend).load_network(file)


def _model_in(file: Path, backend: str) -> Model:
    """The model in the file of a network."""
    maker = registry.backend(backend)
    if not isinstance(maker, Networks):
        raise SbmError(_trains_nothing(backend))
    about = maker.read_network(file)
    return loads(about["model_text"], name=about["model_path"])


def _amortizing(
    model: Model, backend: str, states: str, allow_external: bool, solver: str = "auto"
) -> Amortizing:
    """The program of a backend that trains networks. Raises ``SbmError`` E869."""
    program = model.compile(backend, states=states, allow_external=allow_external, solver=solver)
    return _trains(program, backend)


def _trains(program: Program, backend: str) -> Amortizing:
    if not isinstance(program, Amortizing):
        raise SbmError(_trains_nothing(backend))
    return program


def require_alone(by: str | None, runs: Path | None = None, solver: str = "auto") -> None:
    """Raises ``SbmError`` E893 for what does not go with an emulator."""
    given = {"--by": by is not None, "--runs": runs is not None, "--solver": solver != "auto"}
    if other := next((option for option, there in given.items() if there), None):
        raise SbmError(
            error("E893", f"{other} does not go with --emulator",
                  help=("an emulator belongs to the rows of one data set, makes the runs itself, and stands for the solver",
                        "leave it out; for many data sets one command each, or a network without an emulator"))
        )  # fmt: skip


def _trains_nothing(backend: str) -> Any:
    return error(
        "E869", f"the {backend} backend trains no networks", help="leave --backend away, or --backend torch"
    )


def runs_of(model: Model, path: Path, seed: int) -> Any:
    from sbmlang.runs import Runs, open_runs

    return open_runs(path) if path.suffix == ".zarr" else Runs.of_table(model, path, seed=seed)


def _share(text: str) -> str | float:
    """A share of rows as a number; words, and what is neither, are left to ``Features.derive`` to judge."""
    try:
        return float(text)
    except ValueError:
        return text


def _sites(
    model: Model, data: Sequence[Path] | None, forcing: Sequence[Path] | None, by: str
) -> Mapping[str, Dataset]:
    if not data:
        raise SbmError(
            error("E735", f"no data are given, so there is no column '{by}'", help="add --data FILE")
        )
    sites = read_sites(model, *data, by=by, forcing=list(forcing or []) or None)
    for note in sites.notes:
        print_diagnostic(note)
    return sites

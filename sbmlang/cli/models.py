"""Commands on a model file alone: check, show, priors, compile, explain, cite, new."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sbmlang.cli.app import app
from sbmlang.cli.show import number, print_diagnostic, print_report, print_table
from sbmlang.driver import Model, analyse, load, read_source
from sbmlang.errors import SbmError, did_you_mean, error, to_json

ModelFile = Annotated[Path, typer.Argument(help="A model file (.sbm).", metavar="FILE")]


class Format(StrEnum):
    text = "text"
    json = "json"


def loaded(path: Path) -> Model:
    """The model of a file, its warnings printed."""
    model = load(path)
    for diagnostic in model.diagnostics:
        print_diagnostic(diagnostic)
    return model


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Model files.", metavar="FILE...")],
    format: Annotated[Format, typer.Option(help="text, or json for editors.")] = Format.text,
) -> None:
    """Check names, units, indices and structure; every mistake of a file in one run."""
    failed, found = 0, []
    for path in files:
        try:
            checked = analyse(read_source(path))
            diagnostics, ok = checked.diagnostics, checked.model is not None
        except SbmError as problem:
            diagnostics, ok = problem.diagnostics, False
        failed += not ok
        found += diagnostics
        if format is Format.text:
            for diagnostic in diagnostics:
                print_diagnostic(diagnostic)
            errors = sum(not d.is_warning for d in diagnostics)
            warnings = len(diagnostics) - errors
            tail = f", {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
            typer.echo(f"{path}: " + ("ok" if ok else f"{errors} error{'s' * (errors != 1)}") + tail)
    if format is Format.json:
        typer.echo(json.dumps([to_json(d) for d in found], indent=2))
    if failed:
        raise typer.Exit(1)


@app.command()
def show(
    file: ModelFile,
    format: Annotated[Format, typer.Option(help="text or json.")] = Format.text,
    latex: Annotated[bool, typer.Option("--latex", help="The equations in LaTeX.")] = False,
    graph: Annotated[Path | None, typer.Option(help="Draw pools and fluxes into this file (.svg or .dot).")] = None,
    after: Annotated[str | None, typer.Option(help="The model after a pass of the compiler.")] = None,
    code: Annotated[str | None, typer.Option(help="The generated program for a backend.")] = None,
) -> None:
    """What the compiler found out: structure with reasons, mass balance, equations, diagram."""
    from sbmlang.ir import show as printed
    from sbmlang.passes import pipeline
    from sbmlang.passes.stiffness import stiff

    model = loaded(file)
    if latex:
        from sbmlang.ir.latex import latex as equations

        typer.echo(equations(model.ir))
    elif graph is not None:
        _draw(model, graph)
    elif after is not None:
        names = [p.name for p in pipeline.PASSES]
        if after not in names:
            raise SbmError(error("E730", f"there is no pass '{after}'", help=did_you_mean(after, names) or f"passes: {', '.join(names)}"))
        typer.echo(printed.text(pipeline.after(model.checked, after)))
    elif code is not None:
        typer.echo(model.compile(code).source)
    else:
        report = printed.report(model.ir, replace(model.facts, stiff=stiff(model.ir)))
        report["engines"] = {
            "engine": "the states are deterministic (an ODE): no state is integrated out, the path follows from the parameters; "
            "NUTS runs on the parameters"
        }
        if format is Format.json:
            typer.echo(json.dumps(report, indent=2))
        else:
            print_report(report)


def _draw(model: Model, path: Path) -> None:
    from sbmlang.ir import diagram
    from sbmlang.results.store import write_whole

    kinds = {".svg": diagram.svg, ".dot": diagram.dot}
    if path.suffix not in kinds:
        raise SbmError(error("E731", f"'{path.name}' is no kind of diagram", help="name it .svg or .dot"))
    text = kinds[path.suffix](model.ir)
    write_whole(path, lambda file: file.write(text.encode()))
    typer.echo(f"{path}")


@app.command()
def priors(
    file: ModelFile,
    plot: Annotated[Path | None, typer.Option(help="Draw the prior-predictive envelope into this folder.")] = None,
    data: Annotated[list[Path] | None, typer.Option(help="Data with times, members and forcings for the envelope.")] = None,
    draws: Annotated[int, typer.Option(help="Prior draws for hierarchical priors and the envelope.")] = 2000,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Each prior's implied mean, sd and quantiles, in the units of the file."""
    model = loaded(file)
    rows = [[p.name, str(p.unit), *_prior_row(model, p, draws, seed), p.doc] for p in model.ir.parameters]
    print_table(f"priors of {model.name}", ["parameter", "unit", "mean", "sd", "5%", "25%", "50%", "75%", "95%", "meaning"], rows, left=2)
    if plot is not None:
        from sbmlang.cli.fits import dataset
        from sbmlang.results import save_figures

        program = model.compile("jax")
        tree = program.simulate(dataset(model, data, [], plan=True), draws=min(draws, 500), seed=seed)
        for path in save_figures(tree, plot, ["prior_fit"]):
            typer.echo(str(path))


_SUMMARY = ("mean", "sd", "q05", "q25", "q50", "q75", "q95")


def _prior_row(model: Model, p: Any, draws: int, seed: int) -> list[str]:
    """Exact from the law where its arguments are numbers, else from prior draws."""
    from sbmlang.library.family import constants
    from sbmlang.library.quantiles import margins, summary

    if p.law is not None and not _is_vector(p.law.family) and all(constants(v) is not None for v in p.law.args.values()):
        found = summary(p.law.family, p.law.args)
    else:
        joint = next((j for j in model.ir.joints if p.name in j.members), None)
        if joint is not None and all(constants(v) is not None for v in joint.law.args.values()):
            name, args = margins(joint.law.family, joint.law.args)[joint.members.index(p.name)]
            found = summary(name, args)
        else:
            found = _from_draws(model, p.name, draws, seed)
    return [number(found[k]) for k in _SUMMARY]


def _is_vector(family: str) -> bool:
    from sbmlang.library.distributions import DISTRIBUTIONS

    return DISTRIBUTIONS[family].event_rank > 0


def _from_draws(model: Model, name: str, draws: int, seed: int) -> dict[str, float]:
    """Moments and quantiles over draws (and members) of a prior that depends on other parameters."""
    import numpy as np

    from sbmlang.data.empty import empty

    sizes = {d.name: 1 for d in model.ir.dims.values() if d.size is None}
    values = np.ravel(model.compile("jax").prior_draws(empty(model.ir, grid=[model.ir.time.start], sizes=sizes), draws, seed)[name])  # type: ignore[attr-defined]
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    return {"mean": values.mean(), "sd": values.std(), **dict(zip(_SUMMARY[2:], quantiles, strict=True))}


@app.command()
def compile(
    file: ModelFile,
    backend: Annotated[str, typer.Option(help="The backend to compile to.")] = "jax",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the program here instead of printing it.")] = None,
) -> None:
    """The readable generated program."""
    source = loaded(file).compile(backend).source
    if output is None:
        typer.echo(source)
    else:
        from sbmlang.results.store import write_whole

        write_whole(output, lambda target: target.write(source.encode()))
        typer.echo(f"{output}: {len(source.splitlines())} lines")


@app.command()
def explain(code: Annotated[str, typer.Argument(help="An error code, e.g. E301.")]) -> None:
    """What an error code means, with a failing and a mended example."""
    from sbmlang.codes import catalogue

    entries = catalogue()
    wanted = code.upper()
    if wanted not in entries:
        raise SbmError(error("E732", f"there is no code '{code}'", help=did_you_mean(wanted, entries) or "codes look like E301 or W201"))
    entry = entries[wanted]
    typer.echo(f"{entry.code}: {entry.title}\n\n{entry.text}")


@app.command()
def cite(file: ModelFile) -> None:
    """References of the methods that this model's program uses, as BibTeX."""
    from sbmlang.citations import references

    typer.echo("\n\n".join(references(loaded(file).compile("jax"))))


@app.command()
def new(name: Annotated[str, typer.Argument(help="Name of the project: a folder of that name is made.")]) -> None:
    """A starter project: a model file, a small data file and a README."""
    from sbmlang.cli.starter import write

    for path in write(Path(name)):
        typer.echo(str(path))

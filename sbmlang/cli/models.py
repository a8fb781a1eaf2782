"""Commands on a model file alone: check, show, compile, explain, cite, new."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import BackendName, ModelFile, loaded
from sbmlang.cli.show import print_diagnostic, print_report
from sbmlang.driver import Model, examine, read_source
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error, to_json


class Format(StrEnum):
    text = "text"
    json = "json"


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Model files.", metavar="FILE...")],
    format: Annotated[Format, typer.Option(help="text, or json for editors.")] = Format.text,
) -> None:
    """Check a model: names, units, indices, structure.

    Every mistake of a file is reported in one run.
    """
    failed = 0
    found: list[Diagnostic] = []
    for path in files:
        try:
            checked = examine(read_source(path))
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
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw pools and fluxes, or a simulator, into this file (.svg or .dot)."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="PASS", help="The model after a pass: lower, order, steady, windows, simplify, stages."
        ),
    ] = None,
    code: Annotated[
        str | None, typer.Option(metavar="BACKEND", help="The generated program for a backend.")
    ] = None,
) -> None:
    """Show what the compiler found out.

    Structure with reasons, mass balance, how often things are computed; or the equations, a diagram, the
    model after a pass, the generated program.
    """
    from sbmlang.ir import Ode
    from sbmlang.ir import show as printed
    from sbmlang.passes import pipeline
    from sbmlang.passes.step_error import step_error
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
            raise SbmError(
                error(
                    "E730",
                    f"there is no pass '{after}'",
                    help=did_you_mean(after, names) or f"passes: {', '.join(names)}",
                )
            )
        typer.echo(printed.text(pipeline.after(model.checked, after)))
    elif code is not None:
        typer.echo(model.compile(code).source)
    else:
        solved = isinstance(model.ir.dynamics, Ode)
        found = replace(
            model.facts, stiff=stiff(model.ir) if solved else None, step_error=step_error(model.ir)
        )
        report = printed.report(model.ir, found)
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
def compile(
    file: ModelFile,
    backend: BackendName = "jax",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the program here instead of printing it."),
    ] = None,
) -> None:
    """Print or write the generated program."""
    source = loaded(file).compile(backend).source
    if output is None:
        typer.echo(source)
    else:
        from sbmlang.results.store import write_whole

        write_whole(output, lambda target: target.write(source.encode()))
        typer.echo(f"{output}: {len(source.splitlines())} lines")


@app.command()
def explain(code: Annotated[str, typer.Argument(help="An error code, e.g. E301.")]) -> None:
    """Explain an error code, with examples."""
    from sbmlang.codes import catalogue

    entries = catalogue()
    wanted = code.upper()
    if wanted not in entries:
        raise SbmError(
            error(
                "E732",
                f"there is no code '{code}'",
                help=did_you_mean(wanted, entries) or "codes look like E301 or W201",
            )
        )
    entry = entries[wanted]
    typer.echo(f"{entry.code}: {entry.title}\n\n{entry.text}")


@app.command()
def cite(file: ModelFile) -> None:
    """Print the references of the methods used (BibTeX)."""
    from sbmlang.citations import references

    program = loaded(file).compile("jax")
    typer.echo("\n\n".join(references(program.solver if program.model.states else None)))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the project: a folder of that name is made.")],
) -> None:
    """Make a starter project: model, data, README."""
    from sbmlang.cli.starter import write

    for path in write(Path(name)):
        typer.echo(str(path))

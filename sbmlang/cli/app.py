"""The commands together, and what happens to errors on the way out."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from sbmlang import __version__
from sbmlang.errors import SbmError

app = typer.Typer(
    name="sbm", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="State-space models declared once: check, simulate, infer, compare.",
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sbmlang {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """State-space models declared once: check, simulate, infer, compare."""


def main() -> None:
    """Runs a command: exit code 1 for mistakes in models and data, 2 for a wrong command line, 130 for Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """One command; everything a user can do wrong ends as a message and an exit code."""
    from sbmlang.cli import fits, models  # noqa: F401  (each registers its commands)
    from sbmlang.cli.show import print_diagnostic

    try:
        code = app(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SbmError as problem:
        for diagnostic in problem.diagnostics:
            print_diagnostic(diagnostic)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("\nstopped; nothing was written", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TyperException as usage:
        show = getattr(usage, "show", None)
        if show is not None:
            show()
        else:
            typer.echo(f"Error: {usage}", err=True)
        return 2
    except typer.Exit as end:
        return end.exit_code

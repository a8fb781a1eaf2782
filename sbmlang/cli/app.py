"""The commands together, and what happens to errors on the way out."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from sbmlang import __version__
from sbmlang.errors import SbmError

# The order in which one meets them.
COMMANDS = (
    "new",
    "check",
    "show",
    "priors",
    "simulate",
    "emulate",
    "run",
    "amortize",
    "apply",
    "calibrate",
    "summary",
    "plot",
    "view",
    "compare",
    "predict",
    "sbc",
    "recover",
    "compile",
    "explain",
    "cite",
)


STOPPED = "\nstopped; nothing was written"


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=COMMANDS.index)


app = typer.Typer(
    name="sbm", cls=_InOrder, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sbmlang {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """State-space models declared once, with units and priors, compiled to the backend of your choice.

    Begin with: sbm new NAME
    """


def main() -> None:
    """Runs a command.

    Exit code 1 for mistakes in models and data, 2 for a wrong command line, 130 for Ctrl-C, 70 for a fault
    of sbmlang itself.
    """
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """One command; everything a user can do wrong ends as a message and an exit code."""
    from sbmlang.cli import amortized, calibrate, compare, emulation, fits, models, priors, simulate, studies  # noqa: F401  (each registers its commands)
    from sbmlang.cli.show import print_diagnostic

    try:
        code = app(arguments, prog_name="sbm", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SbmError as problem:
        for diagnostic in problem.diagnostics:
            print_diagnostic(diagnostic)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(STOPPED, err=True)
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
    except Exception:
        traceback.print_exc()
        typer.echo(
            "\nThis is a fault of sbmlang, not of your model. Please report it with the lines above.",
            err=True,
        )
        return 70

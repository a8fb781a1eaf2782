"""Commands that set fits side by side and show one in a browser: compare, view."""

from __future__ import annotations

import webbrowser
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import AllowExternal, ForcingFiles, Seed, require_output
from sbmlang.cli.fits import FitFile
from sbmlang.cli.table import Column, print_table
from sbmlang.errors import SbmError, error

if TYPE_CHECKING:
    from sbmlang.results.compare_sheets import Sheet


@app.command()
def compare(
    fits: Annotated[
        list[str],
        typer.Argument(help="Results of sbm run (.nc), or NAME=FILE to give one a name.", metavar="FIT..."),
    ],
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", "-r", metavar="FILE", help="Write the report with figures (.html); opens offline."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The fit that the others are measured against; default: the first."
        ),
    ] = None,
    holdout: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Data with rows that the fits have not seen; may be given several times."
        ),
    ] = None,
    forcing: ForcingFiles = None,
    sbc: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A calibration of sbm sbc; may be given several times."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=20, metavar="N", help="Posterior draws that predict held-out rows.")
    ] = 400,
    seed: Seed = 0,
    allow_external: AllowExternal = False,
) -> None:
    """Say which of several fits to trust, and what each cost.

    Posteriors are compared where model, priors and data are the same; of other fits only predictions and cost.
    """
    from sbmlang.results.compare_sheets import sheets
    from sbmlang.results.compare_text import sentence
    from sbmlang.results.verdict import verdict
    from sbmlang.studies.comparison import compare as compared

    if report is not None:
        require_output(report, ".html")
    found = compared(
        named(fits), reference=reference, holdout=holdout, forcing=forcing,
        sbc={path.name: path for path in sbc or ()}, draws=draws, seed=seed, allow_external=allow_external,
    )  # fmt: skip
    for sheet in sheets(found):
        _print_sheet(sheet)
    typer.echo("verdict")
    for statement in verdict(found):
        typer.echo("\n".join(sentence(statement)))
    if report is not None:
        typer.echo(f"\n{found.to_html(report)}")


def named(fits: list[str]) -> dict[str, Path]:
    """Files by name: what stands before ``=``, else the file's name without ending, with its folder where two are
    the same. Raises ``SbmError`` E801 for a name that is given twice.
    """
    plain = [f for f in fits if "=" not in f or Path(f).exists()]
    stems = [Path(f).stem for f in plain]
    found: dict[str, Path] = {}
    for text in fits:
        name, _, file = text.partition("=")
        path = Path(file)
        if text in plain:
            path = Path(text)
            name = path.stem if stems.count(path.stem) == 1 else str(path.parent / path.stem)
        if name in found:
            raise SbmError(
                error("E801", f"two fits have the name '{name}'", help="give names: sbm compare a=one/fit.nc b=two/fit.nc")
            )  # fmt: skip
        found[name] = path
    return found


def _print_sheet(sheet: Sheet) -> None:
    columns = [Column(h.name, h.spare, h.left, words=h.name == "verdict") for h in sheet.heads]
    title = sheet.title if sheet.section in (sheet.title, "fits") else f"{sheet.section}: {sheet.title}"
    print_table(title, columns, [["" if c.text == "–" else str(c) for c in row] for row in sheet.rows])
    for line in wrap(sheet.note, 110, break_on_hyphens=False):
        typer.echo(line)
    typer.echo("")


@app.command()
def view(
    fit: FitFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the page into this file (.html) instead."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(metavar="N", help="The port of the page; 0: a free one.")] = 0,
) -> None:
    """Look at a fit in a browser, without a network."""
    from sbmlang.results import open_fit
    from sbmlang.results.store import write_whole
    from sbmlang.results.view import view as page_of

    if output is not None:
        require_output(output, ".html")
    page = page_of(open_fit(fit)).encode()
    if output is not None:
        write_whole(output, lambda file: file.write(page))
        typer.echo(str(output))
        return
    with server(page, port) as serving:
        address = f"http://127.0.0.1:{serving.server_address[1]}/"
        typer.echo(f"{fit} is shown at {address}; end with Ctrl-C")
        if open_:
            webbrowser.open(address)
        serving.serve_forever()


def server(page: bytes, port: int = 0) -> ThreadingHTTPServer:
    """A server of one page for this machine alone. Raises ``SbmError`` E808 where the port is taken."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Page, page))
    except OSError as fault:
        raise SbmError(
            error("E808", f"the page cannot be shown at port {port}: {fault.strerror}", help="leave --port away: a free one is taken")
        ) from None  # fmt: skip


class _Page(BaseHTTPRequestHandler):
    """Answers with the page at / and with nothing elsewhere."""

    def __init__(self, page: bytes, *given: object) -> None:
        self.page = page
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        here = self.path.split("?")[0] == "/"
        self.send_response(200 if here else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.page) if here else 0))
        self.end_headers()
        if here:
            self.wfile.write(self.page)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are nobody's news."""

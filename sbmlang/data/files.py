"""Text tables from disk: CSV, semicolon- or tab-separated, plain or gzipped.

What a file is, is found from its content, not from its name. Lines before the header that begin with
``#`` are comments.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path

import numpy as np

from sbmlang.data.table import Cells, Column, Table, build
from sbmlang.errors import SbmError, did_you_mean, error

_NETCDF = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05")
_FORMATS = "CSV or TSV text (also gzipped) or NetCDF"


def read_file(path: Path, of: Callable[[str, Cells], Column] = Column.of) -> list[Table]:
    """The tables in a file: one for a text file, one for each shape of variable in a NetCDF file.

    ``of`` makes the column of a text file out of its header and cells. Raises ``SbmError`` (E601 to E607).
    """
    content = _content(path)
    if content.startswith(_NETCDF):
        from sbmlang.data.netcdf import read_netcdf

        return read_netcdf(path)
    return [parse(_text(content, path.name), path.name, of)]


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise SbmError(
            error(
                "E602",
                "this is a folder, expected a file",
                place=str(path),
                help=f"name one file in it: {_FORMATS}",
            )
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else ()
        raise SbmError(
            error("E601", "there is no such file", place=str(path), help=did_you_mean(path.name, near))
        ) from None
    except OSError as problem:
        raise SbmError(
            error("E601", f"the file cannot be read: {problem.strerror}", place=str(path))
        ) from None
    if content.startswith(b"\x1f\x8b"):
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise SbmError(
                error("E604", "the compressed file is damaged or cut short", place=path.name,
                      help="fetch or compress it again")
            ) from None  # fmt: skip
    return content


def _text(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SbmError(
            error(
                "E605",
                "the file is text in UTF-16, expected UTF-8",
                place=name,
                help="save it as UTF-8 ('CSV UTF-8' in spreadsheets)",
            )
        )
    if content.startswith(b"PK\x03\x04"):
        raise SbmError(
            error(
                "E604",
                f"this is a spreadsheet or zip archive, expected {_FORMATS}",
                place=name,
                help="export the sheet as CSV",
            )
        )
    if b"\0" in content[:65536]:
        raise SbmError(error("E604", f"this is a binary file, expected {_FORMATS}", place=name))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        row = content.count(b"\n", 0, problem.start) + 1
        found = f"byte 0x{content[problem.start]:02x} is not UTF-8 text"
        raise SbmError(
            error("E605", found, place=f"{name}, row {row}",
                  help="save the file as UTF-8; a degree or micro sign in another encoding is the "
                  "usual cause")
        ) from None  # fmt: skip


def parse(text: str, name: str, of: Callable[[str, Cells], Column] = Column.of) -> Table:
    """The table in a text; the delimiter is the one of comma, semicolon and tab that the header has most of.

    Raises ``SbmError`` (E603 empty, E606 a row that does not fit its header, E607).
    """
    lines = text.splitlines(keepends=True)
    kept = list(dropwhile(_is_comment, lines))
    skipped = len(lines) - len(kept)
    if not kept:
        raise SbmError(error("E603", "the file is empty, expected a header and rows", place=name))
    delimiter = max(",;\t", key=kept[0].count)
    reader = csv.reader(io.StringIO("".join(kept), newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[list[str]] = []
    number: list[int] = []
    first = skipped + 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                number.append(first)
            first = skipped + reader.line_num + 1
    except csv.Error as problem:
        raise SbmError(
            error("E606", f"the row cannot be split into cells: {problem}", place=f"{name}, row {first}",
                  help="look for a quotation mark that is not closed")
        ) from None  # fmt: skip
    header = _trimmed(rows[0], 0)
    body = [_trimmed(row, len(header)) for row in rows[1:]]
    _check_width(name, header, body, number[1:])
    columns = (
        of(head.strip() or f"column {k + 1}", np.array([row[k] for row in body], dtype=object))
        for k, head in enumerate(header)
    )
    table = build(name, columns, np.array(number[1:], dtype=np.int64))
    return replace(table, remarks=tuple(line.strip() for line in lines[:skipped] if line.strip()))


def _is_comment(line: str) -> bool:
    return line.startswith("#") or not line.strip()


def _trimmed(row: list[str], width: int) -> list[str]:
    """Without the empty cells that spreadsheets leave beyond the last column."""
    end = len(row)
    while end > width and not row[end - 1].strip():
        end -= 1
    return row[:end]


def _check_width(name: str, header: list[str], body: list[list[str]], number: list[int]) -> None:
    wrong = [k for k, row in enumerate(body) if len(row) != len(header)]
    if wrong:
        numbers = np.array(number, dtype=np.int64)
        others = Table(name, (), numbers).others(wrong)
        found = f"{len(body[wrong[0]])} cells, expected {len(header)} as in the header{others}"
        raise SbmError(
            error(
                "E606",
                f"found {found}",
                place=f"{name}, row {number[wrong[0]]}",
                help="a cell that holds the delimiter needs quotation marks; a missing value still "
                "needs its place",
            )
        )

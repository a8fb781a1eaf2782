"""Results in NetCDF files: written whole or not at all, read with clear errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import xarray as xr

from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.results.tree import FORMAT


def save(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Writes results to a NetCDF file and returns its path.

    An existing file is replaced at the very end, so that it stays whole whatever happens before.
    Raises ``SbmError``: E651 no such folder, E652 not a file, E653 not allowed, E654 disk full or failing.
    """
    # In memory first: HDF5 that meets a full disk while writing brings the whole process down.
    content = tree.to_netcdf(engine="h5netcdf")
    return write_whole(path, lambda file: file.write(content))


def open_fit(path: str | os.PathLike[str]) -> xr.DataTree:
    """Reads results, all of them, and lets go of the file.

    Raises ``SbmError``: E652 not a file, E653 not allowed, E655 no such file, E656 not NetCDF or damaged,
    E657 not written by sbmlang, E658 written by a newer sbmlang.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise SbmError(_is_folder(target))
        with xr.open_datatree(target, engine="h5netcdf") as file:
            tree = file.load()
    except FileNotFoundError:
        raise SbmError(_not_there(target)) from None
    except PermissionError as fault:
        raise SbmError(_not_allowed(target, fault)) from None
    except (OSError, ValueError, KeyError, RuntimeError) as fault:
        raise SbmError(
            error(
                "E656",
                f"'{target.name}' is not a NetCDF file, or a damaged one",
                place=str(target),
                help=("expected a file written by 'sbm run ... -o FILE' or results.save", f"found: {fault}"),
            )
        ) from None
    _require_format(tree, target)
    tree.name = tree.attrs["model_name"]  # NetCDF has no place for the name of a root
    return tree


def write_whole(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> Path:
    """Lets ``write`` fill a temporary file beside ``path``, then puts it in place in one step.

    Whatever stops it, Ctrl-C included, leaves the old file as it was and no temporary one.
    Raises ``SbmError`` E651 to E654 as ``save``.
    """
    target = Path(os.path.realpath(path))  # through a symbolic link, so that the link stays one
    try:
        _require_writable(target)
        _replace(target, write)
    except OSError as fault:
        raise SbmError(_write_failed(target, fault)) from fault
    return target


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuses a path that ``save`` could not write, before a long run is spent on it.

    Raises ``SbmError`` E651 to E653.
    """
    target = Path(os.path.realpath(path))
    try:
        _require_writable(target)
        probe = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        probe.touch()
        probe.unlink()
    except OSError as fault:
        raise SbmError(_write_failed(target, fault)) from fault


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            file.close()  # some systems replace only closed files
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _require_writable(target: Path) -> None:
    if not target.parent.is_dir():
        raise SbmError(
            error(
                "E651",
                f"there is no folder '{target.parent}' to write '{target.name}' into",
                place=str(target),
                help=f"create it first (mkdir -p {target.parent}) or give another path",
            )
        )
    if target.is_dir():
        raise SbmError(_is_folder(target))
    if target.exists() and not target.is_file():
        raise SbmError(
            error("E652", f"'{target}' is not a regular file", place=str(target), help="give a file name")
        )
    if target.exists() and not os.access(target, os.W_OK):
        raise SbmError(_not_allowed(target, PermissionError("the file is read-only")))


def _write_failed(target: Path, fault: OSError) -> Diagnostic:
    if isinstance(fault, PermissionError) or fault.errno == errno.EROFS:
        return _not_allowed(target, fault)
    full = fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return error(
        "E654",
        f"'{target.name}' could not be written: {fault.strerror or fault}",
        place=str(target),
        help="free some space or write to another disk; no file was changed"
        if full
        else "try another folder or disk; no file was changed",
    )


def _is_folder(target: Path) -> Diagnostic:
    return error(
        "E652",
        f"'{target}' is a folder, a file was expected",
        place=str(target),
        help=f"give a file name, e.g. {target / 'fit.nc'}",
    )


def _not_allowed(target: Path, fault: OSError) -> Diagnostic:
    return error(
        "E653",
        f"no permission for '{target.name}': {os.strerror(fault.errno) if fault.errno else fault}",
        place=str(target),
        help="change the permissions of the file or its folder, or use another path",
    )


def _not_there(target: Path) -> Diagnostic:
    nearby = sorted(p.name for p in target.parent.glob("*.nc")) if target.parent.is_dir() else []
    known = f"NetCDF files in that folder: {', '.join(nearby[:8])}" if nearby else "check the path"
    return error("E655", f"there is no file '{target}'", place=str(target), help=known)


def _require_format(tree: xr.DataTree, target: Path) -> None:
    written = tree.attrs.get("sbmlang_format")
    if written is None:
        raise SbmError(
            error(
                "E657",
                f"'{target.name}' is NetCDF, but not a result of sbmlang",
                place=str(target),
                help="expected a file written by 'sbm run ... -o FILE'; data files go to --data or --forcing",
            )
        )
    if int(written) > FORMAT:
        raise SbmError(
            error(
                "E658",
                f"'{target.name}' was written by a newer sbmlang (format {written}, this one reads {FORMAT})",
                place=str(target),
                help="update sbmlang: pip install --upgrade sbmlang",
            )
        )

"""Kernels as handlers of XLA's typed foreign functions, without a C compiler.

XLA calls a handler with the address of a call frame, a C struct (``xla/ffi/api/c_api.h``, version 0.x) made of
words of eight bytes, every struct in it beginning with its size and an extension. Handlers read the buffers'
addresses and sizes from there, so that new sizes need no new code. Before anything else XLA asks each
handler, by an extension of the frame, for the version it was written for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba.extending
from numba import carray, njit, types

intrinsic: Any = numba.extending.intrinsic

# Words of the call frame: size, extension, api, context, stage, then for arguments and for results each
# size, extension, count, types, buffers. Words of a buffer: size, extension, type, data, rank, dimensions.
EXTENSION, API, ARGUMENTS, RESULTS = 1, 2, 9, 14
DATA, DIMENSIONS = 3, 5
# Words of the extension that asks for the version: size, type, next, where to write; of an API: its version.
TYPE, WHERE, VERSION = 1, 3, 4
METADATA = 1
MINOR = 3

HEAD = "from numba import cfunc\nfrom sbmlang.kernels import ffi\n"
"""What a module with a handler imports besides."""


def handler(function: str, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Code of ``handler(frame)``, which calls ``function`` with all its buffers, first inputs, then outputs.

    Both are given as numba types of C-ordered arrays of one to three axes: ``float64[:, ::1]``,
    ``int64[::1]``. The module needs ``HEAD``; what XLA registers is ``handler.address``.
    """
    places = [("argument", k, t) for k, t in enumerate(inputs)] + [
        ("result", k, t) for k, t in enumerate(outputs)
    ]
    return [
        "",
        '@cfunc("int64(int64)", cache=True)',
        "def handler(frame):",
        "    if ffi.asked_for_version(frame):",
        "        return 0",
        f"    {function}(",
        *(f"        ffi.{_reader(kind)}(ffi.{side}(frame, {k}))," for side, k, kind in places),
        "    )",
        "    return 0",
    ]


def _reader(kind: str) -> str:
    return f"{'floats' if kind.startswith('float64') else 'integers'}{kind.count(':') - 1}"


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))


@intrinsic
def _floats(typing_context: Any, address: Any) -> Any:
    """The float64s at an address."""
    return types.CPointer(types.float64)(types.int64), _pointer


@intrinsic
def _integers(typing_context: Any, address: Any) -> Any:
    """The int64s at an address."""
    return types.CPointer(types.int64)(types.int64), _pointer


@njit(cache=True)
def word(address: int, k: int) -> int:
    """The k-th word of the struct at an address."""
    return carray(_integers(address), (k + 1,))[k]


@njit(cache=True)
def argument(frame: int, k: int) -> int:
    """The address of the k-th buffer that goes in."""
    return word(word(frame, ARGUMENTS), k)


@njit(cache=True)
def result(frame: int, k: int) -> int:
    """The address of the k-th buffer to fill."""
    return word(word(frame, RESULTS), k)


@njit(cache=True)
def size(buffer: int, axis: int) -> int:
    return word(word(buffer, DIMENSIONS), axis)


@njit(cache=True)
def floats1(buffer: int) -> Any:
    return carray(_floats(word(buffer, DATA)), (size(buffer, 0),))


@njit(cache=True)
def floats2(buffer: int) -> Any:
    return carray(_floats(word(buffer, DATA)), (size(buffer, 0), size(buffer, 1)))


@njit(cache=True)
def floats3(buffer: int) -> Any:
    return carray(_floats(word(buffer, DATA)), (size(buffer, 0), size(buffer, 1), size(buffer, 2)))


@njit(cache=True)
def integers1(buffer: int) -> Any:
    return carray(_integers(word(buffer, DATA)), (size(buffer, 0),))


@njit(cache=True)
def integers2(buffer: int) -> Any:
    return carray(_integers(word(buffer, DATA)), (size(buffer, 0), size(buffer, 1)))


@njit(cache=True)
def integers3(buffer: int) -> Any:
    return carray(_integers(word(buffer, DATA)), (size(buffer, 0), size(buffer, 1), size(buffer, 2)))


@njit(cache=True)
def asked_for_version(frame: int) -> bool:
    """Whether the frame only asks for the version; then it has been told.

    Within version 0 structs only grow at their end, so the caller's own minor version is right.
    """
    extension = word(frame, EXTENSION)
    if extension == 0 or (word(extension, TYPE) & 0xFFFFFFFF) != METADATA:
        return False
    api = word(frame, API)
    version = word(api, VERSION) if api != 0 else 0
    major, minor = version & 0xFFFFFFFF, version >> 32
    where = carray(_integers(word(extension, WHERE)), (5,))
    where[3] = (minor if api != 0 and major == 0 else MINOR) << 32
    where[4] = 0
    return True


PROBE = "\n".join([
    "import numpy as np",
    "from numba import float64, int64, njit, void",
    HEAD,
    '@njit("void(float64[:, ::1], int64[::1], float64[::1], int64[:, ::1])", cache=True)',
    "def probe(x, k, y, n):",
    "    for i in range(x.shape[0]):",
    "        y[i] = k[i]",
    "        for j in range(x.shape[1]):",
    "            y[i] += (j + 1) * x[i, j]",
    "            n[i, j] = x.shape[j] * k[i]",
    *handler("probe", ["float64[:, ::1]", "int64[::1]"], ["float64[::1]", "int64[:, ::1]"]),
    "",
])  # fmt: skip
"""A module whose handler's answers are known, to find out whether XLA and this file understand each other:
y_i = k_i + sum over j of (j + 1) x_ij and n_ij = k_i times the j-th size of x."""

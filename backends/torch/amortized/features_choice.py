"""Which features a network gets, decided from the declaration and the designs, with the reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sbmlang.data.dataset import Ints
from sbmlang.errors import SbmError, did_you_mean, error

from .features_plates import Plate
from .features_rows import Table

Kind = Literal["columns", "moments", "convolution", "set", "transformer", "score", "none"]
LONG = 48  # times from which a series is a series and not a few columns
COLUMNS = 400  # rows up to which each is a column of its own
SHARED = (
    1.5  # rows of all designs together, over those of the largest, up to which designs count as one with gaps
)
DENSE = 0.5  # share of the places of a grid that hold a row, from which on a convolution makes sense


@dataclass(frozen=True)
class Choice:
    """``kind`` with the reasons in words; ``shared``: one table of rows serves all designs."""

    kind: Kind
    shared: bool
    reasons: tuple[str, ...]


def choose(wish: str, tables: Sequence[Table], whole: Table, plates: Sequence[Plate]) -> Choice:
    """The features for these designs, ``whole`` being all their rows together; ``wish`` "auto" leaves it to the rows.

    Raises ``SbmError`` E872 for an embedding that there is not, or that does not go with the designs.
    """
    kinds: tuple[Any, ...] = get_args(Kind)
    if wish not in ("auto", *kinds):
        raise SbmError(error("E872", f"there is no embedding '{wish}'", help=did_you_mean(wish, kinds) or f"embeddings: auto, {', '.join(kinds)}"))  # fmt: skip
    largest = max(map(len, tables))
    alike = len(whole) <= SHARED * largest
    share = f"{len(tables)} designs with {len(whole)} rows in all, at most {largest} in one"
    if wish in ("set", "transformer"):
        return Choice(wish, False, ("as wished",))  # type: ignore[arg-type]
    if wish == "moments" and not plates:
        raise SbmError(error("E872", "no rows are exchangeable, so there are no moments to take",
                             help="embedding='auto' takes what fits"))  # fmt: skip
    if wish == "convolution" and not grid(whole)[0].size:
        raise SbmError(
            error("E872", "there is no row to make a series of", help="embedding='auto' takes what fits")
        )
    if wish != "auto":
        return Choice(wish, True, ("as wished",))  # type: ignore[arg-type]
    if not alike:
        return Choice("set", False, (f"{share}: a set network takes rows wherever they are",))
    what = "one design" if len(tables) == 1 else f"{share}: one table of rows with gaps"
    if plates:
        names = sorted({p.name for p in plates})
        return Choice("moments", True, (what, f"exchangeable rows ({', '.join(names)}): {plates[0].reason}"))
    places, times = grid(whole)
    if len(times) >= LONG and (places >= 0).mean() >= DENSE and not whole.copy.any():
        return Choice(
            "convolution", True, (what, f"{len(places)} series at {len(times)} times: strided convolutions")
        )
    if len(whole) <= COLUMNS:
        return Choice("columns", True, (what, f"{len(whole)} rows: one column each"))
    return Choice(
        "set", False, (what, f"{len(whole)} rows at scattered times or with replicates: a set network")
    )


def grid(table: Table) -> tuple[Ints, np.ndarray]:
    """Where the rows lie as series: positions (series, time), -1 where there is none, and the times. A series is a
    channel, of one member, of one replicate number."""
    whole = np.round(table.time / table.tolerance).astype(np.int64)
    levels, at = np.unique(whole, return_inverse=True)
    who = np.column_stack([table.channel, table.member, table.copy])
    series, which = np.unique(who, axis=0, return_inverse=True)
    places = np.full((len(series), len(levels)), -1, dtype=np.int64)
    places[which.ravel(), at.ravel()] = np.arange(len(table))
    times = np.zeros(len(levels))
    times[at.ravel()] = table.time
    return places, times

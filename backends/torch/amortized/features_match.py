"""Whether a data set is one that a network knows, and in words why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sbmlang.data.dataset import Dataset, Ints
from sbmlang.errors import Diagnostic, SbmError, error

from ..methods import samples_path
from .features_choice import grid
from .features_rows import Table

if TYPE_CHECKING:
    from ..program import TorchProgram
    from .features_layout import Layout

BEYOND = 0.05  # of the trained range, by which a covariate may lie outside of it


def places(whole: Table, table: Table) -> Ints:
    """Where each row of ``table`` is in ``whole``; all are there."""
    return np.array([whole.place[key] for key in table.keys], dtype=np.int64)


def require_known(layout: Layout, table: Table) -> None:
    """Raises ``SbmError`` E870 where a row of ``table`` has no place in the network."""
    if not layout.shared:
        return
    strange = [k for k, key in enumerate(table.keys) if key not in layout.whole.place]
    if strange:
        times = np.unique(layout.whole.time)
        raise SbmError(
            error("E870", f"the network was not trained for {row_name(table, strange[0])}"
                  + (f" and {len(strange) - 1} more rows" if len(strange) > 1 else ""),
                  help=(f"it knows {len(layout.whole)} rows at {len(times)} times from {times.min():g} to {times.max():g}",
                        "train it with this data set among designs=[...], or with embedding='set', which takes rows anywhere"))
        )  # fmt: skip


def require_fit(layout: Layout, table: Table, data: Dataset) -> None:
    """Raises ``SbmError`` E870, E871 or E873 for a data set that the network cannot take."""
    if (name := layout.around.strange(data)) is not None:
        raise SbmError(
            error("E873", f"{name} is another one than in the simulations that the network was trained on",
                  help="train with designs=[...] that differ in it, this data set among them")
        )  # fmt: skip
    require_known(layout, table)
    own = frozenset(k for k, y in zip(table.keys, _values(layout, data), strict=True) if np.isfinite(y))
    if not own:
        raise SbmError(
            error(
                "E871",
                "the data have no observation at all",
                help="a posterior without data is the prior: sbm simulate",
            )
        )
    if layout.masks or (not layout.shared and len(layout.tables) > 1):
        return
    if any(own == frozenset(t.keys) for t in layout.tables):
        return
    if not layout.shared and own - frozenset(layout.tables[0].keys):
        raise SbmError(
            error("E870", "the network was trained on one design, and these rows are others",
                  help="train with several designs=[...]: then it learns what to make of rows anywhere")
        )  # fmt: skip
    near = min(layout.tables, key=lambda t: len(own ^ frozenset(t.keys)))
    if gone := sorted(frozenset(near.keys) - own):
        raise SbmError(
            error("E871", f"{len(gone)} of {len(near)} rows are missing, the first being {row_name(near, near.place[gone[0]])}, "
                  "and the network was trained with all of them",
                  help="train with --missing 0.3 (missing=0.3; the largest share of rows that training hides), or with this data set as the design")
        )  # fmt: skip
    new = sorted(own - frozenset(near.keys))
    raise SbmError(
        error("E870", f"no design that the network was trained on has {row_name(layout.whole, layout.whole.place[new[0]])} beside the other rows of these data",
              help="train with --missing 0.3 (missing=0.3), which takes any rows of any design, or with this data set among designs=[...]")
    )  # fmt: skip


def require_score(layout: Layout, program: TorchProgram | None) -> TorchProgram:
    """The program that scores are taken by. Raises ``SbmError`` E872 where there is none, or no gradient of it."""
    if program is None or samples_path(program) or program.model.simulators:
        raise SbmError(error("E872", "embedding='score' needs a declared density of the parameters, and there is none",
                             help="embedding='auto' takes what fits"))  # fmt: skip
    if len(layout.tables) > 1 or layout.masks:
        raise SbmError(error("E872", "embedding='score' is for one design without missing rows",
                             help="embedding='auto' takes what fits"))  # fmt: skip
    return program


def _values(layout: Layout, data: Dataset) -> np.ndarray:
    found = [data.channels[n].value for n in layout.whole.channels if n in data.channels]
    return np.concatenate([np.zeros(0), *found])


def notes(layout: Layout, table: Table, data: Dataset) -> tuple[Diagnostic, ...]:
    """W870 for times or surroundings beyond what training saw."""
    said = []
    if not layout.shared and layout.tokens.outside(table):
        t = layout.tokens
        said.append(
            error("W870", f"times from {table.time.min():g} to {table.time.max():g} lie beyond those the network was trained on, {t.first:g} to {t.last:g}",
                  help="its answer is an extrapolation: train with designs that go as far")
        )  # fmt: skip
    if layout.statics.shape[1]:
        own, low, high = layout.around.numbers(data), layout.statics.min(0), layout.statics.max(0)
        edge = BEYOND * (high - low)
        far = np.flatnonzero((own < low - edge) | (own > high + edge))
        if len(far):
            k, name = int(far[0]), layout.around.labels(data)[int(far[0])]
            said.append(
                error("W870", f"{name} is {own[k]:g}, beyond the {low[k]:g} to {high[k]:g} that the network was trained on",
                      help="its answer is an extrapolation: train with designs that go as far")
            )  # fmt: skip
    return tuple(said)


def row_name(table: Table, row: int) -> str:
    """A row in words: ``respired[2] at 3.5``."""
    members = [int(m) + 1 for m in table.member[row] if m >= 0]
    name = table.channels[int(table.channel[row])] + (f"[{', '.join(map(str, members))}]" if members else "")
    again = f", replicate {int(table.copy[row]) + 1}" if table.copy[row] else ""
    return f"{name} at {table.time[row]:g}{again}"


def described(layout: Layout) -> tuple[str, ...]:
    """What was derived and why, a sentence each."""
    choice, whole = layout.choice, layout.whole
    said = [f"{choice.kind}: {'; '.join(choice.reasons)}"]
    for p in layout.plates:
        members, events = p.rows.shape
        what = "permuted in training" if choice.kind == "columns" else "told by their moments"
        said.append(
            f"{members} {p.name} with {events} row{'s' * (events > 1)} each are exchangeable ({p.reason}): {what}"
        )
    if choice.kind == "convolution":
        series, times = grid(whole)
        said.append(f"{len(series)} series at {len(times)} times, halved by each block")
    flat = [k for k in range(len(whole)) if layout.shared and not layout.scale.varies[k]]
    if flat:
        said.append(
            f"left out, the same in all simulations: {len(flat)} row{'s' * (len(flat) > 1)}, the first {row_name(whole, flat[0])}"
        )
    kind = "rows" if layout.shared else "channels"
    if logs := int(layout.scale.logs.sum()):
        said.append(
            f"{logs} of {len(layout.scale.logs)} {kind} are above 0 and vary by factors: taken by their logarithms"
        )
    bent = int(layout.scale.heavy.sum())
    if bent:
        said.append(f"{bent} of {len(layout.scale.heavy)} {kind} have heavy tails: taken by asinh")
    if layout.around.names:
        said.append(f"{', '.join(layout.around.names)} of each design are told beside the rows")
    if layout.masks:
        said.append(
            f"up to {layout.masks:.0%} of the rows are hidden in training, so that any may be missing"
        )
    return tuple(said)

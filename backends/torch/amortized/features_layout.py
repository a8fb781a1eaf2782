"""Everything that is decided about features before training: which rows, which scales, which plates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Floats, Ints
from sbmlang.errors import SbmError, error
from sbmlang.ir import Model

from . import features_match as match
from .features_choice import Choice, choose
from .features_masks import thinned
from .features_moments import moments
from .features_plates import Plate, exchangeable, plates
from .features_rows import Table, flattened, table_of, tolerance_of, union
from .features_scale import ROWS, Scale, scale_of
from .features_score import Walk
from .features_statics import Surroundings
from .features_tokens import Tokens

if TYPE_CHECKING:
    from sbmlang.runs import Runs

MASKED = 0.4  # the largest share of rows that is hidden in training


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that is known before training, in plain values.

    ``tables`` are the rows of each design, ``whole`` all of them together. ``scale`` has a column for each row of
    ``whole`` (``shared``) or for each channel; ``moment_scale`` for each moment, ``static_scale`` for each number of
    ``around``. ``units`` (row,) bring rows to a common size before moments are taken. ``statics`` (design, number).
    ``masks`` is the largest share of rows hidden in training, 0 for a network that needs all.
    """

    choice: Choice
    tables: tuple[Table, ...]
    whole: Table
    plates: tuple[Plate, ...]
    around: Surroundings
    tokens: Tokens
    scale: Scale
    units: Floats
    moment_scale: Scale | None
    statics: Floats
    static_scale: Scale
    described: tuple[Floats, ...]  # the tokens of each design
    masks: float
    description: tuple[str, ...]
    walk: Walk | None = None

    @property
    def shared(self) -> bool:
        return self.choice.shared

    @property
    def gaps(self) -> bool:
        """Whether a row of the whole may be missing in an input."""
        return self.masks > 0 or any(len(t) < len(self.whole) for t in self.tables)

    @property
    def raw(self) -> Ints:
        """Rows of the whole that are columns themselves."""
        rows = np.flatnonzero(self.scale.varies)
        match self.choice.kind:
            case "columns" | "none":
                return rows
            case "moments":
                return np.setdiff1d(rows, [k for p in self.plates for k in p.rows.ravel()])
            case _:
                return rows[:0]

    def state(self) -> dict[str, Any]:
        return {
            "choice": {**vars(self.choice), "reasons": list(self.choice.reasons)},
            "tables": [t.state() for t in self.tables],
            "whole": self.whole.state(),
            "plates": [{**vars(p), "rows": p.rows.tolist()} for p in self.plates],
            "around": self.around.state(),
            "tokens": self.tokens.state(),
            "scale": self.scale.state(),
            "units": self.units.tolist(),
            "moment_scale": None if self.moment_scale is None else self.moment_scale.state(),
            "statics": self.statics.tolist(),
            "static_scale": self.static_scale.state(),
            "described": [torch.as_tensor(t) for t in self.described],
            "masks": self.masks,
            "walk": None if self.walk is None else self.walk.state(),
            "description": list(self.description),
        }

    @staticmethod
    def of_state(state: Mapping[str, Any]) -> Layout:
        moment_scale = state["moment_scale"]
        return Layout(
            Choice(**{**state["choice"], "reasons": tuple(state["choice"]["reasons"])}),
            tuple(map(Table.of_state, state["tables"])),
            Table.of_state(state["whole"]),
            tuple(Plate(**{**p, "rows": np.array(p["rows"], dtype=np.int64)}) for p in state["plates"]),
            Surroundings.of_state(state["around"]),
            Tokens.of_state(state["tokens"]),
            Scale.of_state(state["scale"]),
            np.array(state["units"], dtype=float),
            None if moment_scale is None else Scale.of_state(moment_scale),
            np.array(state["statics"], dtype=float).reshape(len(state["tables"]), -1),
            Scale.of_state(state["static_scale"]),
            tuple(t.numpy() for t in state["described"]),
            state["masks"],
            tuple(state["description"]),
            None if state.get("walk") is None else Walk.of_state(state["walk"]),
        )


@dataclass(frozen=True, eq=False)
class Filled:
    """Standardised ``values`` (run, row) and, for moments, ``raw`` ones; NaN where there is nothing."""

    values: Floats
    raw: Floats | None

    @staticmethod
    def empty(runs: int, rows: int, *, raw: bool) -> Filled:
        return Filled(
            np.full((runs, rows), np.nan, dtype=np.float32),
            np.full((runs, rows), np.nan, dtype=np.float32) if raw else None,
        )

    def put(self, layout: Layout, table: Table, runs: Ints, own: Floats) -> None:
        """The rows (run, row) of one design into the places where the network looks for them."""
        places = match.places(layout.whole, table) if layout.shared else np.arange(len(table))
        scale = layout.scale.take(places if layout.shared else table.channel)
        self.values[np.ix_(runs, places)] = scale(own)
        if self.raw is not None:
            self.raw[np.ix_(runs, places)] = own / layout.units[places]

    def tensors(self) -> dict[str, Tensor]:
        """Numbers, 0 where there is nothing, and where there is something."""
        seen = torch.as_tensor(~np.isnan(self.values))
        found = {"values": torch.as_tensor(np.nan_to_num(self.values)), "seen": seen}
        return found if self.raw is None else found | {"raw": torch.as_tensor(np.nan_to_num(self.raw))}


def all_moments(found: tuple[Plate, ...], values: Tensor, seen: Tensor, *, counts: bool) -> Tensor:
    """The moments (n, k) of all plates."""
    return torch.cat([moments(p, values, seen, counts=counts) for p in found], dim=1)


def layout_of(model: Model, runs: Runs, embedding: str, missing: str | float) -> Layout:
    """What is decided for runs of a model; options as in ``Features.derive``. Raises ``SbmError`` E872."""
    designs, channels, dims = runs.designs, tuple(runs.rows), tuple(model.dims)
    tolerance = tolerance_of(designs)
    tables = tuple(table_of(d, channels, dims, tolerance) for d in designs)
    whole = union(tables)
    alike = tuple(plates(model, whole))
    choice = choose(embedding, tables, whole, alike)
    around = Surroundings.of(designs)
    told_apart = tuple(0 if exchangeable(model, d) else max(x.sizes[d] for x in designs) for d in dims)
    tokens = Tokens.of(list(tables), model.time.start, told_apart)
    statics = np.stack([around.numbers(d) for d in designs])
    draft = Layout(
        choice, tables, whole, alike if choice.kind in ("columns", "moments") else (), around, tokens,
        _row_scale(choice, tables, whole, runs), np.ones(len(whole)), None, statics, scale_of(statics, tails=False),
        tuple(tokens(t, d, around) for t, d in zip(tables, designs, strict=True)) if not choice.shared else (),
        masks_of(missing, runs, choice, gaps=any(len(t) < len(whole) for t in tables)), (),
    )  # fmt: skip
    if choice.kind == "moments":
        draft = _with_moments(draft, runs)
    return replace(draft, description=match.described(draft))


def _row_scale(choice: Choice, tables: tuple[Table, ...], whole: Table, runs: Runs) -> Scale:
    """A scale for each row of the whole, or for each channel."""
    some = _some(runs)
    if not choice.shared:
        columns = [some.rows[n].ravel() for n in whole.channels]
        longest = max(map(len, columns))
        padded = np.full((longest, len(columns)), np.nan)
        for k, column in enumerate(columns):
            padded[: len(column), k] = np.random.default_rng(0).permutation(column)
        return scale_of(padded, rows=10 * ROWS)
    values = np.full((len(some), len(whole)), np.nan)
    for k, table in enumerate(tables):
        mine = np.flatnonzero(some.design == k)
        own = flattened(runs.designs[k], whole.channels, {n: v[mine] for n, v in some.rows.items()})
        values[np.ix_(mine, match.places(whole, table))] = own
    return scale_of(values)


def _some(runs: Runs) -> Runs:
    """About ``ROWS`` of the runs, of all designs: these follow each other in blocks."""
    return runs.take(slice(None, None, -(-len(runs) // ROWS)))


def _with_moments(draft: Layout, runs: Runs) -> Layout:
    """The scales of moments, learnt from runs of which some rows are hidden if that is what training does."""
    units = np.maximum(draft.scale.unit * draft.scale.sd, 1e-300)
    channel = draft.whole.channel
    common = np.array([np.median(units[channel == k]) for k in range(len(draft.whole.channels))])
    draft = replace(draft, units=common[channel])
    some = _some(runs)
    filled = Filled.empty(len(some), len(draft.whole), raw=True)
    for k, table in enumerate(draft.tables):
        mine = np.flatnonzero(some.design == k)
        filled.put(
            draft,
            table,
            mine,
            flattened(some.designs[k], draft.whole.channels, {n: v[mine] for n, v in some.rows.items()}),
        )
    inputs = filled.tensors()
    seen = inputs["seen"]
    if draft.masks:
        rank, channels = torch.as_tensor(ranks(draft.whole.time)), torch.as_tensor(channel)
        seen = thinned(seen, rank, channels, draft.masks, torch.Generator().manual_seed(0))
    told = all_moments(draft.plates, inputs["raw"], seen, counts=draft.gaps)
    return replace(draft, moment_scale=scale_of(told.double().numpy()))


def masks_of(missing: str | float, runs: Runs, choice: Choice, *, gaps: bool) -> float:
    """The largest share of rows to hide; ``gaps``: designs differ in which rows they have. Raises ``SbmError`` E872."""
    if missing == "auto":
        return MASKED if _lacking(runs) or (choice.shared and gaps) else 0.0
    if missing == "none":
        return 0.0
    if isinstance(missing, str) or not 0 <= missing < 1:
        raise SbmError(error("E872", f"missing={missing!r} is not a share of rows", help="a number from 0 to below 1, 'none' or 'auto'"))  # fmt: skip
    return float(missing)


def _lacking(runs: Runs) -> bool:
    """Whether a run has no value in a row of its design."""
    for name, values in runs.rows.items():
        widths = np.array([len(d.channels[name]) if name in d.channels else 0 for d in runs.designs])
        if (np.isnan(values) & (np.arange(values.shape[1]) < widths[runs.design][:, None])).any():
            return True
    return False


def ranks(time: Floats) -> Floats:
    """Places in time in [0, 1]."""
    span = float(np.ptp(time)) if len(time) else 0.0
    return (time - time.min()) / span if span > 0 else np.zeros(len(time))

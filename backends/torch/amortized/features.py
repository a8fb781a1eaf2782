"""What a network is told of a data set, derived from the declaration and the simulations.

Rows are found by what they are (channel, members, time, window), put on a common scale, and handed to the network as
columns, as moments of what is exchangeable, as scores of the declared density, or through an embedding network that is
trained with it. Which of them is decided in ``features_choice`` and told in ``Features.description``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sbmlang.data.dataset import Dataset, Floats, Ints
from sbmlang.errors import Diagnostic
from sbmlang.ir import Model

from . import features_match as match
from .embed import Convolution, SetNetwork, Transformer
from .features_choice import grid
from .features_layout import Filled, Layout, all_moments, layout_of, ranks
from .features_masks import thinned
from .features_moments import permuted
from .features_rows import Table, flattened, own_rows, table_of
from .features_score import Scores, Walk
from .features_tokens import WAVES

if TYPE_CHECKING:
    from sbmlang.runs import Runs

    from ..program import TorchProgram

Inputs = Mapping[str, Tensor]
COMPUTED = "features"  # the input that is the features themselves
TOGETHER = 4096  # runs whose moments are computed in one call


class Features(nn.Module):
    """Data sets to vectors of ``size`` numbers.

    ``encode`` and ``encode_data`` give what does not depend on weights, each tensor with the runs along its first
    axis; ``forward`` the features. Weights are drawn from ``seed``.
    """

    def __init__(self, layout: Layout, *, seed: int = 0, program: TorchProgram | None = None) -> None:
        super().__init__()
        self.layout = layout
        self._shared = _Shared(program)
        self._raw = torch.as_tensor(layout.raw)
        self._rank = torch.as_tensor(ranks(layout.whole.time))
        self._channel = torch.as_tensor(layout.whole.channel)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = self._network()

    def _network(self) -> nn.Module | None:
        layout = self.layout
        match layout.choice.kind:
            case "convolution":
                places, times = grid(layout.whole)
                self.register_buffer("places", torch.as_tensor(places), persistent=False)
                return Convolution(
                    len(places), _position(times), masks=layout.gaps or bool((places < 0).any())
                )
            case "set" | "transformer" as kind:
                self.register_buffer("told", _tensor(_stacked(layout.described)), persistent=False)
                return (SetNetwork if kind == "set" else Transformer)(self.told.shape[2] + 1)
            case _:
                return None

    @staticmethod
    def derive(
        model: Model, runs: Runs, *, embedding: str = "auto", missing: str | float = "auto", seed: int = 0,
        program: TorchProgram | None = None,
    ) -> Features:  # fmt: skip
        """The features for runs of a model.

        ``embedding``: "columns" (a number for each row), "moments" (of exchangeable rows; the others are columns),
        "convolution" (of series), "set" or "transformer" (rows anywhere), "score" (gradients of the declared density, for
        which ``program`` is needed; one design, no missing rows), "none" (columns, and no symmetry is used), or "auto".
        ``missing``: the largest share of rows that training hides so that the network can do without them; "none"; "auto":
        0.4 where runs have missing rows, or designs of one table differ in which rows they have, else none.

        Raises ``SbmError`` E872 for an option that there is not, or that does not go with the designs.
        """
        layout = layout_of(model, runs, embedding, missing)
        if layout.choice.kind == "score":
            scores = Scores(match.require_score(layout, program), runs.designs[0])
            layout = replace(layout, walk=Walk.learnt(scores, runs.parameters, runs.rows))
        return Features(layout, seed=seed, program=program)

    # --- what networks ask -------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many numbers there are."""
        layout = self.layout
        if layout.walk is not None:
            return layout.walk.size
        size = len(self._raw) * (2 if layout.gaps else 1) + layout.statics.shape[1]
        if layout.moment_scale is not None:
            size += int(layout.moment_scale.varies.sum())
        return size + (0 if self.network is None else int(self.network.size))

    @property
    def columns(self) -> tuple[str, ...]:
        """A name for each row that the network can take: ``respired[2] at 3.5``."""
        return tuple(match.row_name(self.layout.whole, k) for k in range(len(self.layout.whole)))

    @property
    def description(self) -> tuple[str, ...]:
        """What was derived and why, a sentence each."""
        return self.layout.description

    # --- data sets to inputs -----------------------------------------------------------------------------

    def encode(self, runs: Runs) -> dict[str, Tensor]:
        """The inputs of runs, which were observed where those that the features were derived from were.

        Raises ``SbmError`` E870 for rows that training never saw.
        """
        layout, tables = self.layout, [self._table(d) for d in runs.designs]
        for table in tables:
            match.require_known(layout, table)
        if layout.walk is not None:
            return {COMPUTED: self._scored(runs.designs[0], runs.rows)}
        wide = len(layout.whole) if layout.shared else max(map(len, tables))
        filled = Filled.empty(len(runs), wide, raw=layout.moment_scale is not None)
        for k in np.unique(runs.design):
            mine = np.flatnonzero(runs.design == k)
            rows = {n: v[mine] for n, v in runs.rows.items()}
            filled.put(layout, tables[k], mine, flattened(runs.designs[k], layout.whole.channels, rows))
        return filled.tensors() | self._beside(tables, runs.designs, runs.design)

    def encode_data(self, data: Dataset) -> dict[str, Tensor]:
        """The inputs of one data set, leading axis 1.

        Raises ``SbmError``: E870 (rows that training never saw), E871 (rows are missing and the network was not trained
        to do without), E873 (a covariate or forcing that was the same in all simulations is another).
        """
        layout, table = self.layout, self._table(data)
        match.require_fit(layout, table, data)
        rows = own_rows(data, layout.whole.channels)
        if layout.walk is not None:
            return {COMPUTED: self._scored(data, rows)}
        wide = len(layout.whole if layout.shared else table)
        filled = Filled.empty(1, wide, raw=layout.moment_scale is not None)
        filled.put(layout, table, np.array([0]), flattened(data, layout.whole.channels, rows))
        return filled.tensors() | self._beside([table], [data], np.array([0]))

    def _beside(self, tables: Sequence[Table], designs: Sequence[Dataset], design: Ints) -> dict[str, Tensor]:
        """What is told of the runs' designs, beside their values."""
        layout, found = self.layout, {}
        if not layout.shared:
            tokens = [layout.tokens(t, d, layout.around) for t, d in zip(tables, designs, strict=True)]
            found |= self._told(tokens, design)
        if layout.statics.shape[1]:
            numbers = np.stack([layout.around.numbers(d) for d in designs])
            found["statics"] = _tensor(layout.static_scale(numbers)[design])
        return found

    def _scored(self, design: Dataset, rows: Mapping[str, Floats]) -> Tensor:
        assert self.layout.walk is not None
        shared = self._shared
        if shared.scores is None:  # one design serves all data sets: their rows are the same
            shared.scores = Scores(match.require_score(self.layout, shared.program), design)
        return self.layout.walk(shared.scores, rows)

    def notes(self, data: Dataset) -> tuple[Diagnostic, ...]:
        """W870: times, covariates or forcings beyond those that training saw."""
        return match.notes(self.layout, self._table(data), data)

    def _table(self, design: Dataset) -> Table:
        whole = self.layout.whole
        return table_of(design, whole.channels, whole.dims, whole.tolerance)

    def _told(self, tokens: list[Floats], design: Ints) -> dict[str, Tensor]:
        """Which trained design each run has, or the tokens themselves where one of the designs is new."""
        known = [
            next((k for k, t in enumerate(self.layout.described) if np.array_equal(t, own)), -1)
            for own in tokens
        ]
        if min(known) >= 0:
            return {"design": torch.as_tensor(np.array(known)[design])}
        return {"tokens": _tensor(_stacked(tokens))[torch.as_tensor(design)]}

    # --- inputs to features ------------------------------------------------------------------------------

    def augment(self, inputs: Inputs, generator: torch.Generator) -> dict[str, Tensor]:
        """The same data sets told otherwise: rows that are hidden, and in training replicates and members that change
        places."""
        layout, found = self.layout, dict(inputs)
        if self.training and layout.choice.kind == "columns" and layout.plates:
            order = torch.arange(len(layout.whole)).expand(len(found["values"]), -1)
            for plate in layout.plates:
                order = permuted(plate, order, generator)
            found |= {n: torch.gather(found[n], 1, order) for n in ("values", "seen")}
        if layout.masks:
            rank, channel = self._places_in_time(found)
            found["seen"] = thinned(found["seen"], rank, channel, layout.masks, generator)
        return found

    def _places_in_time(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Place in time in [0, 1] and channel of each row: (row,) or (n, row)."""
        if self.layout.shared:
            return self._rank, self._channel
        tokens = self.told[inputs["design"]] if "design" in inputs else inputs["tokens"]
        channels = self.layout.tokens.channels
        return (tokens[..., channels] + 1) / 2, tokens[..., :channels].argmax(-1)

    @torch.no_grad()
    def settled(self, inputs: Inputs) -> Inputs:
        """The inputs for training: the features themselves where no step of training changes them. Moments cost more than
        a step of a small network."""
        if self.layout.choice.kind != "moments" or self.layout.masks:
            return inputs
        pieces = zip(*(x.split(TOGETHER) for x in inputs.values()), strict=True)
        return {COMPUTED: torch.cat([self(dict(zip(inputs, piece, strict=True))) for piece in pieces])}

    def forward(self, inputs: Inputs) -> Tensor:
        """Features (n, size)."""
        if COMPUTED in inputs:
            return inputs[COMPUTED]
        layout, values, seen = self.layout, inputs["values"], inputs["seen"]
        parts = []
        if len(self._raw):
            here = seen[:, self._raw]
            parts.append(torch.where(here, values[:, self._raw], 0.0))
            parts += [here.to(values)] if layout.gaps else []
        if layout.moment_scale is not None:
            scale = layout.moment_scale
            told = scale.tensor(all_moments(layout.plates, inputs["raw"], seen, counts=layout.gaps))
            parts.append(told[:, torch.as_tensor(scale.varies)])
        match layout.choice.kind:
            case "convolution":
                at, there = self.places.clamp_min(0), self.places >= 0
                parts.append(self.network(values[:, at], seen[:, at] & there))
            case "set" | "transformer":
                tokens = self.told[inputs["design"]] if "design" in inputs else inputs["tokens"]
                tokens = torch.cat([values[..., None], tokens[:, : values.shape[1]]], dim=-1)
                parts.append(self.network(tokens, seen))
        return torch.cat([*parts, *([inputs["statics"]] if "statics" in inputs else [])], dim=1)

    # --- files -------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it in plain values and tensors."""
        return {"layout": self.layout.state(), "weights": self.state_dict()}

    @staticmethod
    def of_state(state: Mapping[str, Any], program: TorchProgram | None = None) -> Features:
        """What ``state`` was taken of; scores need the ``program`` too."""
        found = Features(Layout.of_state(state["layout"]), program=program)
        found.load_state_dict(state["weights"])
        return found.eval()


@dataclass(eq=False)
class _Shared:
    """A program in a module, and its scores at the last design: copies of the module have the same ones."""

    program: TorchProgram | None
    scores: Scores | None = None

    def __deepcopy__(self, _: Any) -> _Shared:
        return self


def _position(times: Floats) -> Tensor:
    """What a convolution knows of each time: (feature, time)."""
    t = ranks(times)
    waves = [f(np.pi * k * t) for k in WAVES for f in (np.sin, np.cos)]
    return torch.as_tensor(np.stack([2 * t - 1, *waves]), dtype=torch.float32)


def _stacked(tokens: Sequence[Floats]) -> Floats:
    """(design, widest, feature), filled up with 0."""
    whole = np.zeros((len(tokens), max(map(len, tokens)), tokens[0].shape[1]))
    for k, own in enumerate(tokens):
        whole[k, : len(own)] = own
    return whole


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)

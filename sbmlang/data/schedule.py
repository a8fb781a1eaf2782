"""The steps of a path and the observations between them, laid out as the loops of a filter need them."""

from __future__ import annotations

from dataclasses import dataclass

from sbmlang.data.dataset import Floats, Ints


@dataclass(frozen=True, eq=False)
class Schedule:
    """Steps common to all M members of the batch, and each member's own events in order of time.

    Steps: ``start`` (step,) and ``width`` (step,) in the time variable's unit, ``forcing_time`` (step,) where
    the step's forcings are taken. ``done`` (grid,) is the number of steps done at each time of
    ``Dataset.grid``.

    Events of member m are ``offset[m]:offset[m+1]`` of ``steps`` (event,), the number of steps done before
    it; ``kind`` (event,), k >= 0 for a row of emission k and -1 - j for setting memory j; ``row`` (event,),
    the row's position in ``value`` and ``time`` (row,), -1 for memories.
    ``channel`` (row,) and ``channel_row`` (row,) say where a row comes from: the position of its channel among
    the model's observations, and its place in that ``Dataset`` channel.
    """

    start: Floats
    width: Floats
    forcing_time: Floats
    done: Ints
    offset: Ints
    steps: Ints
    kind: Ints
    row: Ints
    value: Floats
    time: Floats
    channel: Ints
    channel_row: Ints

"""The smallest set of vertices that separates some vertices of a graph from others."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

V = TypeVar("V", bound=Hashable)


def smallest_cut(starts: Iterable[V], ends: Iterable[V], edges: Mapping[V, Sequence[V]]) -> set[V]:
    """Fewest vertices that every path from a start to an end passes, as near to the starts as may be.

    Starts and ends themselves may be in it. By Menger's theorem it is as large as a largest set of paths
    without a common vertex, which augmenting finds (Ford and Fulkerson 1956): every vertex is split in two,
    joined by an arc of capacity one.
    """
    room: dict[Any, dict[Any, int]] = {}

    def arc(a: Any, b: Any, capacity: int) -> None:
        room.setdefault(a, {})[b] = capacity
        room.setdefault(b, {}).setdefault(a, 0)

    many = len(edges) + 1
    for vertex, onward in edges.items():
        arc((vertex, "in"), (vertex, "out"), 1)
        for other in onward:
            arc((vertex, "out"), (other, "in"), many)
    room.setdefault("start", {})
    for vertex in starts:
        if vertex in edges:
            arc("start", (vertex, "in"), many)
    for vertex in ends:
        arc((vertex, "out"), "end", many)
    while True:
        came = _reached(room)
        if "end" not in came:
            return {v for v in edges if (v, "in") in came and (v, "out") not in came}
        place = "end"
        while place != "start":
            room[came[place]][place] -= 1
            room[place][came[place]] += 1
            place = came[place]


def _reached(room: Mapping[Any, Mapping[Any, int]]) -> dict[Any, Any]:
    """What can be reached from the start through arcs with room left, and from where."""
    came: dict[Any, Any] = {"start": None}
    waiting = deque(["start"])
    while waiting:
        place = waiting.popleft()
        for onward, capacity in room[place].items():
            if capacity > 0 and onward not in came:
                came[onward] = place
                waiting.append(onward)
    return came

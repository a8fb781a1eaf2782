"""What observation rows say about a path near a reference: scores and information after each step.

A row with windows depends on the states at its time and at the start of each window. The linearised path
then carries a memory of the states at the start of the current window: one for each component that the
window's expression takes from there, for each channel, window and member along coupled indices. Windows that
overlap have no memory; their starts are taken as known, which makes the map less good and nothing wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmlang.ir import Model, Observation, bases

from .distributions import log_density
from .information import information
from .whitening import Evidence

if TYPE_CHECKING:
    from .sampled import SampledPath


@dataclass(frozen=True)
class Slots:
    """Memories along the path: ``support`` (memory,) is the component each one remembers.

    ``set_at`` (*batch, step, memory) tells before which steps they are set, ``source`` (*batch, step, memory)
    the number of steps after which the value they hold was taken, ``jump`` (*batch, step + 1, n, n) the same
    as a matrix on states and memories. ``owner``: the (channel, window) of each memory, and ``rows`` which
    rows of the channel read it: (row, memory).
    """

    support: np.ndarray
    set_at: np.ndarray
    source: np.ndarray
    jump: np.ndarray
    owner: tuple[tuple[str, str], ...]
    rows: Mapping[str, np.ndarray]


def slots(
    model: Model,
    batch: tuple[str, ...],
    data: Mapping[str, Any],
    steps: int,
    columns: Mapping[str, np.ndarray],
) -> Slots:
    """The memories of a model's windows; ``columns`` says where the components of each state lie."""
    lead = tuple(len(data["members"][d]) for d in batch)
    width = sum(len(c) for c in columns.values())
    done = np.asarray(data["steps"]["done"])
    found = list(_windows(model, batch, data, done, columns))
    support = np.array([k for _, components, _, _ in found for k in components], dtype=int)
    count = len(support)
    set_at = np.zeros((int(np.prod(lead, dtype=int)), steps + 1, count), dtype=bool)
    owner: list[tuple[str, str]] = []
    rows = {name: np.zeros((len(c["at"]), count), dtype=bool) for name, c in data["channels"].items()}
    for key, components, readers, (member, start) in found:
        places = np.arange(len(owner), len(owner) + len(components))
        owner += [key] * len(components)
        set_at[member[:, None], start[:, None], places] = True
        rows[key[0]][readers[:, None], places] = True
    last = np.where(set_at, np.arange(steps + 1)[:, None], 0)
    source = np.maximum.accumulate(last, axis=1)[:, :-1]
    n = width + count
    jump = np.broadcast_to(np.eye(n), (*set_at.shape[:2], n, n)).copy()
    for place, component in enumerate(support):
        member, step = np.nonzero(set_at[..., place])
        jump[member, step, width + place] = np.eye(n)[component]
    return Slots(support, set_at[:, :-1].reshape(*lead, steps, count), source.reshape(*lead, steps, count),
                 jump.reshape(*lead, steps + 1, n, n), tuple(owner), rows)  # fmt: skip


def _windows(
    model: Model,
    batch: tuple[str, ...],
    data: Mapping[str, Any],
    done: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """(channel, window), the components its start depends on, its rows, and (member, step) where it is set."""
    for o in model.observations:
        rows = data["channels"][o.name]
        if not o.windows or not len(rows["at"]) or not set(batch) <= set(o.dims):
            continue
        member = members_of(o, batch, data)
        coupled = [np.asarray(rows[f"index.{d}"]) for d in o.dims if d not in batch]
        groups = np.unique(np.stack(coupled), axis=1).T if coupled else [()]
        for w in o.windows:
            named = [columns[s] for s in sorted(bases(w.expr) & columns.keys())]
            components = np.sort(np.concatenate(named)) if named else np.zeros(0, int)
            start, end = done[np.asarray(rows[f"start.{w.name}"])], done[np.asarray(rows["at"])]
            for group in groups:
                same = [c == g for c, g in zip(coupled, group, strict=True)]
                own = np.all([np.full(len(start), True), *same], axis=0)
                readers = np.flatnonzero(own)
                if len(components) and not _overlap(member[readers], start[readers], end[readers]):
                    yield (o.name, w.name), components, readers, (member[readers], start[readers])


def _overlap(member: np.ndarray, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether some window begins before another of the same member has ended."""
    spans = np.unique(np.stack([member, end, start]), axis=1)
    same = spans[0, 1:] == spans[0, :-1]
    return bool(np.any(same & (spans[2, 1:] < spans[1, :-1])))


def members_of(o: Observation, batch: tuple[str, ...], data: Mapping[str, Any]) -> np.ndarray:
    """The member of the batch of each row, in C order."""
    rows = data["channels"][o.name]
    member = np.zeros(len(rows["at"]), dtype=int)
    for d in batch:
        member = member * len(data["members"][d]) + np.asarray(rows[f"index.{d}"])
    return member


def evidence(path: SampledPath, c: Any, states: jax.Array) -> tuple[jax.Array, Evidence]:
    """Log likelihood of all rows at the reference path (*batch, step + 1, state), and their evidence."""
    count = path.width + len(path.slots.support)
    flat = states.reshape(prod(path.lead), path.steps + 1, path.width)
    score = jnp.zeros((len(flat), path.steps + 1, count))
    info = jnp.zeros((len(flat), path.steps + 1, count, count))
    total = jnp.zeros(())
    done = jnp.asarray(path.data["steps"]["done"])
    for channel in path.channels:
        places = jnp.concatenate([channel.start, channel.at[:, None]], axis=1)
        near = flat[:, done][channel.member[:, None], places]
        logs, slope, weight = jax.vmap(partial(row, path, channel, c))(near, *channel.rows)
        total += jnp.sum(logs)
        score = score.at[channel.member, done[channel.at]].add(slope)
        info = info.at[channel.member, done[channel.at]].add(weight)
    shape = (*path.lead, path.steps + 1, count)
    return total, Evidence(score.reshape(shape), info.reshape(*shape, count))


@dataclass(frozen=True, eq=False)
class Channel:
    """The rows of one observation that say something about single members of the batch.

    ``member`` (row,) counts members in C order, ``at`` (row,) and ``start`` (row, window) are places in the grid,
    ``rows`` are arrays with rows first: value, time (row, window + 1), members along dims, and which memories a
    row reads. ``table`` (*batch, step + 1, most rows at one time) lists the rows after each step, -1 for none.
    """

    observation: Observation
    member: np.ndarray
    at: np.ndarray
    start: np.ndarray
    rows: tuple[Any, Any, Any, Any]
    table: np.ndarray


def channels(path: SampledPath) -> Iterator[Channel]:
    """The channels with rows, those about several members of the batch apart: these say nothing to the map."""
    grid, done = np.asarray(path.data["grid"]), np.asarray(path.data["steps"]["done"])
    for o in path.model.observations:
        rows = path.data["channels"][o.name]
        if not len(rows["at"]) or not set(path.batch) <= set(o.dims):
            continue
        at = np.asarray(rows["at"])
        starts = [np.asarray(rows[f"start.{w.name}"]) for w in o.windows]
        start = np.stack(starts, axis=1) if starts else np.zeros((len(at), 0), dtype=int)
        index = {f"index.{d}": np.asarray(rows[f"index.{d}"]) for d in o.dims}
        time = grid[np.concatenate([start, at[:, None]], axis=1)]
        member = members_of(o, path.batch, path.data)
        own = (np.asarray(rows["value"], float), time, index, path.slots.rows[o.name])
        table = _table(member, done[at], (prod(path.lead), path.steps + 1))
        yield Channel(o, member, at, start, own, table.reshape(*path.lead, path.steps + 1, -1))


def _table(member: np.ndarray, step: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    flat = member * shape[1] + step
    counts = np.bincount(flat, minlength=shape[0] * shape[1])
    table = np.full((shape[0] * shape[1], int(counts.max())), -1)
    order = np.argsort(flat, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)])[flat[order]]
    table[flat[order], np.arange(len(flat)) - first] = order
    return table


def row(
    path: SampledPath,
    channel: Channel,
    c: Any,
    near: jax.Array,
    value: Any,
    time: Any,
    index: Any,
    reads: Any,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log likelihood, score (n,) and information (n, n) of one row, in the coordinates of the map.

    ``near`` (window + 1, state) are its member's states at the window starts and at its time.
    """
    o = channel.observation

    def law(xs: jax.Array) -> Any:
        return _law_of_row(path, o, c, path.states_of(xs), value, time, index)

    def log(xs: jax.Array) -> jax.Array:
        return jnp.sum(log_density(law(xs), value))

    at = path.coordinates(near)
    found, slope = jax.value_and_grad(log)(at)
    slopes = jax.jacfwd(lambda xs: information(law(xs))[0][:, 0])(at)
    weights = information(law(at))[1][:, 0]
    slope, slopes = (_augmented(path, o, g, reads) for g in (slope[None], slopes))
    sound = jnp.isfinite(weights)
    slopes, weights = jnp.where(sound[:, None], slopes, 0.0), jnp.where(sound, weights, 0.0)
    return found, slope[0], (slopes * weights[:, None]).T @ slopes


def _augmented(path: SampledPath, o: Observation, slopes: jax.Array, reads: jax.Array) -> jax.Array:
    """Slopes (k, place, state) in states at the window starts and the row's time, as (k, states and memories)."""
    places = {(o.name, w.name): k for k, w in enumerate(o.windows)}
    kept = [
        jnp.where(reads[j], slopes[:, places[owner], path.slots.support[j]], 0.0)
        if owner in places else jnp.zeros(len(slopes))
        for j, owner in enumerate(path.slots.owner)
    ]  # fmt: skip
    return jnp.concatenate([slopes[:, -1], *(k[:, None] for k in kept)], axis=1)


def _law_of_row(
    path: SampledPath, o: Observation, c: Any, xs: jax.Array, value: Any, time: Any, index: Any
) -> Any:
    """The law of one row whose member has the states xs (place, state) at its window starts and its time."""
    rows = {"value": value[None], "at": jnp.array([len(xs) - 1])}
    rows |= {f"start.{w.name}": jnp.array([k]) for k, w in enumerate(o.windows)}
    rows |= {name: i[None] for name, i in index.items()}
    local = {**path.data, "grid": time, "channels": {**path.data["channels"], o.name: rows}}
    s = path.functions.named(jnp.broadcast_to(xs, (*path.lead, *xs.shape)))
    law = path.observe[o.name](c, s, local)
    return law if law.batch_shape == (1,) else law.expand((1,))

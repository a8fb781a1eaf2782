"""Parameters and path together: the posterior density that the engine ``sampled`` gives to NUTS.

The unknowns are one vector: v (parameter,) for the parameters, u = u_ref + scale v on the real line, and zeta,
one number for each random number of the path, which ``whitening`` maps onto the innovations z of the path
(``innovations``). So

    log density(v, zeta) = log prior(u) + log |du/d parameters| + sum log p(z) + log likelihood of the rows
                           given the path + constants

exactly, whatever the reference is; at a good one it is close to a standard normal density.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .distributions import log_density
from .evidence import Channel, Slots, channels, evidence, slots
from .innovations import Counted, Given
from .whitening import Coefficients, Evidence, Linear, backward, coefficients, guided

if TYPE_CHECKING:
    from sbmlang.ir import Model

PIECE = 2000  # steps between checkpoints of the reverse sweep
SMALL = 1e-12  # in a state's unit: far below where a positive state usually is


class Guide(NamedTuple):
    """The map of all members: parameters at ``u`` (parameter,) with ``scale`` (parameter, parameter); the path
    ``reference`` (*batch, step + 1, n) with memories of windows after each step, its innovations ``z0`` and
    ``z``, and the ``coefficients``. A ``share`` below 1 goes only so far from the reference to the mean path."""

    u: jax.Array
    scale: jax.Array
    reference: jax.Array
    z0: jax.Array
    z: jax.Array
    coefficients: Coefficients
    share: jax.Array


@dataclass(frozen=True, eq=False)
class SampledPath:
    """The joint posterior of one model for data of given shapes; all functions are pure.

    ``functions`` are those of the generated program, ``observe`` its laws by channel, ``data`` its arrays.
    """

    model: Model
    functions: Any
    observe: Mapping[str, Any]
    batch: tuple[str, ...]
    data: Mapping[str, Any]
    linear: bool  # whether steps are affine in the states
    scaled: bool = False  # whether the map follows the size of the noise in every step

    @cached_property
    def lead(self) -> tuple[int, ...]:
        """Sizes of the batch dims."""
        return tuple(len(self.data["members"][d]) for d in self.batch)

    @cached_property
    def steps(self) -> int:
        return len(self.data["steps"]["time"])

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Random numbers of one member's start and of one of its steps."""
        found = []

        def count(p: Any, inputs: Any) -> jax.Array:
            at_start, in_step = Counted(), Counted()
            x = self.functions.start(at_start, p, inputs)
            t, h = (jnp.asarray(self.data["steps"][n][0]) for n in ("time", "width"))
            x = self.functions.step(t, h, x, in_step, p, inputs)
            found.append((at_start.count, in_step.count))
            return x

        jax.eval_shape(lambda u: self.functions.members(count, self._values(u)[1], self.data), self._origin)
        return found[0]

    @cached_property
    def width(self) -> int:
        """States of one member."""
        shape = jax.eval_shape(
            lambda u: self.functions.members(self._started, self._values(u)[1], self.data), self._origin
        )
        return int(shape.shape[-1])

    def _started(self, p: Any, inputs: Any) -> jax.Array:
        return self.functions.start(Counted(), p, inputs)

    @cached_property
    def dimension(self) -> int:
        """Length of the vector of unknowns."""
        at_start, in_step = self.counts
        return len(self._origin) + prod(self.lead) * (at_start + self.steps * in_step)

    @cached_property
    def _origin(self) -> np.ndarray:
        from . import density

        return np.zeros(density.dimension(self.functions.PARAMETERS, self.data))

    @cached_property
    def slots(self) -> Slots:
        """Memories of observation windows among the whitened states."""
        return slots(self.model, self.batch, self.data, self.steps, self._columns)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        """Where the components of each state lie in a member's vector."""
        with jax.ensure_compile_time_eval():  # numbers, also while a function of this is being compiled
            marks = jnp.broadcast_to(jnp.arange(self.width, dtype=float), (*self.lead, 1, self.width))
            named = self.functions.named(marks)
            return {name: np.unique(np.asarray(v).astype(int)) for name, v in named.items()}

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Rows for the map."""
        return tuple(channels(self))

    # --- coordinates of the map ----------------------------------------------------------------------

    @cached_property
    def _curved(self) -> np.ndarray:
        """Scale (state,) up to which a positive state is measured as it is, and beyond by its logarithm; inf for
        others."""
        scale = np.full(self.width, np.inf)
        for state in self.model.states:
            if not self.linear and state.kind == "state" and state.lower == 0:
                scale[self._columns[state.name]] = SMALL
        return scale

    def coordinates(self, x: jax.Array) -> jax.Array:
        """Where states (..., state) lie for the map: asinh(x/small) for states declared >= 0, which is close to
        their logarithm and still defined where a step has crossed 0; the states themselves for others."""
        curved = np.isfinite(self._curved)
        scale = np.where(curved, self._curved, 1.0)
        return jnp.where(curved, jnp.arcsinh(x / scale), x)

    def states_of(self, y: jax.Array) -> jax.Array:
        """The inverse of ``coordinates``."""
        curved = np.isfinite(self._curved)
        scale = np.where(curved, self._curved, 1.0)
        return jnp.where(curved, scale * jnp.sinh(jnp.where(curved, y, 0.0)), y)

    # --- the density ---------------------------------------------------------------------------------

    def _values(self, u: Any) -> tuple[Any, Any, Any]:
        p, log_jacobian = self.functions.constrain(u, self.data)
        return p, self.functions.values(p, self.data), log_jacobian

    def split(self, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """v (parameter,), zeta of the starts (*batch, m0) and of the steps (*batch, step, m)."""
        at_start, in_step = self.counts
        v, rest = jnp.split(y, [len(self._origin)])
        first, steps = jnp.split(rest, [prod(self.lead) * at_start])
        return v, first.reshape(*self.lead, at_start), steps.reshape(*self.lead, self.steps, in_step)

    def log_density(self, y: jax.Array, guide: Guide) -> jax.Array:
        """Log posterior density at y (dimension,), up to a constant; -inf where the path is not possible."""
        v, first, zeta = self.split(y)
        u = guide.u + guide.scale @ v
        p, c, log_jacobian = self._values(u)
        states, _, log_path, log_det = self.path(c, guide, first, zeta)
        rows = self.rows(c, self.functions.named(states[..., self.data["steps"]["done"], :]))
        total = self.functions.log_prior(p, self.data) + log_jacobian + log_path + log_det
        total += sum((jnp.sum(r) for r in rows.values()), jnp.zeros(()))
        possible = jnp.isfinite(states).all() & self._inside(states)
        return jnp.where(possible & ~jnp.isnan(total), total, -jnp.inf)

    def states(self, y: jax.Array, guide: Guide) -> tuple[dict[str, jax.Array], Any, dict[str, jax.Array]]:
        """Parameters, values and the states at the grid by name, each (time, *dims), at y (dimension,)."""
        v, first, zeta = self.split(y)
        p, c, _ = self._values(guide.u + guide.scale @ v)
        states, *_ = self.path(c, guide, first, zeta)
        return p, c, self.functions.named(states[..., self.data["steps"]["done"], :])

    def rows(self, c: Any, s: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Log likelihood of each row given the states at the grid: {channel: (row,)}."""
        found = {}
        for name, observe in self.laws.items():
            value = self.data["channels"][name]["value"]
            found[name] = jnp.broadcast_to(log_density(observe(c, s, self.data), value), jnp.shape(value))
        return found

    @cached_property
    def laws(self) -> dict[str, Any]:
        """The laws of channels that have rows."""
        return {n: law for n, law in self.observe.items() if len(self.data["channels"][n]["at"])}

    def _inside(self, states: jax.Array) -> jax.Array:
        """Whether the enforced bounds hold all along the path."""
        holds = jnp.asarray(True)
        for state in self.model.states:
            part = states[..., self._columns[state.name]]
            if state.enforced and state.lower is not None:
                holds &= (part >= state.lower).all()
            if state.enforced and state.upper is not None:
                holds &= (part <= state.upper).all()
        return holds

    # --- paths ---------------------------------------------------------------------------------------

    def path(
        self, c: Any, guide: Guide, first: jax.Array, zeta: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array], jax.Array, jax.Array]:
        """States after every step (*batch, step + 1, state), the innovations z0 and z, their log density, and
        the log determinant of their map from zeta, up to a constant."""

        def member(p: Any, inputs: Any, *own: Any) -> Any:
            return self._member(p, inputs, guide.share, *own)

        own = (guide.reference, guide.z0, guide.z, guide.coefficients, self.slots.set_at, first, zeta)
        states, z0, z, log_path, log_det = self.functions.members(member, c, self.data, *own)
        return states, (z0, z), jnp.sum(log_path), jnp.sum(log_det)

    def _member(
        self, p: Any, inputs: Any, share: Any, reference: Any, z0: Any, z: Any, map: Coefficients, set_at: Any,
        first: Any, zeta: Any,
    ) -> tuple[jax.Array, ...]:  # fmt: skip
        support, f = self.slots.support, self.functions

        def start(z: jax.Array) -> jax.Array:
            y = self.coordinates(f.start(Given(z), p, inputs))
            return jnp.concatenate([y, y[support]])

        z0, log_det = guided(map.start, start(z0) - reference[0], jax.jacfwd(start)(z0).T, z0, first, share)
        draw = Given(z0)
        x0 = f.start(draw, p, inputs)

        def one(carry: Any, at: Any) -> Any:
            x, memory, total, log_det = carry
            t, h, sets, ref, z, move, fresh = at
            memory = jnp.where(sets, self.coordinates(x)[support], memory)

            def step(z: jax.Array) -> jax.Array:
                moved = self.coordinates(f.step(t, h, x, Given(z), p, inputs))
                return jnp.concatenate([moved, memory])

            gain = jax.jacfwd(step)(z).T if self.scaled else None
            z, more = guided(move, step(z) - ref, gain, z, fresh, share)
            draw = Given(z)
            x = f.step(t, h, x, draw, p, inputs)
            return (x, memory, total + draw.log_density, log_det + more), (x, z)

        steps = self.data["steps"]
        xs = (
            jnp.asarray(steps["time"]),
            jnp.asarray(steps["width"]),
            set_at,
            reference[1:],
            z,
            map.steps,
            zeta,
        )
        if self.scaled:  # what there is to store of a step costs more than computing it again
            one = jax.checkpoint(one, prevent_cse=False)
        carry = (x0, self.coordinates(x0)[support], draw.log_density, log_det)
        (_, _, total, log_det), (path, z) = _scan(one, carry, xs)
        return jnp.concatenate([x0[None], path]), z0, z, total, log_det

    # --- the reference -------------------------------------------------------------------------------

    def marginal(
        self, u: jax.Array, states: jax.Array, z0: jax.Array, z: jax.Array
    ) -> tuple[jax.Array, Coefficients]:
        """Log posterior density of u with the path integrated out in the model linearised around ``states``
        (*batch, step + 1, state) and innovations z0, z; and the coefficients of the map there."""
        p, c, log_jacobian = self._values(u)
        said, found = evidence(self, c, states)

        def integrated(
            p: Any, inputs: Any, reference: Any, jump: Any, z0: Any, z: Any, found: Evidence
        ) -> Any:
            linear = self._linear(p, inputs, reference, jump, z0, z)
            total, ahead = backward(linear, found)
            return total, coefficients(linear, ahead)

        own = (self.reference(states), self.slots.jump, z0, z, found)
        logs, map = self.functions.members(integrated, c, self.data, *own)
        return self.functions.log_prior(p, self.data) + log_jacobian + said + jnp.sum(logs), map

    def reference(self, states: jax.Array) -> jax.Array:
        """States after each step, and the memories that the step had, in the coordinates of the map:
        (*batch, step + 1, n)."""
        count, memories = prod(self.lead), len(self.slots.support)
        flat = self.coordinates(states).reshape(count, self.steps + 1, self.width)
        source = self.slots.source.reshape(count, self.steps, memories)
        source = np.concatenate([np.zeros((count, 1, memories), dtype=int), source], axis=1)
        memory = flat[np.arange(count)[:, None, None], source, self.slots.support]
        return jnp.concatenate([flat, memory], axis=-1).reshape(
            *self.lead, self.steps + 1, self.width + memories
        )

    def _linear(self, p: Any, inputs: Any, reference: Any, jump: Any, z0: Any, z: Any) -> Linear:
        """One member's model around its reference path, memories included."""
        n, support = self.width, self.slots.support
        steps = self.data["steps"]

        def start(z0: jax.Array) -> jax.Array:
            x = self.coordinates(self.functions.start(Given(z0), p, inputs))
            return jnp.concatenate([x, x[support]])

        def step(t: Any, h: Any, x: jax.Array, z: jax.Array) -> jax.Array:
            moved = self.functions.step(t, h, self.states_of(x[:n]), Given(z), p, inputs)
            return jnp.concatenate([self.coordinates(moved), x[n:]])

        t, h = jnp.asarray(steps["time"]), jnp.asarray(steps["width"])
        before = jnp.concatenate([reference[:-1, :n], reference[1:, n:]], axis=-1)
        offset = jax.vmap(step)(t, h, before, z) - reference[1:]
        slope = jax.vmap(jax.jacfwd(step, 2))(t, h, before, z)
        gain = jax.vmap(jax.jacfwd(step, 3))(t, h, before, z)
        return Linear(start(z0) - reference[0], jax.jacfwd(start)(z0), offset, slope, gain, jump, z0, z)


def _scan(one: Any, carry: Any, xs: Any) -> Any:
    """``lax.scan`` whose reverse sweep keeps only every ``PIECE``-th carry of long paths."""
    length = len(jax.tree.leaves(xs)[0])
    if length <= 2 * PIECE:
        return lax.scan(one, carry, xs)
    whole = length // PIECE * PIECE

    def piece(carry: Any, xs: Any) -> Any:
        return lax.scan(one, carry, xs)

    cut = jax.tree.map(lambda x: x[:whole].reshape(length // PIECE, PIECE, *x.shape[1:]), xs)
    carry, main = lax.scan(jax.checkpoint(piece), carry, cut)
    carry, rest = piece(carry, jax.tree.map(lambda x: x[whole:], xs))
    main = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), main)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), main, rest)

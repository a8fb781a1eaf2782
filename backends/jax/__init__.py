"""The JAX backend: numpyro models, diffrax paths, NUTS."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from sbmlang.errors import NotYet, SbmError, did_you_mean, error

if TYPE_CHECKING:
    from sbmlang.ir import Model
    from sbmlang.ir.facts import Facts

    from .program import JaxProgram

# A step of an implicit solver that fails must come back as NaN and be rejected, not end the program.
os.environ.setdefault("EQX_ON_ERROR", "nan")

FORWARD_LIMIT = 60  # values a path depends on; beyond, reverse mode is cheaper


class Backend:
    """Compiles to JAX.

    Options of ``compile`` for stochastic states: ``states`` ("auto", "exact", "forward", "gaussian", "ekf",
    "ukf", "particle", "sampled"), ``step`` (the width of the path's steps instead of the file's). For
    differential equations: ``solver`` ("auto", "explicit", "implicit", "exponential"); ``rtol``, ``atol`` (state
    units), ``max_steps``; ``adjoint`` ("auto", "forward", "reverse"). For both: ``kernel`` ("auto", "native",
    "jax").

    For simulators: ``allow_external`` lets functions and commands that the file names run, a command for at most
    ``external_timeout`` seconds; ``simulators`` gives functions in their place (see ``external.Outside``);
    ``outputs(p, data)`` computes all outputs {name: (*dims)} of one parameter set in JAX, as an emulator does.
    """

    name = "jax"
    methods = ("nuts", "pmmh", "smc")

    def compile(
        self,
        model: Model,
        facts: Facts,
        *,
        states: str = "auto",
        kernel: str = "auto",
        step: float | None = None,
        solver: str = "auto",
        rtol: float = 1e-6,
        atol: float = 1e-8,
        max_steps: int = 4_000,
        adjoint: Literal["auto", "forward", "reverse"] = "auto",
        allow_external: bool = False,
        simulators: Mapping[str, Any] | None = None,
        external_timeout: float = 3600.0,
        outputs: Callable[..., Any] | None = None,
        **unknown: Any,
    ) -> JaxProgram:
        from sbmlang.emit.program.treatment import with_step
        from sbmlang.external import Outside

        from .program import JaxProgram

        for state in model.states:
            if state.enforced and not model.is_stochastic:
                raise NotYet(error("E716", f"the jax backend cannot restrict the path to the bounds of '{state.name}'",
                                   *([state.span] if state.span else []),
                                   help="leave 'enforced' away: the results then report how often the path leaves its bounds"))  # fmt: skip
        known = ("states", "kernel", "step", "solver", "rtol", "atol", "max_steps", "adjoint",
                 "allow_external", "simulators", "external_timeout", "outputs")  # fmt: skip
        for name in unknown:
            raise SbmError(
                error(
                    "E708",
                    f"the jax backend has no option '{name}'",
                    help=did_you_mean(name, known) or f"options: {', '.join(known)}",
                )
            )
        if adjoint not in ("auto", "forward", "reverse"):
            raise SbmError(error("E708", f"adjoint '{adjoint}' is none of auto, forward, reverse"))
        if step is not None:
            model, facts = with_step(model, step)
        return JaxProgram.build(
            model, facts, solver=solver, rtol=rtol, atol=atol, max_steps=max_steps, adjoint=adjoint,
            states=states, kernel=kernel, outputs=outputs,
            outside=Outside.of(model, allow_external=allow_external, simulators=simulators,
                               external_timeout=external_timeout, computed=outputs is not None),
        )  # fmt: skip


__all__ = ["Backend"]

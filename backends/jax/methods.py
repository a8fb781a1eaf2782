"""The inference methods of a program, and which of them its engine can serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sbmlang.errors import NotYet, SbmError, did_you_mean, error

if TYPE_CHECKING:
    from .program import JaxProgram

METHODS = ("nuts", "pmmh", "smc")
BY_TORCH = ("flow", "laplace", "pathfinder")
LATER = ("npe", "diffusion")


def method_of(program: JaxProgram, method: str) -> Callable[..., Any]:
    """The function that runs ``method``: ``run(program, data, *, draws, chains, seed, progress, **options)``.

    Raises ``SbmError`` E707 for an unknown one, E758 for one that does not go with the engine.
    """
    by_particles = program.treatment is not None and program.treatment.engine.name == "particle"
    if method == "auto":
        method = "pmmh" if by_particles else "nuts"
    if method in LATER:
        raise NotYet(
            error("E707", f"method '{method}' is not in this version of sbmlang", help="use method='nuts'")
        )
    if method in BY_TORCH:
        raise SbmError(
            error("E707", f"the jax backend has no method '{method}'",
                  help=f"the torch backend has it: model.compile('torch'), sbm run --backend torch --method {method}")
        )  # fmt: skip
    if method not in METHODS:
        raise SbmError(
            error("E707", f"the jax backend has no method '{method}'",
                  help=did_you_mean(method, METHODS) or f"methods: {', '.join(METHODS)}")
        )  # fmt: skip
    if method == "nuts":
        return _nuts(program, by_particles)
    if not by_particles:
        raise SbmError(
            error("E758", f"method='{method}' runs on particle filters, and this program's engine is {_engine(program)}",
                  help="compile it with states='particle'")
        )  # fmt: skip
    if method == "pmmh":
        from .pmmh import run_pmmh

        return run_pmmh
    from .smc import run_smc

    return run_smc


def _nuts(program: JaxProgram, by_particles: bool) -> Callable[..., Any]:
    if by_particles:
        raise SbmError(
            error("E758", "method='nuts' needs the gradient of the likelihood, and a particle filter gives a noisy one without",
                  help=("method='pmmh' or 'smc' take it", "states='sampled' samples the path beside the parameters with NUTS"))
        )  # fmt: skip
    if program.treatment is not None and program.treatment.engine.name == "sampled":
        from .sampled_nuts import run_sampled

        return run_sampled
    from .inference import run_nuts

    return run_nuts


def no_density(program: JaxProgram) -> None:
    """Raises ``SbmError`` E758 where the program has no log density of the parameters alone."""
    if program.treatment is not None and not program.treatment.is_marginal:
        raise SbmError(
            error("E758", f"there is no log likelihood of the parameters alone: the engine is {_engine(program)}, "
                  "which does not integrate the path out",
                  help="infer() works; for a log likelihood compile with states='exact', 'forward' or 'gaussian' "
                  "where one of them fits")
        )  # fmt: skip


def _engine(program: JaxProgram) -> str:
    return "none, its states are not random" if program.treatment is None else program.treatment.label

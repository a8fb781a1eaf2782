"""The inference methods of the torch backend. To add one, add a row: nothing else lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from sbmlang.errors import SbmError, did_you_mean, error

if TYPE_CHECKING:
    from .program import TorchProgram

Run = Callable[..., Any]  # run(program, data, *, draws, chains, seed, progress, **options) -> DataTree


@dataclass(frozen=True)
class Method:
    """Where the functions of a method are, as ``"module:function"`` of this package; "" where there is none.

    ``parameters`` serves programs with a log density of the parameters alone (states integrated out, or not random),
    ``path`` those whose path is sampled beside them.
    """

    about: str
    parameters: str = ""
    path: str = ""


METHODS: dict[str, Method] = {
    "flow": Method(
        "variational inference by a normalizing flow on a Gaussian base",
        "flow:run_flow",
        "path_flow:run_path_flow",
    ),
    "laplace": Method(
        "the Gaussian at the mode, corrected by importance weights",
        "laplace:run_laplace",
        "path_flow:run_path_laplace",
    ),
    "pathfinder": Method(
        "Gaussians along the way to the mode (multi-path Pathfinder)", "pathfinder:run_pathfinder"
    ),
    "npe": Method(
        "a spline flow trained on simulations, corrected by the declared density",
        "amortized.infer:run_npe",
        "amortized.infer:run_npe",
    ),
    "diffusion": Method(
        "a conditional denoiser trained on simulations",
        "amortized.infer:run_diffusion",
        "amortized.infer:run_diffusion",
    ),
    "flow-matching": Method(
        "a velocity field trained on simulations",
        "amortized.infer:run_flow_matching",
        "amortized.infer:run_flow_matching",
    ),
    "dbuq": Method(
        "a direct generator for the data at hand, from weighted prior pairs",
        "amortized.dbuq:run_dbuq",
        "amortized.dbuq:run_dbuq",
    ),
}
DEFAULT = "flow"


def method_of(program: TorchProgram, method: str) -> Run:
    """The function that runs ``method`` ("auto": "flow") for this program.

    Raises ``SbmError`` E707 for an unknown one, E758 for one that does not go with the program's engine; what is
    returned raises E795 for an option it does not know.
    """
    name = DEFAULT if method == "auto" else method
    if name not in METHODS:
        raise SbmError(
            error("E707", f"the torch backend has no method '{method}'",
                  help=did_you_mean(method, METHODS) or f"methods: {', '.join(METHODS)}")
        )  # fmt: skip
    place = METHODS[name].path if samples_path(program) else METHODS[name].parameters
    if not place:
        raise _does_not_serve(program, name)
    module, function = place.split(":")
    return _with_known_options(getattr(import_module(f".{module}", __package__), function), name)


def _with_known_options(run: Run, method: str) -> Run:
    taken = signature(run).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        return run  # it looks at them itself
    known = [p.name for p in taken if p.kind is p.KEYWORD_ONLY]
    own = [n for n in known if n not in ("draws", "chains", "seed", "progress")]

    @wraps(run)
    def checked(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in known:
                raise SbmError(
                    error("E795", f"method='{method}' has no option '{name}'",
                          help=did_you_mean(name, own) or f"its options: {', '.join(own)}")
                )  # fmt: skip
        return run(*args, **options)

    return checked


def samples_path(program: TorchProgram) -> bool:
    """Whether the program has no log density of the parameters alone, because its path is sampled."""
    return program.treatment is not None and not program.treatment.is_marginal


def _does_not_serve(program: TorchProgram, name: str) -> SbmError:
    kind = "path" if samples_path(program) else "parameters"
    fitting = [n for n, m in METHODS.items() if getattr(m, kind)]
    about = "samples the path beside the parameters" if kind == "path" else "has no path to sample"
    return SbmError(
        error("E758", f"method='{name}' does not go with this program, which {about}",
              help=(f"methods that do: {', '.join(fitting)}" if fitting else "use the jax backend",
                    *(["states='exact' or 'gaussian', where one fits, integrates the path out"] if kind == "path" else [])))
    )  # fmt: skip

"""The PyTorch backend: the same programs in torch, and variational inference by normalizing flows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sbmlang.errors import NotYet, SbmError, did_you_mean, error

if TYPE_CHECKING:
    from pathlib import Path

    from sbmlang.ir import Model
    from sbmlang.ir.facts import Facts

    from .program import TorchProgram

KERNELS = ("auto", "native", "torch")
DTYPES = ("float64", "float32")


class Backend:
    """Compiles to torch.

    Options of ``compile``: ``states``, ``step``, ``solver``, ``rtol``, ``atol``, ``max_steps`` as for the JAX
    backend; ``kernel``: "native" computes paths and filters by native kernels, "torch" paths by torch itself
    (torchdiffeq), "auto" takes native ones where they are at hand and numbers are float64 on the processor;
    ``dtype`` "float64" or "float32"; ``device``, a name torch knows.

    For simulators: ``allow_external`` lets functions and commands that the file names run, a command for at most
    ``external_timeout`` seconds; ``simulators`` gives functions in their place (see ``external.Outside``);
    ``outputs(p, data)`` computes all outputs {name: (*dims)} of one parameter set in torch, as an emulator does.
    """

    name = "torch"

    @property
    def methods(self) -> tuple[str, ...]:
        from .methods import METHODS

        return tuple(METHODS)

    def read_network(self, path: str | Path) -> dict[str, Any]:
        """What the network in a file says of itself: model_text, model_path, model_name, method, simulations ...

        Raises ``SbmError`` E863: no such file, or not a network.
        """
        from .amortized.network import read

        state = read(path)
        return {**state["provenance"], "method": state["method"]}

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
        dtype: str = "float64",
        device: str = "cpu",
        allow_external: bool = False,
        simulators: Mapping[str, Any] | None = None,
        external_timeout: float = 3600.0,
        outputs: Callable[..., Any] | None = None,
        **unknown: Any,
    ) -> TorchProgram:
        from sbmlang.emit.program.treatment import with_step
        from sbmlang.external import Outside

        from .program import TorchProgram

        for state in model.states:
            if state.enforced and not model.is_stochastic:
                raise NotYet(error("E716", f"the torch backend cannot restrict the path to the bounds of '{state.name}'",
                                   *([state.span] if state.span else []),
                                   help="leave 'enforced' away: the results then report how often the path leaves its bounds"))  # fmt: skip
        known = ("states", "kernel", "step", "solver", "rtol", "atol", "max_steps", "dtype", "device",
                 "allow_external", "simulators", "external_timeout", "outputs")  # fmt: skip
        for name in unknown:
            raise SbmError(
                error("E708", f"the torch backend has no option '{name}'",
                      help=did_you_mean(name, known) or f"options: {', '.join(known)}")
            )  # fmt: skip
        for word, value, words in (("kernel", kernel, KERNELS), ("dtype", dtype, DTYPES)):
            if value not in words:
                raise SbmError(
                    error("E753" if word == "kernel" else "E791", f"there is no {word} '{value}'",
                          help=did_you_mean(value, words) or f"{word}s: {', '.join(words)}")
                )  # fmt: skip
        if step is not None:
            model, facts = with_step(model, step)
        return TorchProgram.build(
            model, facts, states=states, kernel=kernel, solver=solver, rtol=rtol, atol=atol, max_steps=max_steps,
            dtype=dtype, device=device, outputs=outputs,
            outside=Outside.of(model, allow_external=allow_external, simulators=simulators,
                               external_timeout=external_timeout, computed=outputs is not None),
        )  # fmt: skip


__all__ = ["Backend"]

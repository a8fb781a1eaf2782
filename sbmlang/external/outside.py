"""What may be run for a model, and running it: parameters in, outputs out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from sbmlang.data.dataset import Floats
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.external.answers import checked
from sbmlang.ir import Model, Simulator
from sbmlang.ir.facts import Facts

Simulate = Callable[[Mapping[str, Floats], np.random.Generator], Mapping[str, Any]]


@dataclass(frozen=True)
class Outside:
    """How the outputs of a model's simulators come about.

    ``allowed``: functions and commands that the file names may be run. ``given``: functions of the caller in the
    place of simulators, by their name, f(parameters, rng) -> outputs with parameters {name: (n, *dims)} and outputs
    {name: (n, *dims)} in declared units. ``timeout``: seconds that a command may take for one parameter set.
    ``computed``: the outputs come from the program itself, as with an emulator, and nothing is run.
    """

    allowed: bool = False
    given: Mapping[str, Simulate] = field(default_factory=dict)
    timeout: float = 3600.0
    computed: bool = False

    @staticmethod
    def of(
        model: Model,
        *,
        allow_external: bool = False,
        simulators: Mapping[str, Simulate] | None = None,
        external_timeout: float = 3600.0,
        computed: bool = False,
    ) -> Outside:
        """The options of ``compile``. Raises ``SbmError`` E841 for a simulator that the model does not have."""
        names = [s.name for s in model.simulators]
        for name in simulators or {}:
            if name not in names:
                known = f"its simulators: {', '.join(names)}" if names else "it has none"
                raise SbmError(
                    error(
                        "E841",
                        f"the model has no simulator '{name}'",
                        help=did_you_mean(name, names) or known,
                    )
                )
        return Outside(allow_external, dict(simulators or {}), external_timeout, computed)

    def refusal(self, model: Model) -> Diagnostic | None:
        """Why outputs at new parameters cannot be had; None where they can."""
        return next((why for s in model.simulators if (why := self._refused(model, s)) is not None), None)

    def require_likelihood(self, model: Model, facts: Facts) -> None:
        """Raises ``SbmError`` E844 where outputs from outside the file leave the model without a log likelihood."""
        known, exact = facts.likelihood, next((o for o in model.observations if o.exactly is not None), None)
        if known is None or (not self.computed and known) or (self.computed and exact is None):
            return
        why, span = known.reason, known.span
        if self.computed and exact is not None:
            why, span = (
                f"{exact.name} is observed as it is, and an emulator gives no density of that",
                exact.span,
            )
        raise SbmError(
            error("E844", f"the model has no log likelihood: {why}", *((span,) if span else ()),
                  help=("learn the posterior from simulations: sbm amortize, method='npe'",
                        "or learn a function that stands in for the simulator: sbm emulate, then method='nuts'"))
        )  # fmt: skip

    def at(self, model: Model, params: Mapping[str, Any], given: Mapping[str, Any] | None, draws: int, seed: int,
           *, must: bool = True) -> dict[str, Floats]:  # fmt: skip
        """Outputs {name: (draw, *dims)} for ``draws`` parameter sets: those ``given``, or new ones from ``outputs``.

        Nothing where the program computes them itself. Without ``must``, NaN where they cannot be had; else raises
        as ``outputs`` does.
        """
        if not model.simulators or self.computed:
            return {}
        if given is not None:
            return {o.name: np.asarray(given[o.name], dtype=np.float64) for o in model.outputs}
        if must or self.refusal(model) is None:
            return self.outputs(model, params, seed)
        sizes = {d.name: d.size or 0 for d in model.dims.values()}
        return {o.name: np.full((draws, *(sizes[d] for d in o.dims)), np.nan) for o in model.outputs}

    @staticmethod
    def came_back(simulated: Mapping[str, Any], ok: Any) -> Any:
        """``ok`` (draw,) without the draws whose simulator gave NaN."""
        whole = [np.isfinite(np.asarray(y)).reshape(len(ok), -1).all(axis=1) for y in simulated.values()]
        return np.logical_and.reduce([np.asarray(ok, bool), *whole])

    def silence(self, model: Model) -> tuple[Diagnostic, ...]:
        """W843: results are without predictive draws, because the simulator cannot be run."""
        why = None if self.computed else self.refusal(model)
        if why is None:
            return ()
        return (error("W843", f"there are no predictive draws: {why.message}", *why.labels, help=why.help),)

    def outputs(self, model: Model, params: Mapping[str, Any], seed: int = 0) -> dict[str, Floats]:
        """The outputs {name: (n, *dims)} of all simulators at parameters {name: (n, *dims)}, in declared units.

        Random simulators get random numbers from ``seed``. Raises ``SbmError``: E840 (not allowed), E841 (there is no
        such function or program), E842 (it failed), E843 (its answer does not fit), E847 (a table, which cannot be
        asked anew).
        """
        if (why := self.refusal(model)) is not None:
            raise SbmError(why)
        given = {n: np.asarray(v, dtype=np.float64) for n, v in params.items()}
        streams = np.random.SeedSequence(seed).spawn(len(model.simulators))
        found: dict[str, Floats] = {}
        for simulator, stream in zip(model.simulators, streams, strict=True):
            own = {n: given[n] for n in simulator.inputs}
            rng = np.random.default_rng(stream)
            found |= checked(model, simulator, self._run(model, simulator, own, rng), own)
        return found

    def _run(
        self, model: Model, simulator: Simulator, params: Mapping[str, Floats], rng: np.random.Generator
    ) -> Any:
        from sbmlang.external import command, function

        if simulator.name in self.given:
            return function.called(simulator, self.given[simulator.name], params, rng)
        folder = folder_of(model)
        if simulator.kind == "command":
            return command.run(model, simulator, folder, params, rng, self.timeout)
        return function.called(simulator, function.loaded(simulator, folder), params, rng)

    def _refused(self, model: Model, simulator: Simulator) -> Diagnostic | None:
        spans = (simulator.span,) if simulator.span else ()
        if simulator.name in self.given:
            return None
        match simulator.kind:
            case "table":
                return error(
                    "E847", f"simulator '{simulator.name}' is the table '{simulator.source}': its outputs are known for the "
                    "parameters in it only", *spans,
                    help=("learn the posterior from the runs in it: sbm amortize",
                          "learn a function that stands in for it: sbm emulate",
                          f"run the model itself: simulators={{'{simulator.name}': FUNCTION}} in Python"),
                )  # fmt: skip
            case "python":
                what = f"the function in '{folder_of(model) / simulator.source}'"
            case "command":
                what = (
                    f"the command `{simulator.source}` in '{folder_of(model)}', once for every parameter set"
                )
            case _:
                assert_never(simulator.kind)
        if self.allowed:
            return None
        return error(
            "E840", f"simulator '{simulator.name}' would run {what}, and nothing outside the file is run unasked",
            *spans,
            help=("look at what it does; then allow it: --allow-external (allow_external=True in Python)",
                  f"or give a function of your own: simulators={{'{simulator.name}': FUNCTION}}"),
        )  # fmt: skip


def folder_of(model: Model) -> Path:
    """The folder of the model file, from which its sources are named; the working one for a text."""
    path = Path(model.path)
    return path.parent if path.is_file() else Path()

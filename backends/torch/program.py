"""A compiled program: the generated module with the Python surface around it."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sbmlang.data.dataset import Dataset
from sbmlang.data.empty import empty
from sbmlang.data.origin import path_made
from sbmlang.data.outputs import observed_outputs
from sbmlang.data.schedule import path_steps, schedule
from sbmlang.emit.program.choice import choose_method, with_stiffness
from sbmlang.emit.program.context import Settings
from sbmlang.emit.program.treatment import Treatment, treatment
from sbmlang.errors import Diagnostic, SbmError, did_you_mean, error
from sbmlang.external import Outside
from sbmlang.ir import Model, Ode, Sde, Stage
from sbmlang.ir.facts import Facts
from sbmlang.passes.discretise import discretise
from sbmlang.passes.gaussian import gaussian
from sbmlang.passes.pipeline import LIMIT, places
from sbmlang.protocols import ParameterInfo, ProgressCallback

from . import density
from .arrays import Precision, mapped
from .failure import explain_filter, explain_path
from .forcing import points
from .generate import Generator
from .marginal import Marginal
from .methods import method_of, samples_path

if TYPE_CHECKING:
    from pathlib import Path

    from xarray import DataTree

    from .amortized.network import Amortized

Params = Mapping[str, Any]
_serial = count(1)
BATCH = 250  # draws that are pushed through the path together


@dataclass(frozen=True, eq=False)
class TorchProgram:
    """Functions of parameters and data, compiled from one model. See ``sbmlang.protocols.Program``.

    Densities take any leading axes: ``log_density`` of u (..., D) is (...). Parameters are dicts of tensors with the
    same leading axes before their dims.
    """

    model: Model
    facts: Facts
    settings: Settings
    source: str
    functions: SimpleNamespace
    precision: Precision
    treatment: Treatment | None = None
    marginal: Marginal | None = None
    outside: Outside = field(default_factory=Outside)

    @staticmethod
    def build(model: Model, facts: Facts, *, states: str = "auto", kernel: str = "auto", solver: str = "auto",
              rtol: float = 1e-6, atol: float = 1e-8, max_steps: int = 4_000, dtype: str = "float64",
              device: str = "cpu", outside: Outside | None = None,
              outputs: Callable[..., Any] | None = None) -> TorchProgram:  # fmt: skip
        """Compiles; see ``Backend.compile`` for the options."""
        precision = Precision(getattr(torch, dtype), device)
        chosen = treatment(model, facts, states)
        if model.states and not isinstance(model.dynamics, Ode):
            return _stepped(model, facts, chosen, kernel, precision)
        from .native_ode import native_path

        facts = with_stiffness(model, facts)
        method, reason = choose_method(model, facts, solver)
        settings = Settings(method, rtol, atol, max_steps, "reverse", reason, "torch")
        native, why = native_path(_writer(model, facts, settings, None, precision), kernel)
        settings = replace(settings, kernel="torch" if native is None else "native", kernel_reason=why)
        given: dict[str, Any] = {} if native is None else {"NATIVE": native}
        if outputs is not None:
            given["OUTPUTS"] = outputs
        found = _loaded(model, facts, settings, None, None, precision, given)
        return replace(found, outside=outside or Outside(computed=outputs is not None))

    @property
    def solver(self) -> str:
        """explicit, implicit, exponential, or exponential pieces; for stochastic states the engine, and what
        code runs it."""
        if self.treatment is None:
            return self.settings.method
        return self.treatment.label + (f", {self.marginal.label}" if self.marginal else "")

    # --- parameters ----------------------------------------------------------------------------------

    @cached_property
    def parameters(self) -> tuple[ParameterInfo, ...]:
        known = {p.name: p for p in self.model.parameters}

        def end(value: Any, p: Any) -> float | str | None:
            return str(p) if callable(value) else value

        return tuple(
            ParameterInfo(k.name, k.dims, str(known[k.name].unit), known[k.name].doc,
                          end(k.lower, known[k.name].lower), end(k.upper, known[k.name].upper), k.bijection)
            for k in self.functions.PARAMETERS
        )  # fmt: skip

    def dimension(self, data: Dataset) -> int:
        """Length of the unconstrained vector."""
        return density.dimension(self.functions.PARAMETERS, self.arrays(data))

    def arrays(self, data: Dataset | Mapping[str, Any]) -> Any:
        """What the generated functions take as ``data``."""
        if not isinstance(data, Dataset):
            return data
        if data not in self._seen:
            self._seen[data] = self._arrays(data)
        return self._seen[data]

    @cached_property
    def _seen(self) -> WeakKeyDictionary[Dataset, Any]:
        return WeakKeyDictionary()

    def _arrays(self, data: Dataset) -> Any:
        kinds = {f.name: f.interpolation for f in self.model.forcings}
        arrays = data.arrays()
        series = arrays.pop("forcings")
        arrays = self._tensors(arrays) | {
            "forcings": {
                n: points(kinds[n], s["time"], s["value"], self.precision) for n, s in series.items()
            }
        }
        if self.facts.likelihood and not self.outside.computed and _is_complete(self.model, data):
            arrays["outputs"] = self._tensors(observed_outputs(self.model, data))
        if self.facts.step is None:
            return arrays
        steps = path_steps(self.facts.step, self.model, data)
        arrays["steps"] = self._tensors(
            {"time": steps.forcing_time, "width": steps.width, "done": steps.done}
        )
        if self.marginal is not None:
            arrays |= self.marginal.tables(schedule(self.facts.step, self.model, data), data)
        return arrays

    def _tensors(self, tree: Any) -> Any:
        """Arrays as tensors: whole numbers stay whole, the others get the program's precision."""
        if isinstance(tree, Mapping):
            return {n: self._tensors(v) for n, v in tree.items()}
        whole = np.issubdtype(np.asarray(tree).dtype, np.integer)
        return (
            torch.as_tensor(np.array(tree), device=self.precision.device)
            if whole
            else self.precision.number(tree)
        )

    def _with_path(self, data: Dataset) -> Any:
        """``arrays`` with what drawing paths given the rows takes besides."""
        assert self.marginal is not None
        assert self.facts.step is not None
        plan = schedule(self.facts.step, self.model, data)
        return self.arrays(data) | self.marginal.traced_tables(plan, data)

    def constrain(self, u: Any, data: Dataset) -> dict[str, Tensor]:
        """Parameters in declared units, each (..., *dims), from unconstrained vectors (..., dimension)."""
        arrays = self.arrays(data)
        p: dict[str, Tensor] = _batched(
            lambda u: self.functions.constrain(u, arrays)[0], self.precision.number(u)
        )
        return p

    def unconstrain(self, params: Params, data: Dataset) -> Tensor:
        """The unconstrained vectors (..., dimension) of parameters."""
        arrays = self.arrays(data)
        return self._of_params(lambda p: self.functions.unconstrain(p, arrays), params)

    def _complete(self, params: Params) -> dict[str, Any]:
        names = [k.name for k in self.functions.PARAMETERS]
        for name in params:
            if name not in names:
                raise SbmError(
                    error("E709", f"the model has no parameter '{name}'", help=did_you_mean(name, names))
                )
        missing = [n for n in names if n not in params]
        if missing:
            raise SbmError(error("E709", f"no value for parameter{'s' * (len(missing) > 1)} {', '.join(missing)}",
                                 help="give a value for each parameter"))  # fmt: skip
        return {n: self.precision.number(params[n]) for n in names}

    def _of_params(self, function: Callable[[Any], Any], params: Params) -> Any:
        """``function`` of one parameter set, of parameters (..., *dims) by name."""
        p = self._complete(params)
        if not p:
            return function(p)
        ranks = {k.name: len(k.dims) for k in self.functions.PARAMETERS}
        lead = torch.broadcast_shapes(*(v.shape[: v.ndim - ranks[n]] for n, v in p.items()))
        if not lead:
            return function(p)
        flat = {
            n: v.expand(*lead, *v.shape[v.ndim - ranks[n] :]).reshape(-1, *v.shape[v.ndim - ranks[n] :])
            for n, v in p.items()
        }
        found = mapped(function)(flat)
        return found.reshape(*lead, *found.shape[1:])

    # --- densities -----------------------------------------------------------------------------------

    def log_prior(self, params: Params, data: Dataset | None = None) -> Tensor:
        """Log prior density with respect to the natural parameters, in declared units: (...).

        ``data`` is needed only where dims or covariates of priors come from it.
        """
        arrays = self._for_prior(data)
        return self._of_params(lambda p: self.functions.log_prior(p, arrays), params)

    def log_likelihood(self, params: Params, data: Dataset) -> Tensor:
        """Log likelihood of all rows: (...), -inf where the path cannot be solved (see ``explain``).

        Stochastic states are integrated out; raises ``SbmError`` E758 where the engine does not do that.
        """
        self._require_density(data)
        arrays = self.arrays(data)
        return self._of_params(lambda p: self.functions.log_likelihood(p, arrays), params)

    def log_density(self, u: Any, data: Dataset) -> Tensor:
        """Log posterior density (...) of unconstrained vectors u (..., dimension), Jacobian included.

        Differentiable once in u; all leading axes go through the path, or the native kernel, together.
        """
        self._require_density(data)
        arrays = self.arrays(data)
        total: Tensor = _batched(lambda u: self.functions.log_density(u, arrays), self.precision.number(u))
        return total

    def value_and_grad(self, data: Dataset) -> Callable[[Any], tuple[Tensor, Tensor]]:
        """``log_density`` (...) with its gradient (..., dimension)."""
        self._require_density(data)

        def both(u: Any) -> tuple[Tensor, Tensor]:
            at = self.precision.number(u).detach().requires_grad_()
            value = self.log_density(at, data)
            (gradient,) = torch.autograd.grad(value.sum(), at)
            return value.detach(), gradient

        return both

    def _require_density(self, data: Dataset | Mapping[str, Any]) -> None:
        self.outside.require_likelihood(self.model, self.facts)
        if self.model.simulators and not self.outside.computed and isinstance(data, Dataset):
            observed_outputs(self.model, data)
        if samples_path(self):
            assert self.treatment is not None
            raise SbmError(
                error("E758", f"there is no log likelihood of the parameters alone: the engine is {self.treatment.label}, "
                      "which does not integrate the path out",
                      help="infer() works; for a log likelihood compile with states='exact', 'forward' or 'gaussian' "
                      "where one of them fits")
            )  # fmt: skip

    def notes(self, data: Dataset) -> tuple[Diagnostic, ...]:
        """What results must say about the program and how data lie on the path's steps."""
        if self.model.simulators:
            return self.outside.silence(self.model)
        if self.treatment is None or self.facts.step is None:
            return ()
        return (*self.treatment.notes, *path_steps(self.facts.step, self.model, data).notes)

    def explain(self, params: Params, data: Dataset) -> SbmError | None:
        """Why the density at one parameter set is not finite: where the filter, or the path, breaks down; None if it
        does not."""
        p = self._complete(params)
        if self.marginal is not None:
            return explain_filter(self, p, data)
        return None if self.model.is_stochastic or not self.model.states else explain_path(self, p, data)

    def _for_prior(self, data: Dataset | None) -> Any:
        if data is not None:
            return self.arrays(data)
        sizes = {d.name: d.size for d in self.model.dims.values()}
        used = {d for p in self.model.parameters for d in p.dims}
        if any(sizes[d] is None for d in used) or self.model.covariates:
            raise SbmError(error("E710", "the priors depend on the data (an index or a covariate), but none is given",
                                 help="pass data: program.log_prior(params, data)"))  # fmt: skip
        return {"members": {d: torch.arange(n) for d, n in sizes.items() if n is not None}, "covariates": {}}

    # --- simulation ----------------------------------------------------------------------------------

    def prior_draws(self, data: Dataset, draws: int, seed: int) -> dict[str, Tensor]:
        """Parameters drawn from the prior: each (draw, *dims)."""
        arrays = self.arrays(data)

        def one(_: Tensor) -> dict[str, Tensor]:
            p: dict[str, Tensor] = self.functions.parameters(arrays, lambda site, law: law.sample())
            return p

        with self._seeded(seed):
            found: dict[str, Tensor] = mapped(one)(torch.zeros(draws))
            return found

    def simulate(
        self, data: Dataset | None = None, *, draws: int = 100, params: Params | None = None, seed: int = 0
    ) -> DataTree:
        """States, reports and synthetic observations.

        ``data`` gives the times, members, forcings and covariates (by default the model's own time range
        with a row per member and time). ``params`` fixes some or all parameters: each (*dims), or (draw, *dims);
        the others are drawn from the prior. The result has groups ``prior`` (parameters, states, reports)
        and ``prior_predictive``; with simulators their outputs in ``prior`` too. Raises ``SbmError`` E720 for a draw
        whose path cannot be solved, E840 to E843 and E847 for simulators (see ``outputs``).
        """
        from sbmlang.results import assemble

        data = data or empty(self.model, observe=True)
        p = self.prior_draws(data, draws, seed)
        for name, value in (params or {}).items():
            if name not in p:
                raise SbmError(
                    error("E709", f"the model has no parameter '{name}'", help=did_you_mean(name, p))
                )
            p[name] = self.precision.number(value).expand(p[name].shape)
        out = self.predict(p, data, seed=seed + 1, draws=draws)
        if not self.model.simulators:
            self._require_solved(out["ok"], p, data)
        once = {k: v for k, v in out["reports"].items() if not self._along_time(k)}
        along = {k: v for k, v in out["reports"].items() if self._along_time(k)}
        return assemble(
            self.model, self.facts, data,
            prior={**as_numpy(p), **out["outputs"], **once, **out["states"], **along},
            prior_predictive=out["observations"],
            attrs=self._attributes("simulate", seed, {"draws": draws}) | {"path_made": path_made(self.model) or ""},
        )  # fmt: skip

    def predict(
        self,
        params: Params,
        data: Dataset,
        *,
        seed: int = 0,
        states: bool = True,
        draws: int = 1,
        given_rows: bool = False,
        observe: Dataset | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """States, reports and drawn observations for many draws: ``params`` (draw, *dims) each.

        Random paths are drawn from the model, or with ``given_rows`` from their law given the rows of ``data``
        (where the program integrates states out). Observations are drawn at the rows of ``data``, or at those of
        ``observe``, a data set with the same grid: rows to be predicted from the others.

        Simulators are run for all draws at once, unless ``outputs`` {name: (draw, *dims)} gives what they give.

        Returns ``{"states": {name: (draw, time, *dims)}, "reports": ..., "observations": {channel: (draw,
        row)}, "outputs": {name: (draw, *dims)}, "ok": (draw,)}``, numpy arrays; a draw with ok False has NaN paths or outputs.
        ``draws`` counts where no parameter does. Raises ``SbmError`` as ``outputs`` does.
        """
        p = {n: self.precision.number(v) for n, v in params.items()}
        draws = len(next(iter(p.values()))) if p else draws
        simulated = self.outside.at(self.model, as_numpy(p), outputs, draws, seed)
        found = self._predict(p, simulated, data, seed, states, draws, given_rows, observe)
        return found | {"ok": self.outside.came_back(simulated, found["ok"])}

    def predictive(
        self, params: Params, data: Dataset, *, seed: int = 0, states: bool = True
    ) -> dict[str, Any]:
        """``predict`` for results, without observations where a simulator cannot be run (see ``notes``)."""
        p = {n: self.precision.number(v) for n, v in params.items()}
        draws = len(next(iter(p.values())))
        simulated = self.outside.at(self.model, as_numpy(p), None, draws, seed, must=False)
        found = self._predict(p, simulated, data, seed, states, draws, False, None)
        if not self.can_predict:
            return found | {"observations": {}}
        return found | {"ok": self.outside.came_back(simulated, found["ok"])}

    def outputs(self, params: Params, *, seed: int = 0) -> dict[str, np.ndarray]:
        """What the model's simulators give for parameters (n, *dims) by name: {name: (n, *dims)}, declared units.

        Raises ``SbmError``: E840 (it may not be run), E841 (it is not there), E842 (it failed), E843 (its answer does
        not fit), E847 (it is a table).
        """
        return self.outside.outputs(self.model, {n: np.asarray(v) for n, v in params.items()}, seed)

    @property
    def can_predict(self) -> bool:
        """Whether observations can be drawn at new parameters: always, but for simulators that cannot be run."""
        return self.outside.computed or self.outside.refusal(self.model) is None

    def _predict(self, p: Any, simulated: Any, data: Dataset, seed: int, states: bool, draws: int, given_rows: bool,
                 observe: Dataset | None) -> dict[str, Any]:  # fmt: skip
        arrays = self._with_path(data) if given_rows else self.arrays(data)
        rows = arrays if observe is None else self.arrays(observe)

        def one(_: Tensor, own: Any, numbers: Tensor) -> dict[str, Any]:
            here = _with_outputs(arrays, own["outputs"])
            c = self.functions.values(own["params"], here)
            s, ok, _ = self._path(c, here, numbers if given_rows else None)
            drawn, derived = self.given_path(c, s, rows)
            return {"states": s if states else {}, "reports": derived, "observations": drawn, "ok": ok}

        own = {"params": p, "outputs": self._tensors(simulated)}
        return self._of_draws(one, own, data, draws, seed, given_rows) | {"outputs": simulated}

    def posterior(self, u: Any, data: Dataset, *, seed: int = 0, states: bool = True) -> dict[str, Any]:
        """Everything that results tell about draws u (draw, dimension), numpy arrays.

        ``{"parameters": {name: (draw, *dims)}, "rows": {channel: (draw, row)}, ...}``, the rest as in ``predict``.
        Random paths are draws given the rows, and rows then the log density of each row given those before it;
        otherwise that of each row given the path. What is observed without an error has no rows: the density of its
        simulator is one number. Simulators are run anew for the drawn observations, which are left out where
        they cannot be.
        """
        u = self.precision.number(u).detach()
        simulated = self._simulated(u, data, seed)
        exact = {o.name for o in self.model.observations if o.exactly is not None}
        given_rows = self.marginal is not None
        arrays = self._with_path(data) if given_rows else self.arrays(data)
        f = self.functions

        def one(_: Tensor, own: Any, numbers: Tensor) -> dict[str, Any]:
            p, _ = f.constrain(own["u"], arrays)
            c = f.values(p, _with_outputs(arrays, own["outputs"]))
            s, ok, rows = self._path(c, arrays, numbers if given_rows else None)
            if rows is None and not self._rows_have_density:
                rows = {}
            if rows is None:
                laws = {n: law for n, law in f.laws().items() if n not in exact}
                seen = c if not own["outputs"] or "outputs" not in arrays else f.values(p, arrays)
                rows = density.pointwise(laws, seen, s, arrays)
            drawn, derived = self.given_path(c, s, arrays)
            drawn = drawn if self.can_predict else {}
            return {"parameters": p, "rows": {n: r for n, r in rows.items() if len(r)}, "reports": derived,
                    "observations": drawn, "ok": ok, "states": s if states else {}}  # fmt: skip

        return self._of_draws(one, {"u": u, "outputs": simulated}, data, len(u), seed, given_rows)

    @property
    def _rows_have_density(self) -> bool:
        """Whether rows have a density given parameters and outputs: not given random outputs, or none at all."""
        random = any(s.random for s in self.model.simulators)
        known = self.outside.computed or bool(self.facts.likelihood) or (self.can_predict and not random)
        return not self.model.simulators or known

    def _simulated(self, u: Tensor, data: Dataset, seed: int) -> Any:
        """New outputs of the simulators at draws u (draw, dimension), NaN where they cannot be had."""
        if not self.model.simulators:
            return {}
        p = as_numpy(self.constrain(u, data))
        return self._tensors(self.outside.at(self.model, p, None, len(u), seed, must=False))

    def _path(self, c: Any, arrays: Any, numbers: Tensor | None) -> tuple[Any, Tensor, Any]:
        """The states by name, whether they are all finite, and the rows' predictive densities where ``numbers`` for
        a path given the rows are given."""
        f = self.functions
        if not self.model.states:
            return {}, torch.tensor(True, device=self.precision.device), None
        if numbers is not None:
            s, rows = f.posterior_path(c, arrays, numbers)
            return s, torch.stack([torch.isfinite(x).all() for x in s.values()]).all(), rows
        if self.model.is_stochastic:
            return *f.path(c, arrays, lambda law: law.sample()), None
        return *f.path(c, arrays), None

    def _of_draws(self, one: Any, own: Any, data: Dataset, draws: int, seed: int, given_rows: bool) -> Any:
        """``one(_, own draw, random numbers)`` of all draws in batches, as numpy arrays with the draws first."""
        parts = []
        with torch.no_grad(), self._seeded(seed):
            for start in range(0, draws, BATCH):
                here = slice(start, min(start + BATCH, draws))
                size = here.stop - here.start
                piece = _sliced(own, here)
                numbers = self._path_numbers(size, data) if given_rows else torch.zeros(size)
                parts.append(mapped(one)(torch.zeros(size), piece, numbers))
        return _joined(parts)

    def _path_numbers(self, size: int, data: Dataset) -> Tensor:
        assert self.marginal is not None
        assert self.facts.step is not None
        members = int(np.prod([data.sizes[d] for d in self.facts.step.batch], dtype=int))
        shape = (size, *self.marginal.shape(members, len(data.grid)))
        make = torch.rand if self.marginal.is_finite else torch.randn
        return make(shape, dtype=self.precision.dtype, device=self.precision.device)

    def _seeded(self, seed: int) -> Any:
        """A block whose random numbers come from ``seed``, the others being undisturbed."""
        return _Seeded(seed, self.precision.device)

    @cached_property
    def laws(self) -> dict[str, Callable[..., Any]]:
        """The generated law of each channel's rows: ``law(values, states, data)``."""
        found: dict[str, Callable[..., Any]] = self.functions.laws()
        return found

    @cached_property
    def batch(self) -> tuple[str, ...]:
        """Dims whose members have paths of their own."""
        return self.writer.batch

    @cached_property
    def writer(self) -> Generator:
        """What wrote the program."""
        return _writer(self.model, self.facts, self.settings, self.treatment, self.precision)

    def given_path(self, c: Any, s: Any, arrays: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Observations drawn given the states at the grid, {channel: (row,)}, and reports."""
        drawn = {}
        for name, observe in self.laws.items():
            count = arrays["channels"][name]["at"].shape
            if count[0]:
                law = observe(c, s, arrays)
                fresh = law.sample(() if law.batch_shape else count).expand(count)
                if self.treatment is not None and not self.treatment.is_exact:
                    # A Gaussian path can leave the support that the law's arguments need.
                    fresh = torch.where(torch.isfinite(fresh) & law.support.check(fresh), fresh, torch.nan)
                drawn[name] = fresh
        return drawn, self.functions.reports(c, s, arrays) if self.model.reports else {}

    @cached_property
    def whole(self) -> TorchProgram:
        """The same program with every state in its path, sinks too, where the filter stays of its kind."""
        if self.marginal is None or self.facts.gaussian is None:
            return self
        step = discretise(self.model, "all")
        if len(step.states) == len(self.facts.gaussian.step.states):
            return self
        form = gaussian(step, places(self.model)).model if len(step.states) <= LIMIT else None
        if form is None or form.kind != self.facts.gaussian.kind:
            return self
        facts = replace(self.facts, step=step, gaussian=form)
        return _stepped(self.model, facts, self.treatment, self.marginal.wish, self.precision)

    def _require_solved(self, ok: Any, params: Params, data: Dataset) -> None:
        failed = np.flatnonzero(~np.asarray(ok))
        if len(failed):
            one = {n: v[int(failed[0])] for n, v in params.items()}
            why = None if self.model.is_stochastic else explain_path(self, one, data)
            about = error(
                "E720", f"the path of draw {failed[0]} cannot be solved (and {len(failed) - 1} more draws)"
            )
            raise SbmError((about, *(why.diagnostics if why else ())))

    def _along_time(self, report: str) -> bool:
        found = next(r for r in self.model.reports if r.name == report)
        return (found.stage or Stage.ONCE) > Stage.PARAMETERS

    # --- inference -----------------------------------------------------------------------------------

    def infer(self, data: Dataset, *, method: str = "auto", draws: int = 1000, chains: int = 4, seed: int = 0,
              progress: ProgressCallback | None = None, **options: Any) -> DataTree:  # fmt: skip
        """Posterior draws as a DataTree (see ``sbmlang.results``).

        Methods are those of ``methods.METHODS``. Raises ``SbmError`` E707 for an unknown method, E758 for one that
        does not go with the engine.
        """
        run = method_of(self, method)
        return run(self, data, draws=draws, chains=chains, seed=seed, progress=progress, **options)

    def amortize(self, method: str = "npe", **options: Any) -> Amortized:
        """A network for the posterior of any data set of some designs; see ``amortized.amortize.amortize``."""
        from .amortized.amortize import amortize

        return amortize(self, method=method, **options)

    def load_network(self, path: str | Path) -> Amortized:
        """A network that ``save`` wrote. Raises ``SbmError`` E863, E864 (it belongs to another model)."""
        from .amortized.network import Amortized

        return Amortized.load(path, self)

    def _attributes(self, method: str, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "backend": "torch", "method": method, "seed": seed, "options": dict(options),
            "solver": {"method": self.settings.method, "rtol": self.settings.rtol, "atol": self.settings.atol,
                       "reason": self.settings.reason, "kernel": self.settings.kernel,
                       "kernel_reason": self.settings.kernel_reason},
            **({"engine": self.treatment.attributes()} if self.treatment else {}),
            "versions": {"torch": torch.__version__},
        }  # fmt: skip


class _Seeded:
    """Random numbers of torch from a seed, inside the block only."""

    def __init__(self, seed: int, device: str) -> None:
        where = torch.device(device)
        self._fork = torch.random.fork_rng([where] if where.type == "cuda" else [])
        self._seed = seed

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *problem: Any) -> None:
        self._fork.__exit__(*problem)


def _batched(function: Callable[[Tensor], Any], u: Tensor) -> Any:
    """``function`` of one vector, of u (..., n): tensors (...) or dicts of them."""
    lead = u.shape[:-1]
    if not lead:
        return function(u)
    found = mapped(function)(u.reshape(-1, u.shape[-1]))
    if isinstance(found, dict):
        return {n: v.reshape(*lead, *v.shape[1:]) for n, v in found.items()}
    return found.reshape(*lead, *found.shape[1:])


def _sliced(own: Any, here: slice) -> Any:
    """A slice of draws out of nested dicts of tensors."""
    return {n: _sliced(v, here) for n, v in own.items()} if isinstance(own, Mapping) else own[here]


def _with_outputs(arrays: Any, simulated: Any) -> Any:
    return arrays | {"outputs": simulated} if simulated else arrays


def _is_complete(model: Model, data: Dataset) -> bool:
    """Whether every output that the density needs is there."""
    try:
        observed_outputs(model, data)
    except SbmError:
        return False
    return True


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {n: _joined([p[n] for p in parts]) for n in parts[0]}
    return np.concatenate([p.cpu().numpy() for p in parts])


def as_numpy(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors by name as numpy arrays."""
    return {name: v.detach().cpu().numpy() for name, v in values.items()}


def _writer(model: Model, facts: Facts, settings: Settings, chosen: Treatment | None,
            precision: Precision) -> Generator:  # fmt: skip
    dtype = str(precision.dtype).removeprefix("torch.")
    return Generator(model, facts, settings, treatment=chosen, dtype=dtype, device=precision.device)


def _stepped(model: Model, facts: Facts, chosen: Treatment | None, kernel: str,
             precision: Precision) -> TorchProgram:  # fmt: skip
    """The program of a model whose path goes in steps."""
    scheme = model.time.scheme or ("euler" if isinstance(model.dynamics, Sde) else "map")
    settings = Settings("steps", 0.0, 0.0, 0, "reverse", f"scheme {scheme}", "torch")
    marginal = Marginal(model, facts, chosen, kernel) if chosen is not None and chosen.is_marginal else None
    given: dict[str, Any] = {}
    if marginal is not None:
        given = {"NATIVE": marginal.log_marginal, "NATIVE_PATH": marginal.posterior_path}
        settings = replace(settings, kernel="native")
    return _loaded(model, facts, settings, chosen, marginal, precision, given)


def _loaded(model: Model, facts: Facts, settings: Settings, chosen: Treatment | None, marginal: Marginal | None,
            precision: Precision, given: Mapping[str, Any]) -> TorchProgram:  # fmt: skip
    """The program whose text tracebacks and debuggers can show; ``given`` are names set in it."""
    text = str(_writer(model, facts, settings, chosen, precision).module())
    filename = f"<sbmlang:{model.name}:torch:{next(_serial)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": f"sbmlang_program_{model.name}"}
    exec(compile(text, filename, "exec"), namespace)
    namespace |= given
    return TorchProgram(
        model, facts, settings, text, SimpleNamespace(**namespace), precision, chosen, marginal
    )

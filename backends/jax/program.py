"""A compiled program: the generated module with the Python surface around it."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers

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

from . import FORWARD_LIMIT, density
from .compiled import Compiled, as_numpy, in_batches
from .failure import explain
from .filter_failure import explain_filter
from .forcing import points
from .generate import Generator
from .marginal import Marginal
from .methods import method_of, no_density
from .native_ode import native_path
from .nodes import nodes
from .nuts import prepare_devices
from .stochastic import explain_step, require_bounds

if TYPE_CHECKING:
    from xarray import DataTree

jax.config.update("jax_enable_x64", True)
prepare_devices(4)  # before the first computation, so that chains can run side by side

Params = Mapping[str, Any]
_serial = count(1)
STATE_LIMIT = 40_000_000  # numbers; longer posterior paths are left out of the results unless asked for


@dataclass(frozen=True)
class JaxProgram:
    """Pure functions of parameters and data, compiled from one model. See ``sbmlang.protocols.Program``."""

    model: Model
    facts: Facts
    settings: Settings
    source: str
    functions: SimpleNamespace
    treatment: Treatment | None = None
    marginal: Marginal | None = None
    outside: Outside = field(default_factory=Outside)

    @staticmethod
    def build(model: Model, facts: Facts, *, solver: str, rtol: float, atol: float, max_steps: int,
              adjoint: str, states: str = "auto", kernel: str = "auto", outside: Outside | None = None,
              outputs: Callable[..., Any] | None = None) -> JaxProgram:  # fmt: skip
        chosen = treatment(model, facts, states)
        if model.states and not isinstance(model.dynamics, Ode):
            return _stepped(model, facts, chosen, kernel)
        facts = with_stiffness(model, facts)
        method, reason = choose_method(model, facts, solver)
        settings = Settings(method, rtol, atol, max_steps, "forward", reason, "jax")
        generator = Generator(model, facts, settings)
        size = len(generator.theta) if model.states else 0
        mode: Any = ("forward" if size <= FORWARD_LIMIT else "reverse") if adjoint == "auto" else adjoint
        native, why = native_path(generator, kernel, adjoint)
        settings = replace(
            settings, adjoint=mode, kernel="jax" if native is None else "native", kernel_reason=why
        )
        text = str(Generator(model, facts, settings).module())
        given: dict[str, Any] = {} if native is None else {"NATIVE": native}
        if outputs is not None:
            given["OUTPUTS"] = outputs
        outside = outside or Outside(computed=outputs is not None)
        return JaxProgram(model, facts, settings, text, _loaded(text, model.name, given), outside=outside)

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
        arrays = data.arrays()
        kinds = {f.name: f.interpolation for f in self.model.forcings}
        arrays |= {
            "grid": jnp.asarray(arrays["grid"], float),
            "covariates": {n: jnp.asarray(v, float) for n, v in arrays["covariates"].items()},
            "forcings": {
                n: jax.tree.map(jnp.asarray, points(kinds[n], s["time"], s["value"]))
                for n, s in arrays["forcings"].items()
            },
        }
        if self.facts.likelihood and not self.outside.computed and _is_complete(self.model, data):
            arrays["outputs"] = {n: jnp.asarray(v) for n, v in observed_outputs(self.model, data).items()}
        if self.facts.step is None:
            return arrays
        steps = path_steps(self.facts.step, self.model, data)
        arrays["steps"] = {"time": steps.forcing_time, "width": steps.width, "done": steps.done}
        if self.marginal is not None:
            plan = schedule(self.facts.step, self.model, data)
            names = tuple(o.name for o in self.model.observations)
            memories = len(self.facts.step.memories)
            arrays["nodes"] = nodes(plan, data.grid, names, memories, self.model.time.start)
            arrays |= self.marginal.tables(plan, data)
        return jax.tree.map(jnp.asarray, arrays)  # numpy arrays would be copied at every call

    def _with_path(self, data: Dataset) -> Any:
        """``arrays`` with what drawing paths given the rows takes besides."""
        assert self.marginal is not None
        assert self.facts.step is not None
        plan = schedule(self.facts.step, self.model, data)
        return self.arrays(data) | jax.tree.map(jnp.asarray, self.marginal.traced_tables(plan, data))

    def constrain(self, u: Any, data: Dataset) -> dict[str, jax.Array]:
        """Parameters in declared units from the unconstrained vector (dimension,)."""
        p: dict[str, jax.Array] = self.functions.constrain(u, self.arrays(data))[0]
        return p

    def unconstrain(self, params: Params, data: Dataset) -> jax.Array:
        """The unconstrained vector (dimension,) of parameters."""
        u: jax.Array = self.functions.unconstrain(self._complete(params), self.arrays(data))
        return u

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
        return {n: params[n] for n in names}

    # --- densities -----------------------------------------------------------------------------------

    def log_prior(self, params: Params, data: Dataset | None = None) -> jax.Array:
        """Log prior density with respect to the natural parameters, in declared units; a scalar.

        ``data`` is needed only where dims or covariates of priors come from it.
        """
        return self.functions.log_prior(self._complete(params), self._for_prior(data))

    def log_likelihood(self, params: Params, data: Dataset) -> jax.Array:
        """Log likelihood of all rows; a scalar, -inf where the path cannot be solved (see ``explain``).

        Stochastic states are integrated out; raises ``SbmError`` E758 where the engine does not do that.
        """
        self._require_density(data)
        if self.treatment is None:
            return self.functions.log_likelihood(self._complete(params), self.arrays(data))
        return self._log_likelihood(self._complete(params), self.arrays(data))

    @cached_property
    def _log_likelihood(self) -> Any:
        return jax.jit(self.functions.log_likelihood)

    def log_density(self, u: Any, data: Dataset) -> jax.Array:
        """Log posterior density of the unconstrained vector (dimension,), Jacobian included."""
        self._require_density(data)
        return self.functions.log_density(jnp.asarray(u, float), self.arrays(data))

    def value_and_grad(self, data: Dataset) -> Callable[[Any], tuple[jax.Array, jax.Array]]:
        """``log_density`` (scalar) with its gradient (dimension,) in one compiled call.

        With stochastic states, other data of the same shapes compile nothing anew.
        """
        self._require_density(data)
        if self.treatment is None:
            arrays = self.arrays(data)
            return jax.jit(jax.value_and_grad(lambda u: self.functions.log_density(u, arrays)))
        compiled, given = self._value_and_grad, self.arrays(data)
        return lambda u: compiled(u, given)

    @cached_property
    def _value_and_grad(self) -> Any:
        return jax.jit(jax.value_and_grad(self.functions.log_density))

    def _require_density(self, data: Dataset | Mapping[str, Any]) -> None:
        no_density(self)
        self.outside.require_likelihood(self.model, self.facts)
        if self.model.simulators and not self.outside.computed and isinstance(data, Dataset):
            observed_outputs(self.model, data)

    @cached_property
    def whitened_density(self) -> Callable[..., jax.Array]:
        """``log_density(origin + root z, data)`` of (z, origin, root, data), all arrays."""
        return lambda z, origin, root, data: self.functions.log_density(origin + root @ z, data)

    @cached_property
    def compiled(self) -> Compiled:
        """What samplers have compiled for this program."""
        return Compiled()

    def notes(self, data: Dataset) -> tuple[Diagnostic, ...]:
        """What results must say about the program and how data lie on the path's steps."""
        if self.model.simulators:
            return self.outside.silence(self.model)
        if self.treatment is None or self.facts.step is None:
            return ()
        return (*self.treatment.notes, *path_steps(self.facts.step, self.model, data).notes)

    def explain(self, params: Params, data: Dataset) -> SbmError | None:
        """Why the path of these parameters cannot be solved: time, state and term; None if it can."""
        if isinstance(self.model.dynamics, Ode):
            return explain(self, self._complete(params), data)
        if self.marginal is not None and (why := explain_filter(self, self._complete(params), data)):
            return why
        return explain_step(self, self._complete(params), data, jax.random.PRNGKey(0))

    def _for_prior(self, data: Dataset | None) -> Any:
        if data is not None:
            return self.arrays(data)
        sizes = {d.name: d.size for d in self.model.dims.values()}
        used = {d for p in self.model.parameters for d in p.dims}
        if any(sizes[d] is None for d in used) or self.model.covariates:
            raise SbmError(error("E710", "the priors depend on the data (an index or a covariate), but none is given",
                                 help="pass data: program.log_prior(params, data)"))  # fmt: skip
        return {"members": {d: np.arange(n) for d, n in sizes.items() if n is not None}, "covariates": {}}

    # --- simulation ----------------------------------------------------------------------------------

    def prior_draws(self, data: Dataset, draws: int, seed: int) -> dict[str, jax.Array]:
        """Parameters drawn from the prior: each (draw, *dims)."""
        arrays = self.arrays(data)

        def one(key: Any) -> dict[str, jax.Array]:
            return handlers.seed(self.functions.parameters, key)(arrays)  # type: ignore[no-any-return]

        return jax.vmap(one)(jax.random.split(jax.random.PRNGKey(seed), draws))

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
            p[name] = jnp.broadcast_to(jnp.asarray(value, float), p[name].shape)
        out = self.predict(p, data, seed=seed + 1, draws=draws)
        if not self.model.simulators:
            self._require_solved(out["ok"], p, data, seed + 1)
        extra = {
            **p,
            **out["outputs"],
            **{k: v for k, v in out["reports"].items() if not self._along_time(k)},
        }
        return assemble(
            self.model, self.facts, data,
            prior={**as_numpy(extra), **as_numpy(out["states"]), **as_numpy({k: v for k, v in out["reports"].items() if self._along_time(k)})},
            prior_predictive=as_numpy(out["observations"]),
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
        row)}, "outputs": {name: (draw, *dims)}, "ok": (draw,)}``; a draw with ok False has NaN paths. ``draws`` counts
        where no parameter does. Raises ``SbmError`` as ``outputs`` does.
        """
        draws = len(next(iter(params.values()))) if params else draws
        simulated = self.outside.at(self.model, params, outputs, draws, seed)
        found = self._predict(params, simulated, data, seed, states, draws, given_rows, observe)
        return found | {"ok": self.outside.came_back(simulated, found["ok"])}

    def predictive(
        self, params: Params, data: Dataset, *, seed: int = 0, states: bool = True
    ) -> dict[str, Any]:
        """``predict`` for results, without observations where a simulator cannot be run (see ``notes``)."""
        draws = len(next(iter(params.values())))
        simulated = self.outside.at(self.model, params, None, draws, seed, must=False)
        found = self._predict(params, simulated, data, seed, states, draws, False, None)
        if not self.can_predict:
            return found | {"observations": {}}
        return found | {"ok": self.outside.came_back(simulated, found["ok"])}

    def outputs(self, params: Params, *, seed: int = 0) -> dict[str, np.ndarray]:
        """What the model's simulators give for parameters (n, *dims) by name: {name: (n, *dims)}, declared units.

        Raises ``SbmError``: E840 (it may not be run), E841 (it is not there), E842 (it failed), E843 (its answer does
        not fit), E847 (it is a table).
        """
        return self.outside.outputs(self.model, params, seed)

    @property
    def can_predict(self) -> bool:
        """Whether observations can be drawn at new parameters: always, but for simulators that cannot be run."""
        return self.outside.computed or self.outside.refusal(self.model) is None

    def _predict(self, params: Params, simulated: Mapping[str, Any], data: Dataset, seed: int, states: bool, draws: int,
                 given_rows: bool, observe: Dataset | None) -> dict[str, Any]:  # fmt: skip
        f = self.functions

        def one(key: Any, p: Params, simulated: Any, both: Any) -> dict[str, Any]:
            arrays, rows = both
            arrays = arrays | {"outputs": simulated} if simulated else arrays
            c = f.values(p, arrays)
            s, ok = self._path(c, arrays, self._path_key(key), given_rows)
            drawn, derived = self.given_path(c, s, rows, key)
            return {"states": s if states else {}, "reports": derived, "observations": drawn, "ok": ok}

        keys = jax.random.split(jax.random.PRNGKey(seed), draws)
        arrays = self._with_path(data) if given_rows else self.arrays(data)
        both = (arrays, arrays if observe is None else self.arrays(observe))
        own = (keys, {n: np.asarray(v) for n, v in params.items()}, dict(simulated))
        found = self._of_draws(("predict", states, given_rows), one, own, draws, both)
        return found | {"outputs": dict(simulated)}

    def _of_draws(self, name: tuple[Any, ...], one: Any, arguments: Any, draws: int, arrays: Any) -> Any:
        """``one(*arguments, arrays)`` of many draws; with stochastic states other data compile nothing anew."""
        if self.treatment is None:  # solvers look at the times themselves
            return in_batches(lambda *own: one(*own, arrays), arguments, draws)
        return in_batches(one, arguments, draws, given=(arrays,), name=name, compiled=self.compiled)

    @cached_property
    def laws(self) -> dict[str, Callable[..., Any]]:
        """The generated law of each channel's rows: ``law(values, states, data)``."""
        writer = Generator(self.model, self.facts, self.settings)
        return {
            o.name: getattr(self.functions, f"observe_{writer.python(o.name)}")
            for o in self.model.observations
        }

    @cached_property
    def batch(self) -> tuple[str, ...]:
        """Dims whose members have paths of their own."""
        return Generator(self.model, self.facts, self.settings).batch

    def given_path(
        self, c: Any, s: Any, arrays: Any, key: Any
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Observations drawn given the states at the grid, {channel: (row,)}, and reports."""
        drawn = {}
        for k, (name, observe) in enumerate(self.laws.items()):
            rows = arrays["channels"][name]["at"]
            if len(rows):
                law = observe(c, s, arrays)
                fresh = law.expand_by(() if law.batch_shape else rows.shape).sample(
                    jax.random.fold_in(key, k)
                )
                if self.treatment is not None and not self.treatment.is_exact:
                    # A Gaussian path can leave the support that the law's arguments need.
                    fresh = jnp.where(jnp.isfinite(fresh) & law.support(fresh), fresh, jnp.nan)
                drawn[name] = jnp.broadcast_to(fresh, rows.shape)
        return drawn, self.functions.reports(c, s, arrays) if self.model.reports else {}

    def _path(self, c: Any, arrays: Any, key: Any, given_rows: bool) -> tuple[Any, Any]:
        """The states by name, and whether they are all finite; a draw of them where they are random."""
        f = self.functions
        if not self.model.states:
            return {}, jnp.asarray(True)
        if not self.model.is_stochastic:
            return f.path(c, arrays)  # type: ignore[no-any-return]
        if not given_rows:
            return f.path(c, arrays, key)  # type: ignore[no-any-return]
        s, _ = f.posterior_path(c, arrays, key)
        return s, _finite(s)

    def posterior(self, u: Any, data: Dataset, *, seed: int = 0, states: bool = True) -> dict[str, Any]:
        """Everything that results tell about draws u (draw, dimension), paths being draws given the rows.

        ``{"parameters": {name: (draw, *dims)}, "rows": {channel: (draw, row)}, ...}``, the rest as in ``predict``;
        rows are the log density of each row given those before it. For programs that integrate states out.
        """
        f = self.functions

        def one(key: Any, u: Any, arrays: Any) -> dict[str, Any]:
            p, _ = f.constrain(u, arrays)
            c = f.values(p, arrays)
            s, rows = f.posterior_path(c, arrays, self._path_key(key))
            drawn, derived = self.given_path(c, s, arrays, key)
            found = {"parameters": p, "rows": {name: r for name, r in rows.items() if len(r)}, "reports": derived,
                     "observations": drawn, "ok": _finite(s)}  # fmt: skip
            return found | {"states": s if states else {}}

        arguments = (jax.random.split(jax.random.PRNGKey(seed), len(u)), u)
        return self._of_draws(("posterior", states), one, arguments, len(u), self._with_path(data))

    @cached_property
    def whole(self) -> JaxProgram:
        """The same program with every state in its path, sinks too, where the filter stays of its kind."""
        if self.marginal is None or self.facts.gaussian is None:
            return self
        step = discretise(self.model, "all")
        if len(step.states) == len(self.facts.gaussian.step.states):
            return self
        form = gaussian(step, places(self.model)).model if len(step.states) <= LIMIT else None
        if form is None or form.kind != self.facts.gaussian.kind:
            return self
        treatment = self.treatment
        assert treatment is not None
        return _stepped(
            self.model, replace(self.facts, step=step, gaussian=form), treatment, self.marginal.wish
        )

    def _path_key(self, key: Any) -> Any:
        """The key of a draw's path; those of its observations come before."""
        return jax.random.fold_in(key, len(self.model.observations))

    def _require_solved(self, ok: Any, params: Params, data: Dataset, seed: int) -> None:
        failed = np.flatnonzero(~np.asarray(ok))
        if len(failed):
            first = int(failed[0])
            one = {n: v[first] for n, v in params.items()}
            if isinstance(self.model.dynamics, Ode):
                why = explain(self, one, data, draw=first, others=len(failed) - 1)
            else:
                key = self._path_key(jax.random.split(jax.random.PRNGKey(seed), len(np.asarray(ok)))[first])
                why = explain_step(self, one, data, key, draw=first, others=len(failed) - 1)
            raise why or SbmError(error("E720", f"the path of draw {first} cannot be solved"))

    def _along_time(self, report: str) -> bool:
        found = next(r for r in self.model.reports if r.name == report)
        return (found.stage or Stage.ONCE) > Stage.PARAMETERS

    # --- inference -----------------------------------------------------------------------------------

    def infer(self, data: Dataset, *, method: str = "auto", draws: int = 1000, chains: int = 4, seed: int = 0,
              progress: ProgressCallback | None = None, **options: Any) -> DataTree:  # fmt: skip
        """Posterior draws as a DataTree (see ``sbmlang.results``).

        Methods: "auto", which is "nuts" (options: ``inference.run_nuts``; ``sampled_nuts.run_sampled`` where the
        path is sampled) but for ``states="particle"``; "pmmh" and "smc" (``pmmh.run_pmmh``, ``smc.run_smc``) by
        particle filters. Raises ``SbmError`` E707 for an unknown method, E758 for one that the engine cannot
        serve, E71x when sampling cannot start.
        """
        run = method_of(self, method)
        return run(self, data, draws=draws, chains=chains, seed=seed, progress=progress, **options)

    def _attributes(self, method: str, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "backend": "jax", "method": method, "seed": seed, "options": dict(options),
            "solver": {"method": self.settings.method, "rtol": self.settings.rtol, "atol": self.settings.atol,
                       "reason": self.settings.reason, "kernel": self.settings.kernel,
                       "kernel_reason": self.settings.kernel_reason},
            **({"engine": self.treatment.attributes()} if self.treatment else {}),
            "versions": {"jax": jax.__version__, "numpyro": numpyro.__version__},
        }  # fmt: skip


def _is_complete(model: Model, data: Dataset) -> bool:
    """Whether every output that the density needs is there."""
    try:
        observed_outputs(model, data)
    except SbmError:
        return False
    return True


def _finite(states: Mapping[str, Any]) -> jax.Array:
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in states.values()]))


def _stepped(model: Model, facts: Facts, chosen: Treatment | None, kernel: str) -> JaxProgram:
    """The program of a model whose path goes in steps."""
    if chosen is not None:
        require_bounds(model, chosen)
    scheme = model.time.scheme or ("euler" if isinstance(model.dynamics, Sde) else "map")
    settings = Settings("steps", 0.0, 0.0, 0, "reverse", f"scheme {scheme}", "jax")
    text = str(Generator(model, facts, settings, treatment=chosen).module())
    marginal = Marginal(model, facts, chosen, kernel) if chosen is not None and chosen.is_marginal else None
    given: dict[str, Any] = {}
    if marginal is not None:
        given = {"NATIVE": marginal.native, "NATIVE_PATH": marginal.native_path}
        settings = replace(
            settings, kernel="jax" if marginal.refused else "native", kernel_reason=marginal.refused
        )
    return JaxProgram(model, facts, settings, text, _loaded(text, model.name, given), chosen, marginal)


def _loaded(text: str, name: str, given: Mapping[str, Any] = MappingProxyType({})) -> SimpleNamespace:
    """The functions of a program text, whose lines tracebacks and debuggers can show; ``given`` are names set
    in it."""
    filename = f"<sbmlang:{name}:{next(_serial)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": f"sbmlang_program_{name}"}
    exec(compile(text, filename, "exec"), namespace)
    namespace |= given
    return SimpleNamespace(**namespace)

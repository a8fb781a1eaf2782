"""A compiled program: the generated module with the Python surface around it."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers

from sbmlang.data.dataset import Dataset
from sbmlang.data.empty import empty
from sbmlang.errors import NotYet, SbmError, did_you_mean, error
from sbmlang.ir import Model, Stage
from sbmlang.ir.facts import Facts
from sbmlang.protocols import ParameterInfo, ProgressCallback

from . import EXPONENTIAL_LIMIT, FORWARD_LIMIT, density
from .context import Method, Settings
from .failure import explain
from .forcing import points
from .generate import Generator
from .nuts import prepare_devices

if TYPE_CHECKING:
    from xarray import DataTree

jax.config.update("jax_enable_x64", True)
prepare_devices(4)  # before the first computation, so that chains can run side by side

Params = Mapping[str, Any]
_serial = count(1)
BATCH = 200  # draws per call where many draws are pushed through the path
STATE_LIMIT = 40_000_000  # numbers; longer posterior paths are left out of the results unless asked for


@dataclass(frozen=True)
class JaxProgram:
    """Pure functions of parameters and data, compiled from one model. See ``sbmlang.protocols.Program``."""

    model: Model
    facts: Facts
    settings: Settings
    source: str
    functions: SimpleNamespace

    @staticmethod
    def build(
        model: Model, facts: Facts, *, solver: str, rtol: float, atol: float, max_steps: int, adjoint: str
    ) -> JaxProgram:
        facts = _with_stiffness(model, facts)
        method, reason = choose_method(model, facts, solver)
        settings = Settings(method, rtol, atol, max_steps, "forward", reason)
        generator = Generator(model, facts, settings)
        size = len(generator.theta) if model.states else 0
        mode: Any = ("forward" if size <= FORWARD_LIMIT else "reverse") if adjoint == "auto" else adjoint
        settings = replace(settings, adjoint=mode)
        text = str(Generator(model, facts, settings).module())
        return JaxProgram(model, facts, settings, text, _loaded(text, model.name))

    @property
    def solver(self) -> str:
        """explicit, implicit, exponential, or exponential pieces."""
        return self.settings.method

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
        arrays = data.arrays()
        kinds = {f.name: f.interpolation for f in self.model.forcings}
        return arrays | {
            "grid": jnp.asarray(arrays["grid"], float),
            "covariates": {n: jnp.asarray(v, float) for n, v in arrays["covariates"].items()},
            "forcings": {
                n: jax.tree.map(jnp.asarray, points(kinds[n], s["time"], s["value"]))
                for n, s in arrays["forcings"].items()
            },
        }

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
        """Log likelihood of all rows; a scalar, -inf where the path cannot be solved (see ``explain``)."""
        return self.functions.log_likelihood(self._complete(params), self.arrays(data))

    def log_density(self, u: Any, data: Dataset) -> jax.Array:
        """Log posterior density of the unconstrained vector (dimension,), Jacobian included."""
        return self.functions.log_density(jnp.asarray(u, float), self.arrays(data))

    def value_and_grad(self, data: Dataset) -> Callable[[Any], tuple[jax.Array, jax.Array]]:
        """``log_density`` (scalar) with its gradient (dimension,) in one compiled call.

        The place where another compiled density, such as a native kernel, enters.
        """
        arrays = self.arrays(data)
        return jax.jit(jax.value_and_grad(lambda u: self.functions.log_density(u, arrays)))

    def explain(self, params: Params, data: Dataset) -> SbmError | None:
        """Why the path of these parameters cannot be solved: time, state and term; None if it can."""
        return explain(self, self._complete(params), data)

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
        and ``prior_predictive``. Raises ``SbmError`` E720 for a draw whose path cannot be solved.
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
        self._require_solved(out["ok"], p, data)
        extra = {**p, **{k: v for k, v in out["reports"].items() if not self._along_time(k)}}
        return assemble(
            self.model, self.facts, data,
            prior={**_numpy(extra), **_numpy(out["states"]), **_numpy({k: v for k, v in out["reports"].items() if self._along_time(k)})},
            prior_predictive=_numpy(out["observations"]),
            attrs=self._attributes("simulate", seed, {"draws": draws}),
        )  # fmt: skip

    def predict(
        self, params: Params, data: Dataset, *, seed: int = 0, states: bool = True, draws: int = 1
    ) -> dict[str, Any]:
        """States, reports and drawn observations for many draws: ``params`` (draw, *dims) each.

        Returns ``{"states": {name: (draw, time, *dims)}, "reports": ..., "observations": {channel: (draw,
        row)}, "ok": (draw,)}``; a draw with ok False has NaN paths. ``draws`` counts where no parameter does.
        """
        arrays, f = self.arrays(data), self.functions

        def one(key: Any, p: Params) -> dict[str, Any]:
            c = f.values(p, arrays)
            s, ok = f.path(c, arrays) if self.model.states else ({}, jnp.asarray(True))
            drawn = {}
            for k, o in enumerate(self.model.observations):
                rows = arrays["channels"][o.name]["at"]
                if len(rows):
                    law = getattr(
                        f, "observe_" + Generator(self.model, self.facts, self.settings).python(o.name)
                    )(c, s, arrays)
                    drawn[o.name] = jnp.broadcast_to(
                        law.expand_by(() if law.batch_shape else rows.shape).sample(
                            jax.random.fold_in(key, k)
                        ),
                        rows.shape,
                    )
            derived = f.reports(c, s, arrays) if self.model.reports else {}
            return {"states": s if states else {}, "reports": derived, "observations": drawn, "ok": ok}

        draws = len(next(iter(params.values()))) if params else draws
        keys = jax.random.split(jax.random.PRNGKey(seed), draws)
        return _in_batches(one, (keys, dict(params)), draws)

    def _require_solved(self, ok: Any, params: Params, data: Dataset) -> None:
        failed = np.flatnonzero(~np.asarray(ok))
        if len(failed):
            first = int(failed[0])
            one = {n: v[first] for n, v in params.items()}
            why = explain(self, one, data, draw=first, others=len(failed) - 1)
            raise why or SbmError(error("E720", f"the path of draw {first} cannot be solved"))

    def _along_time(self, report: str) -> bool:
        found = next(r for r in self.model.reports if r.name == report)
        return (found.stage or Stage.ONCE) > Stage.PARAMETERS

    # --- inference -----------------------------------------------------------------------------------

    def infer(self, data: Dataset, *, method: str = "nuts", draws: int = 1000, chains: int = 4, seed: int = 0,
              progress: ProgressCallback | None = None, **options: Any) -> DataTree:  # fmt: skip
        """Posterior draws as a DataTree (see ``sbmlang.results``).

        Methods: "nuts" (options: see ``sbmlang.backends.jax.inference.run_nuts``). Raises ``SbmError`` E707 for
        an unknown method, E71x when sampling cannot start.
        """
        from .inference import run_nuts

        if method in ("flow", "laplace", "npe", "diffusion"):
            raise NotYet(
                error(
                    "E707", f"method '{method}' is not in this version of sbmlang", help="use method='nuts'"
                )
            )
        if method != "nuts":
            raise SbmError(
                error(
                    "E707",
                    f"the jax backend has no method '{method}'",
                    help=did_you_mean(method, ["nuts"]) or "methods: nuts",
                )
            )
        return run_nuts(self, data, draws=draws, chains=chains, seed=seed, progress=progress, **options)

    def _attributes(self, method: str, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "backend": "jax", "method": method, "seed": seed, "options": dict(options),
            "solver": {"method": self.settings.method, "rtol": self.settings.rtol, "atol": self.settings.atol,
                       "reason": self.settings.reason},
            "versions": {"jax": jax.__version__, "numpyro": numpyro.__version__},
        }  # fmt: skip


def choose_method(model: Model, facts: Facts, solver: str) -> tuple[Method, str]:
    """How to solve the dynamics, and why.

    Raises ``SbmError`` E711 where the wanted solver cannot serve this model.
    """
    exact = facts.linear_drift and facts.jacobian is not None and len(model.states) <= EXPONENTIAL_LIMIT
    if not model.states:
        return "explicit", "there are no states"
    match solver:
        case "explicit":
            return "explicit", "it was asked for"
        case "implicit":
            return "implicit", "it was asked for"
        case "auto" | "exponential":
            if exact and facts.constant_coefficients:
                return (
                    "exponential",
                    "the drift is linear with constant coefficients, so the matrix exponential is exact",
                )
            if exact and facts.piecewise_constant:
                return (
                    "exponential pieces",
                    "the drift is linear with coefficients constant between forcing times, so matrix exponentials are exact",
                )
            if solver == "exponential":
                fact = facts.constant_coefficients if facts.linear_drift else facts.linear_drift
                raise SbmError(
                    error(
                        "E711",
                        f"the matrix exponential does not fit this model: {fact.reason}",
                        help="use solver='auto'",
                    )
                )
            if facts.stiff:
                return "implicit", f"the drift is stiff: {facts.stiff.reason}"
            why = (
                facts.stiff.reason
                if facts.stiff is not None
                else "stiffness could not be judged without the data"
            )
            return "explicit", f"the drift is not stiff: {why}" if facts.stiff is not None else why
        case _:
            known = ("auto", "explicit", "implicit", "exponential")
            raise SbmError(
                error(
                    "E708",
                    f"there is no solver '{solver}'",
                    help=did_you_mean(solver, known) or f"solvers: {', '.join(known)}",
                )
            )


def _with_stiffness(model: Model, facts: Facts) -> Facts:
    if facts.stiff is not None or not model.states:
        return facts
    from sbmlang.passes.stiffness import stiff

    return replace(facts, stiff=stiff(model))


def _loaded(text: str, name: str) -> SimpleNamespace:
    """The functions of a program text, whose lines tracebacks and debuggers can show."""
    filename = f"<sbmlang:{name}:{next(_serial)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": f"sbmlang_program_{name}"}
    exec(compile(text, filename, "exec"), namespace)
    return SimpleNamespace(**namespace)


def _in_batches(function: Callable[..., Any], arguments: tuple[Any, ...], draws: int) -> Any:
    """``function`` mapped over the draw axis in batches, as numpy arrays."""
    mapped = jax.jit(jax.vmap(function))
    parts = []
    for start in range(0, draws, BATCH):
        # The last batch is filled up with repeats so that one compilation serves all.
        picks = np.minimum(np.arange(start, start + min(BATCH, draws)), draws - 1)
        out = mapped(*jax.tree.map(lambda x, picks=picks: jnp.asarray(x)[picks], arguments))
        keep = min(len(picks), draws - start)
        parts.append(jax.tree.map(lambda x, keep=keep: np.asarray(x)[:keep], out))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _numpy(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(v) for name, v in values.items()}

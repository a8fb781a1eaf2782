"""Stochastic states integrated out: what a filter needs, written as functions of one member."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from sbmlang.emit.code import Function, call, comment
from sbmlang.emit.printer import Environment, Value
from sbmlang.emit.program.context import split_lines, unit_comment
from sbmlang.emit.program.layout import listed
from sbmlang.emit.program.marginal import MarginalWriter
from sbmlang.ir import Law, Ref, refs
from sbmlang.ir.stepping import FiniteChain, GaussianModel
from sbmlang.passes.simplify import common

_LITERAL = 6  # states up to which matrices are written out whole


class FilterWriter(MarginalWriter):
    """Writes the functions of the filter, and ``log_marginal``."""

    def marginal(self) -> list[Function]:
        """Everything that the log density of the data with the path integrated out is made of."""
        if self._filter is None:
            assert self.facts.chain is not None
            functions, module = self._chain(self.facts.chain), "forward"
        else:
            functions, module = self._gaussian(self._filter), "filters"
        return [*self._given_functions(), *functions, *self._marginal_functions(module)]

    # --- what all functions are given ----------------------------------------------------------------

    def _given_functions(self) -> list[Function]:
        step = self.step
        nodes = "nodes"
        return [
            self._stacked("theta", ("c", "data"), step.theta, "What the path depends on, per parameter set"),
            self._stacked("known", ("c", "data"), step.known, "What the path depends on and the data tell"),
            self._stacked("forcings", ("t", "data"), step.forcings, "Forcings of the path at the times t"),
            Function(
                "given",
                ("c", "data"),
                "All that the filter's functions are given, for all members.",
                (
                    f'{nodes} = data["nodes"]',
                    f"steps, rows = forcings({nodes}.at, data), forcings({nodes}.time, data)",
                    "return filters.Inputs(theta(c, data), known(c, data), steps, rows)",
                ),
            ),
        ]

    # --- bodies --------------------------------------------------------------------------------------

    def _taken(self, expressions: Iterable[sp.Expr], states: str = "m") -> tuple[list[str], list[sp.Expr]]:
        """Lines that define all that the expressions need, and the expressions in those names."""
        expressions = list(expressions)
        needed = self._closure(expressions)
        step, about = self.step, {q.name: q for q in self.model.quantities()}
        lines = []
        for vector, items in (
            (states, step.states),
            ("theta", step.theta),
            ("known", step.known),
            ("forcing", step.forcings),
            ("duration", tuple(step.durations)),
        ):
            for k, ref in enumerate(items):
                if ref in needed:
                    q = about.get(ref.base)
                    said = comment(q.doc, unit_comment(q)) if q is not None else ""
                    lines.append(f"{self._scalar[ref]} = {vector}[{k}]{said}")
        definitions = [(ref, self._named(e)) for ref, e in step.definitions if ref in needed]
        named = [self._named(e) for e in expressions]
        for ref, e in definitions:
            q = about.get(ref.base)
            said = comment(q.doc, unit_comment(q)) if q is not None else ""
            lines.append(f"{self._scalar[ref]} = {self._code(e, self._scalars)}{said}")
        shared, reduced = common(named, set(self._scalars.values))
        env = self._scalars.having(**{ref.base: Value(ref.base) for ref, _ in shared})
        lines += [f"{ref.base} = {self._code(e, env)}" for ref, e in shared]
        return lines, list(reduced)

    def _closure(self, expressions: Iterable[sp.Expr]) -> set[Ref]:
        definitions = dict(self.step.definitions)
        todo, found = {r for e in expressions for r in refs(e)}, set[Ref]()
        while todo:
            ref = todo.pop()
            if ref in found:
                continue
            found.add(ref)
            if ref in definitions:
                todo |= refs(definitions[ref])
        return found

    def _vector(self, items: Sequence[sp.Expr]) -> str:
        return f"jnp.array({listed([self._plain(e) for e in items])}, float)"

    def _plain(self, expr: sp.Expr) -> str:
        """Code of an expression over scalars and common subexpressions."""
        names = {r.base for r in refs(expr)} - set(self._scalars.values)
        return self._code(expr, self._scalars.having(**{n: Value(n) for n in names}))

    def _dense_code(self, entries: Mapping[tuple[int, int], sp.Expr], rows: int, columns: int) -> str:
        """Code of a dense matrix; large ones by the places of what is not zero."""
        codes = {place: self._plain(e) for place, e in sorted(entries.items()) if e != 0}
        if max(rows, columns) > _LITERAL:
            places = listed(map(repr, codes))
            return f"sparse(({rows}, {columns}), {places}, {listed(codes.values())})"
        lines = [f"[{', '.join(codes.get((i, j), '0.0') for j in range(columns))}]" for i in range(rows)]
        inner = ", ".join(lines)
        if len(inner) < 70:
            return f"jnp.array([{inner}], float)"
        return "jnp.array([\n" + "".join(f"    {line},\n" for line in lines) + "], float)"

    def _function(
        self, name: str, arguments: tuple[str, ...], doc: str, lines: list[str], out: list[str]
    ) -> Function:
        return Function(name, arguments, doc, tuple(split_lines([*lines, *out])))

    # --- Gaussian filters ----------------------------------------------------------------------------

    def _gaussian(self, g: GaussianModel) -> list[Function]:
        functions = [self._start_moments(g), self._step_moments(g), self._row_moments(g)]
        if g.jumps:
            functions.append(self._memory_moments(g))
        return [*functions, self._system(g)]

    def _start_moments(self, g: GaussianModel) -> Function:
        n = len(g.start_mean)
        places = list(g.start_cov)
        lines, out = self._taken([*g.start_mean, *g.start_cov.values()])
        cov = _mirrored(dict(zip(places, out[n:], strict=True)))
        done = [f"mean = {self._vector(out[:n])}", f"covariance = {self._dense_code(cov, n, n)}"]
        names = ", ".join(self._state_names(g))
        return self._function("start_moments", ("theta", "known"),
                              f"Mean and covariance of ({names}) at the start.", lines,
                              [*done, "return mean, covariance"])  # fmt: skip

    def _state_names(self, g: GaussianModel) -> list[str]:
        return [f"log {s}" if k in g.logarithmic else str(s) for k, s in enumerate(self.step.states)]

    def _step_moments(self, g: GaussianModel) -> Function:
        n = len(g.mean)
        slopes, noise = list(g.slopes), list(g.noise)
        lines, out = self._taken([*g.mean, *g.slopes.values(), *g.noise.values()])
        F = dict(zip(slopes, out[n : n + len(slopes)], strict=True))
        Q = _mirrored(dict(zip(noise, out[n + len(slopes) :], strict=True)))
        done = [
            f"mean = {self._vector(out[:n])}",
            f"slopes = {self._dense_code(F, n, n)}",
            f"noise = {self._dense_code(Q, n, n)}",
        ]
        if g.transition == "matrix exponential":
            doc = "A step of dx = (slopes x + mean) dt + dB, cov(dB) = noise dt, held as it is at t: mean, slopes, noise."
            done.append("return exact_step(slopes, mean, noise, width, m)")
        else:
            doc = "Mean of the states a step later, its slopes, and the noise of the step."
            done.append("return mean, slopes, noise")
        return self._function(
            "step_moments", ("t", "width", "m", "theta", "forcing", "known"), doc, lines, done
        )

    def _row_moments(self, g: GaussianModel) -> Function:
        n, rows = len(g.mean), len(g.emissions)
        places = [(k, j) for k, e in enumerate(g.emissions) for j in e.slopes]
        slopes = [s for e in g.emissions for s in e.slopes.values()]
        lines, out = self._taken(
            [*(e.location for e in g.emissions), *slopes, *(e.variance for e in g.emissions)]
        )
        h = dict(zip(places, out[rows : rows + len(slopes)], strict=True))
        done = [
            f"mean = {self._vector(out[:rows])}",
            f"slopes = {self._dense_code(h, rows, n)}",
            f"variance = {self._vector(out[rows + len(slopes) :])}",
            "return mean, slopes, variance",
        ]
        seen = ", ".join(_emission_name(e.channel, e.index) for e in g.emissions)
        doc = f"Mean, slopes and own variance of a row, for each kind:\n    {seen}\n"
        return self._function(
            "row_moments", ("t", "m", "duration", "theta", "forcing", "known"), doc, lines, done
        )

    def _memory_moments(self, g: GaussianModel) -> Function:
        n, jumps = len(g.mean), list(g.jumps.values())
        places = [(k, j) for k, (_, slopes) in enumerate(jumps) for j in slopes]
        slopes = [s for _, own in jumps for s in own.values()]
        lines, out = self._taken([*(value for value, _ in jumps), *slopes])
        done = [
            f"mean = {self._vector(out[: len(jumps)])}",
            f"slopes = {self._dense_code(dict(zip(places, out[len(jumps) :], strict=True)), len(jumps), n)}",
            "return mean, slopes",
        ]
        return self._function("memory_moments", ("t", "m", "theta", "forcing", "known"),
                              "What observation windows set states to at their start.", lines, done)  # fmt: skip

    def _system(self, g: GaussianModel) -> Function:
        moving = {self.step.time, *self.step.forcings}
        expressions = [*g.mean, *g.slopes.values(), *g.noise.values()]
        constant = g.kind == "exact" and not (self._closure(expressions) & moving)
        options = [
            f"logarithm={tuple(e.transform == 'log' for e in g.emissions)!r}",
            f"affine={g.kind == 'exact'}",
        ]
        if constant:
            options.append("constant=True")
        if g.jumps:
            options += ["jump=memory_moments", f"memory={tuple(g.jumps)!r}"]
        assert self.treatment is not None
        if self.treatment.sigma_points:
            options.append("sigma_points=True")
        doc = f"The filter: {self.treatment.label}; {self.treatment.engine.fits.reason}."
        return Function("system", (), doc,
                        tuple(call("filters.Gaussian", ["start_moments", "step_moments", "row_moments", *options],
                                   "return ")))  # fmt: skip

    # --- finite chains -------------------------------------------------------------------------------

    def _chain(self, chain: FiniteChain) -> list[Function]:
        size = len(chain.start)
        lines, out = self._taken(chain.start)
        start = self._function("start_probabilities", ("theta", "known"),
                               f"Probabilities of {chain.state} = 1..{size} at the start.", lines,
                               [f"return {self._vector(out)}"])  # fmt: skip
        lines, out = self._taken([e for row in chain.transition for e in row])
        entries = {(i, j): out[i * size + j] for i in range(size) for j in range(size)}
        step = self._function("step_probabilities", ("t", "width", "theta", "forcing", "known"),
                              "Probabilities of the new value, one row for each old value.", lines,
                              [f"return {self._dense_code(entries, size, size)}"])  # fmt: skip
        system = Function("system", (), "The hidden Markov model.",
                          ("return forward.Chain(start_probabilities, step_probabilities, row_densities)",))  # fmt: skip
        return [start, step, self._row_densities(chain), system]

    def _row_densities(self, chain: FiniteChain) -> Function:
        expressions = [e for row in chain.laws for law in row for e in law.expressions()]
        lines, out = self._taken(expressions)
        new = dict(zip(range(len(out)), out, strict=True))
        position = 0

        def renamed(law: Law) -> Law:
            nonlocal position
            own = iter(range(position, position + len(list(law.expressions()))))
            position += len(list(law.expressions()))
            return law.changed(lambda _: new[next(own)])

        rows = []
        for row in chain.laws:
            codes = [f"log_density_of({self._plain_law(renamed(law))}, y)" for law in row]
            rows.append(f"[{', '.join(codes)}]")
        body = ["return jnp.array([", *(f"    {r}," for r in rows), "], float)"]
        seen = ", ".join(_emission_name(e.channel, e.index) for e in self.step.emissions)
        return self._function("row_densities", ("t", "y", "duration", "theta", "forcing", "known"),
                              f"Log density of a row for each value of {chain.state}, for each kind:\n    {seen}\n",
                              lines, body)  # fmt: skip

    def _plain_law(self, law: Law) -> str:
        names = {r.base for e in law.expressions() for r in refs(e)} - set(self._scalars.values)
        env = self._scalars.having(**{n: Value(n) for n in names})
        arguments = [f"{k}={self._argument_of(v, env)}" for k, v in law.args.items()]
        return f'family["{law.family}"]({", ".join(arguments)})'

    def _argument_of(self, value: object, env: Environment) -> str:
        if isinstance(value, tuple):
            items = ", ".join(f"jnp.asarray({self._argument_of(v, env)}, float)" for v in value)
            return f"jnp.stack([{items}], axis=-1)"
        return self._code(value, env)  # type: ignore[arg-type]

    # --- densities and paths -------------------------------------------------------------------------

    def _marginal_functions(self, module: str) -> list[Function]:
        native = ('if "tables" in data:', '    return NATIVE(theta(c, data), data["tables"]).sum()')
        run = 'system(), given(c, data), data["nodes"]'
        sampler = "smoothing" if module == "filters" else "forward"
        return [
            Function("log_marginal", ("c", "data"), "Log density of all rows with the path integrated out.",
                     (*native, f"return {module}.log_marginal({run}).sum()")),
            Function("predictive", ("c", "data"),
                     "Log density of each row given all rows before it, by channel: (row,).",
                     (f"return filters.of_rows({module}.predictive({run}), data[\"nodes\"])",)),
            Function("posterior_path", ("c", "data", "key"),
                     'A draw of the states at data["grid"] given the rows, by name, each (time, *dims); and ``predictive``.',
                     self._sized([
                         'if "traced" in data:',
                         '    values, rows = NATIVE_PATH(theta(c, data), data["traced"], len(data["grid"]), key)',
                         "else:",
                         f"    values, rows = {sampler}.sampled_path({run}, key)",
                         '    values, rows = values[:, data["nodes"].grid], filters.of_rows(rows, data["nodes"])',
                         *self._path_by_name(),
                     ])),
        ]  # fmt: skip


def _mirrored(entries: Mapping[tuple[int, int], sp.Expr]) -> dict[tuple[int, int], sp.Expr]:
    return {**{(j, i): e for (i, j), e in entries.items()}, **entries}


def _emission_name(channel: str, index: Mapping[str, int]) -> str:
    at = ", ".join(f"{d}#{k}" for d, k in index.items())
    return f"{channel}[{at}]" if at else channel

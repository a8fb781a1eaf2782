"""The code of a kernel: a scan's blocks inside their loops, with the adjoint.

One call works through ``theta[b]`` for all b. Forward: what depends on parameters alone; ``rates`` (parameters
and time, a loop that vectorises); then the recursion, keeping the state before every step and event. Back: the
recursion once more from the last event, each block done again from the state it began with, its adjoint
swept; adjoints of rates go to arrays, and from there to the parameters in another vectorised loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent

from sbmlang.errors import InternalError
from sbmlang.kernels.emit import HEAD, Emission
from sbmlang.kernels.ops import Depends, Value
from sbmlang.kernels.rules import RULES
from sbmlang.kernels.scan import DENSITY, GRADIENT, Block, Moved, Scan
from sbmlang.kernels.split import RATE, Split, frontier, split

FLAGS = 'fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", nogil=True, cache=True'
"""Not-a-number and infinity keep their meaning: failures are found by them."""


@dataclass(frozen=True)
class Layout:
    """What a kernel's tables hold, as values of the tape: ``known`` by member, ``steps`` by step, and for each
    block of events what it needs at its times."""

    known: tuple[Value, ...]
    steps: tuple[Value, ...]
    events: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Part:
    """A block with its place in the kernel's arrays. ``kept`` are costly values that its rates' adjoint needs."""

    block: Block
    split: Split
    kept: tuple[Value, ...]
    word: str

    @property
    def stored(self) -> tuple[Value, ...]:
        return (*self.split.rates, *self.kept)

    def columns(self, at: str) -> dict[Value, str]:
        return {v: f"{self.word}_columns[{j}, {at}]" for j, v in enumerate(self.split.columns)}

    def rates(self, at: str) -> dict[Value, str]:
        return {v: f"{self.word}_rates[{j}, {at}]" for j, v in enumerate(self.stored)}


class Loops:
    """Writes the functions of one scan."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.tape = scan.recursion.tape
        self.state = scan.recursion.state
        self.theta = tuple(scan.recursion.inputs.theta.values())
        self.exponentials = scan.recursion.exponentials
        self.step = self._part(scan.step, "step")
        self.events = tuple(self._part(b, b.name) for b in scan.events)
        self.parts = (self.step, *self.events)
        self.parameters = self._parameters()
        needed = [Value(self.tape, p) for p in self.tape.ancestors(self.parameters)]
        early = [v for v in frontier(needed, self.parameters) if v.depends == Depends.NOTHING]
        known = {k for part in self.parts for k in part.split.known} | set(early)
        self.known = tuple(sorted(known, key=lambda v: v.position))

    @property
    def layout(self) -> Layout:
        return Layout(self.known, self.step.split.columns, tuple(p.split.columns for p in self.events))

    def _part(self, block: Block, word: str) -> Part:
        outputs = [*block.moved.outputs(), *block.moved.extras.values(), *self._entries(word)]
        divided = split(self.tape, outputs)
        plain = Part(block, divided, (), word)
        return Part(block, divided, self._kept(plain), word)

    def _entries(self, word: str) -> tuple[Value, ...]:
        """What matrix exponentials are made from, which goes with the rates of steps."""
        return self.exponentials.entries if word == "step" and self.exponentials else ()

    def _early(self, part: Part) -> list[Value]:
        """What is computed for all times before the recursion."""
        return [*part.split.rates, *self._entries(part.word)]

    def _parameters(self) -> tuple[Value, ...]:
        """Values of parameters alone that the loops (or the start) use."""
        used = {v for part in self.parts for v in (*part.split.parameters, *self._of_rates(part))}
        return tuple(sorted(used | set(self._starts()), key=lambda v: v.position))

    def _starts(self) -> list[Value]:
        return [v for v in self.scan.start if v.constant is None]

    def _of_rates(self, part: Part) -> list[Value]:
        """Values of parameters alone that rates use, or entries are."""
        needed = [Value(self.tape, p) for p in self.tape.ancestors(self._early(part))]
        used = [a for v in needed if v.depends == RATE for a in v.arguments]
        found = {v for v in (*used, *self._entries(part.word)) if v.depends == Depends.PARAMETERS}
        return sorted(found, key=lambda v: v.position)

    # --- adjoints, on the tape ---

    def _seed(self, part: Part) -> dict[Value, Value]:
        seeds = {v: self.tape.input(f"{part.word}_bar[{j}, i]") for j, v in enumerate(part.split.rates)}
        for j, entry in enumerate(self._entries(part.word)):
            bar = self.tape.input(f"entry_bar[{j}, i]")
            seeds[entry] = seeds[entry] + bar if entry in seeds else bar
        return seeds

    def _rate_adjoints(self, part: Part) -> dict[Value, Value]:
        """Adjoints of parameters through the rates of one time."""
        wrt = self._of_rates(part)
        if not self._early(part):
            return {}
        return dict(zip(wrt, self.tape.adjoint(self._seed(part), wrt), strict=True))

    def _kept(self, part: Part) -> tuple[Value, ...]:
        """Costly values of the rates' loop that their adjoint uses again."""
        inside = set(self.tape.ancestors(self._early(part)))
        adjoints = self.tape.ancestors(self._rate_adjoints(part).values())
        values = (Value(self.tape, p) for p in adjoints if p in inside)
        return tuple(
            v for v in values
            if v.depends == RATE and v not in part.split.rates and not RULES[v.operation.name].cheap
        )  # fmt: skip

    def _block_adjoints(self, part: Part) -> dict[str, Value]:
        """What a block's reverse sweep assigns: adjoints of the state, of its rates, of parameters."""
        moved, tape = part.block.moved, self.tape
        seeds: dict[Value, Value] = {}
        for after, bar in [*zip(moved.state, self._bars(), strict=True), (moved.density, tape.constant(1.0))]:
            if after is not None and after.constant is None:
                seeds[after] = seeds[after] + bar if after in seeds else bar
        at = "i" if part is self.step else "r"
        given = self.exponentials.given if part is self.step and self.exponentials else ()
        places = {
            **{s: f"bar{k}" for k, s in enumerate(self.state)},
            **{v: f"{part.word}_bar[{j}, {at}]" for j, v in enumerate(part.split.rates)},
            **{v: f"given_bar[{k}, i]" for k, v in enumerate(given)},
        }
        parameters = part.split.parameters
        adjoints = dict(zip((*places, *parameters), tape.adjoint(seeds, [*places, *parameters]), strict=True))
        assigned = {place: adjoints[v] for v, place in places.items()}
        return assigned | self._accumulated({p: adjoints[p] for p in parameters})

    def _bars(self) -> list[Value]:
        return [self.tape.input(f"bar{k}") for k in range(len(self.state))]

    def _gradient_of(self, parameter: Value) -> Value:
        return self.tape.input(f"g{parameter.position}")

    def _accumulated(self, adjoints: Mapping[Value, Value]) -> dict[str, Value]:
        return {f"g{p.position}": self._gradient_of(p) + a for p, a in adjoints.items() if not a.is_zero}

    # --- code ---

    def _names(self) -> dict[Value, str]:
        """What is known before the loops."""
        known = {v: f"known[{j}]" for j, v in enumerate(self.known)}
        return {**known, **{v: f"p{v.position}" for v in self.parameters}}

    def once(self) -> list[str]:
        """Code computed once per parameter set."""
        known = {v: f"known[{j}]" for j, v in enumerate(self.known)}
        return Emission(known).lines({f"p{v.position}": v for v in self.parameters})

    def rates(self) -> list[str]:
        """The loops over times before the sequential one."""
        code = []
        for part in self.parts:
            targets = {name: value for value, name in part.rates("i").items()}
            targets |= {f"entries[{j}, i]": v for j, v in enumerate(self._entries(part.word))}
            if targets:
                body = Emission({**self._names(), **part.columns("i")}).lines(targets)
                code += [f"for i in range({self._range(part)}):", *_in(body)]
        if self.exponentials:
            code.append(f"exponentials(entries, ENTRIES, given, GIVEN, {self.exponentials.size}, n)")
        return code

    def rates_back(self) -> list[str]:
        """From adjoints of rates to those of parameters."""
        code = []
        if self.exponentials:
            size = self.exponentials.size
            code.append(f"exponentials_back(entries, ENTRIES, GIVEN, given_bar, entry_bar, {size}, n)")
        for part in self.parts:
            adjoints = self._accumulated(self._rate_adjoints(part))
            if adjoints:
                names = {**self._names(), **part.columns("i"), **part.rates("i")}
                code += [f"for i in range({self._range(part)}):", *_in(Emission(names).lines(adjoints))]
        return code

    def imports(self) -> list[str]:
        """What matrix exponentials need at the head of the module."""
        found = self.exponentials
        if found is None:
            return []
        return [
            "from sbmlang.kernels.exponential import exponentials, exponentials_back",
            f"ENTRIES = np.array({[list(p) for p in found.places]})",
            f"GIVEN = np.array({[list(p) for p in found.results]})",
        ]

    def works(self, back: bool) -> dict[str, str]:
        """Arrays of rates (and of their adjoints), by shape."""
        counts = {f"{p.word}_rates": (len(p.stored), p) for p in self.parts}
        if back:
            counts |= {f"{p.word}_bar": (len(p.split.rates), p) for p in self.parts}
        if self.exponentials:
            entries, given = len(self.exponentials.entries), len(self.exponentials.given)
            counts |= {"entries": (entries, self.step), "given": (given, self.step)}
            counts |= {"entry_bar": (entries, self.step), "given_bar": (given, self.step)} if back else {}
        return {name: f"({count}, {self.size(part)})" for name, (count, part) in counts.items() if count}

    def _range(self, part: Part) -> str:
        if part is self.step:
            return "n"
        b = self.events.index(part)
        return f"first[{b}, m], first[{b}, m + 1]"

    def size(self, part: Part) -> str:
        """How many times a part has, in code."""
        return "steps" if part is self.step else f"{part.word}_columns.shape[1]"

    def _local(self, part: Part, at: str) -> tuple[list[str], dict[Value, str]]:
        """What a block reads from the arrays, each once, and the names it then has."""
        read = {**part.columns(at), **{v: part.rates(at)[v] for v in part.split.rates}}
        if part is self.step and self.exponentials:
            read |= {g: _code(g) for g in self.exponentials.given}
        names = {v: f"c{v.position}" for v in read}
        return [f"{names[v]} = {code}" for v, code in read.items()], {**self._names(), **names}

    def forward(self, part: Part, extra: Mapping[str, Value] | None = None) -> list[str]:
        """A block's code on the way forward: checks, density, new state."""
        moved = part.block.moved
        loads, names = self._local(part, "i" if part is self.step else "r")
        emission = Emission(names)
        density = {} if moved.density is None else {"density": moved.density}
        checks = {f"check{k}": c for k, (c, _) in enumerate(moved.checks)}
        code = loads + emission.lines(checks)
        for k, (_, reason) in enumerate(moved.checks):
            code += [f"if not check{k}:", f"    return -math.inf, {reason}, e"]
        code += emission.lines(density)
        if moved.density is not None:
            code += [
                "if not abs(density) < math.inf:",
                f"    return -math.inf, {DENSITY}, e",
                "total += density",
            ]
        code += emission.lines(extra or {})
        return code + emission.lines(_changes(self.state, moved))

    def back(self, part: Part) -> list[str]:
        """A block's code on the way back, from the state before it."""
        loads, names = self._local(part, "i" if part is self.step else "r")
        where = "step_states[i, {}]" if part is self.step else "event_states[e - e0, {}]"
        state = [f"{_code(s)} = {where.format(k)}" for k, s in enumerate(self.state)]
        return state + loads + Emission(names).lines(self._block_adjoints(part))

    def keep(self, where: str) -> list[str]:
        return [f"{where.format(k)} = {_code(s)}" for k, s in enumerate(self.state)]

    def dispatch(self, bodies: Sequence[list[str]]) -> list[str]:
        """The code of the event's block."""
        code: list[str] = []
        for b, body in enumerate(bodies):
            code += [f"{'if' if b == 0 else 'elif'} kind == {b}:", *_in(body)]
        return code

    def start(self) -> list[str]:
        return Emission(self._names()).lines(dict(zip(map(_code, self.state), self.scan.start, strict=True)))

    def pass_forward(self, stored: bool) -> list[str]:
        """The recursion from the start to the last event; leaves ``total``."""
        keep_step = self.keep("step_states[i, {}]") if stored else []
        keep_event = self.keep("event_states[e - e0, {}]") if stored else []
        return [
            *self.start(),
            "total = 0.0",
            "now = 0",
            "for e in range(e0, e1):",
            *_in([
                "for i in range(now, done[e]):",
                *_in([*keep_step, *self.forward(self.step)]),
                "now = done[e]", "kind = block[e]", "r = at[e]",
                *keep_event,
                *self.dispatch([self.forward(part) for part in self.events]),
            ]),
        ]  # fmt: skip

    def pass_traced(self) -> list[str]:
        """The recursion from the start to the last stop, with each row's prediction in ``scores`` and the state
        at every stop on arriving (``before``) and on leaving (``after``); see ``posterior``."""
        state = list(enumerate(self.state))
        again = [f"{_code(v)} = {first!r}" for v, first in self.scan.recursion.trace.items()]
        arrive = [
            "if arrived < stops.shape[0] and stops[arrived] == now:",
            *(f"    before[arrived, {k}] = {_code(s)}" for k, s in state),
            "    arrived += 1",
        ]
        leave = [
            "if left < stops.shape[0] and stops[left] == now:",
            *(f"    after[left, {k}] = {_code(s)}" for k, s in state),
            *_in(again),
            "    left += 1",
        ]
        step = [*leave, *self.forward(self.step), "now = i + 1", *arrive]
        return [
            *self.start(),
            "total = 0.0",
            "now = 0", "arrived = 0", "left = 0",
            *arrive,
            "for e in range(e0, e1):",
            *_in([
                "for i in range(now, done[e]):", *_in(step),
                "kind = block[e]", "r = at[e]",
                "if leaves[e]:", *_in(leave),
                *self.dispatch([self._scored(part) for part in self.events]),
            ]),
            "for i in range(now, stops[-1] if stops.shape[0] else 0):", *_in(step),
            *leave,
        ]  # fmt: skip

    def _scored(self, part: Part) -> list[str]:
        """An event's code with its prediction written down."""
        moved = part.block.moved
        names = ("density", "mean", "variance")
        values = [moved.density, *(moved.extras.get(n) for n in names[1:])]
        seen = {f"scores[row[e], {k}]": v for k, v in enumerate(values) if v is not None}
        return self.forward(part, seen if moved.density is not None else None)

    def pass_back(self) -> list[str]:
        """The reverse sweep of the recursion; leaves adjoints of the start and of parameters."""
        return [
            *(f"bar{k} = 0.0" for k in range(len(self.state))),
            *(f"g{p.position} = 0.0" for p in self.parameters),
            "for e in range(e1 - 1, e0 - 1, -1):",
            *_in([
                "kind = block[e]", "r = at[e]",
                *self.dispatch([self.back(part) for part in self.events]),
                "now = done[e - 1] if e > e0 else 0",
                "for i in range(done[e] - 1, now - 1, -1):",
                *_in(self.back(self.step)),
            ]),
        ]  # fmt: skip

    def all_back(self) -> list[str]:
        """Everything after the last event; leaves ``gradient``."""
        failed = f"        return -math.inf, {GRADIENT}, e1 - 1"
        finite = ["for k in range(gradient.shape[0]):", "    if not abs(gradient[k]) < math.inf:", failed]
        return [*self.pass_back(), *self.rates_back(), *self.theta_back(), *finite]

    def theta_back(self) -> list[str]:
        """From adjoints of the start and of parameters' values to the gradient."""
        seeds = {p: self._gradient_of(p) for p in self.parameters}
        for start, bar in zip(self.scan.start, self._bars(), strict=True):
            if start.constant is None:
                seeds[start] = seeds[start] + bar
        gradient = self.tape.adjoint(seeds, self.theta)
        targets = {f"gradient[{k}]": g for k, g in enumerate(gradient)}
        return Emission(self._names()).lines(targets)


def _code(value: Value) -> str:
    """What an input is called."""
    return str(value.operation.content)


def _changes(state: Sequence[Value], moved: Moved) -> dict[str, Value]:
    return {_code(s): v for s, v in zip(state, moved.state, strict=True)}


def _in(code: Iterable[str]) -> list[str]:
    return [indent(line, "    ") for line in code] or ["    pass"]


FUNCTIONS = ("value", "value_and_grad", "posterior")


@dataclass(frozen=True)
class Argument:
    """An array that a kernel takes or fills: its name, its type as numba writes it."""

    name: str
    type: str


def arguments(scan: Scan) -> list[Argument]:
    """What every kernel of a scan takes, in order."""
    columns = [Argument(f"{b.name}_columns", "float64[:, ::1]") for b in scan.events]
    return [
        Argument("theta", "float64[:, ::1]"),
        Argument("known", "float64[:, ::1]"),
        Argument("step_columns", "float64[:, :, ::1]"),
        *columns,
        Argument("offset", "int64[::1]"),
        Argument("first", "int64[:, ::1]"),
        Argument("done", "int64[::1]"),
        Argument("block", "int64[::1]"),
        Argument("at", "int64[::1]"),
    ]


def extra_arguments(function: str) -> list[Argument]:
    """What a kernel takes besides: "posterior" draws the states at ``stops``, numbers of steps done, from random
    ``numbers`` (b, stop, entry); events know their ``row`` of the data, and ``leaves`` whether they are the
    first after a time's last row."""
    if function != "posterior":
        return []
    return [Argument("row", "int64[::1]"), Argument("leaves", "int64[::1]"), Argument("stops", "int64[::1]"),
            Argument("numbers", "float64[:, :, ::1]")]  # fmt: skip


def results(function: str) -> list[Argument]:
    """What a kernel fills, in order.

    ``total`` (b,), the log density; ``gradient`` (b, theta); ``status`` (b, 2), the reason of a failure (0: none)
    and its event; ``scores`` (set, row, 3): each row's log density, mean and variance given the rows before;
    ``states`` (b, stop, entry): a draw of the states given all rows.
    """
    total, status = Argument("total", "float64[::1]"), Argument("status", "int64[:, ::1]")
    match function:
        case "value":
            return [total, status]
        case "value_and_grad":
            return [total, Argument("gradient", "float64[:, ::1]"), status]
        case "posterior":
            return [
                total,
                Argument("scores", "float64[:, :, ::1]"),
                Argument("states", "float64[:, :, ::1]"),
                status,
            ]
    raise InternalError(f"no kernel function {function}")


def source(scan: Scan, function: str) -> str:
    """The text of a module with ``function``, one of ``FUNCTIONS``."""
    write = Loops(scan)
    match function:
        case "value":
            body = [*write.pass_forward(False), "return total, 0, -1"]
            return _module(write, function, body, works=write.works(back=False))
        case "value_and_grad":
            body = [*write.pass_forward(True), *write.all_back(), "return total, 0, -1"]
            return _module(write, function, body, given=["gradient"], works={
                **write.works(back=True),
                "step_states": f"(steps, {len(write.state)})",
                "event_states": f"(done.shape[0], {len(write.state)})",
            }, failed=["gradient[b] = 0.0"])  # fmt: skip
        case "posterior":
            stop = f"(stops.shape[0], {len(write.state)})"
            body = [*write.pass_traced(), *scan.recursion.backward(), "return total, 0, -1"]
            return _module(write, function, body, given=["numbers", "states"], shared=["row", "leaves", "stops"],
                           works={**write.works(back=False), "before": stop, "after": stop}, sets=["scores"],
                           failed=["states[b] = np.nan"], imports=scan.recursion.imports)  # fmt: skip
    raise InternalError(f"no kernel function {function}")


def _module(
    write: Loops, function: str, body: list[str], *, works: Mapping[str, str],
    given: Sequence[str] = (), sets: Sequence[str] = (), shared: Sequence[str] = (), failed: Sequence[str] = (),
    imports: Sequence[str] = (),
) -> str:  # fmt: skip
    """``function`` over all b, and ``one`` with the body for one of them.

    ``works`` are arrays it needs, by shape; ``given`` arrays it takes by b, ``sets`` by parameter set,
    ``shared`` whole.
    """
    every = [*arguments(write.scan), *extra_arguments(function), *results(function)]
    whole = [
        a.name for a in arguments(write.scan) if a.name not in ("theta", "known", "step_columns", "offset")
    ]
    whole += shared
    taken = ["theta", "known", "step_columns", *whole, "m", "e0", "e1", *works, *given, *sets]
    passed = ["theta[b]", "known[m]", "step_columns[m % step_columns.shape[0]]", *whole, "m", "offset[m]",
              "offset[m + 1]", *works, *(f"{g}[b]" for g in given), *(f"{s}[b // members]" for s in sets)]  # fmt: skip
    each = [
        "members = offset.shape[0] - 1",
        "steps = step_columns.shape[2]",
        *(f"{name} = np.empty({shape})" for name, shape in works.items()),
        "for b in range(theta.shape[0]):",
        "    m = b % members",
        f"    total[b], status[b, 0], status[b, 1] = one({', '.join(passed)})",
        *(["    if status[b, 0] != 0:", *(f"        {line}" for line in failed)] if failed else []),
    ]
    steps = "stops[-1] if stops.shape[0] else 0" if "stops" in shared else "0"
    one = [f"n = max({steps}, done[e1 - 1] if e1 > e0 else 0)", *write.once(), *write.rates(), *body]
    types = ", ".join(a.type for a in every)
    return "\n".join([
        HEAD,
        *write.imports(),
        *imports,
        *_function("one", taken, one, FLAGS),
        *_function(function, [a.name for a in every], each, f'"void({types})", {FLAGS}'),
        "",
    ])  # fmt: skip


def _function(name: str, taken: Iterable[str], body: Iterable[str], flags: str) -> list[str]:
    return ["", f"@njit({flags})", f"def {name}({', '.join(taken)}):", *_in(body)]

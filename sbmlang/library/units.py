"""Units of a model: names, prefixes and conversion factors come from pint, tagged masses from the file.

A ``Unit`` is a factor and an offset to pint's root units together with a dimension. All arithmetic on
units during checking is arithmetic on the small immutable ``Dimension``; pint is asked once per unit name and its answer kept (``remembered``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from sbmlang.errors import did_you_mean
from sbmlang.library.remembered import unit_facts

# What the base dimensions are called in messages. Tagged masses (``gC``) are named after their tag.
_ROOT_LABELS = {
    "meter": "length", "gram": "mass", "second": "time", "kelvin": "temperature", "mole": "substance",
    "ampere": "current", "candela": "luminosity", "bit": "information", "count": "count",
}  # fmt: skip
_TAG_LABELS = {
    "C": "carbon", "N": "nitrogen", "P": "phosphorus", "S": "sulfur", "H2O": "water", "O2": "oxygen",
}  # fmt: skip


@dataclass(frozen=True)
class Dimension:
    """Powers of root units, e.g. ``{gC: 1, gsoil: -1, second: -1}``; hashable, sorted, no zeros."""

    powers: tuple[tuple[str, Fraction], ...] = ()

    @staticmethod
    def of(powers: Mapping[str, Fraction]) -> Dimension:
        return Dimension(tuple(sorted((k, v) for k, v in powers.items() if v)))

    def __mul__(self, other: Dimension) -> Dimension:
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, Fraction(0)) + power
        return Dimension.of(powers)

    def __truediv__(self, other: Dimension) -> Dimension:
        return self * other ** Fraction(-1)

    def __pow__(self, exponent: Fraction | int) -> Dimension:
        return Dimension.of({k: v * exponent for k, v in self.powers})

    @property
    def is_none(self) -> bool:
        return not self.powers

    def __str__(self) -> str:
        """As physicists write it: ``[carbon]/[soil]/[time]``; ``dimensionless`` for none."""
        if not self.powers:
            return "dimensionless"
        top = [f"[{root_label(k)}]{_power(v)}" for k, v in self.powers if v > 0]
        bottom = [f"/[{root_label(k)}]{_power(-v)}" for k, v in self.powers if v < 0]
        return ("*".join(top) or "1") + "".join(bottom)


NONE = Dimension()


def root_label(root: str) -> str:
    """What a root unit measures: ``meter`` -> ``length``, ``gC`` -> ``carbon``, ``gsoil`` -> ``soil``."""
    if root in _ROOT_LABELS:
        return _ROOT_LABELS[root]
    if root.startswith("g") and len(root) > 1:
        return _TAG_LABELS.get(root[1:], root[1:])
    return root


def _power(value: Fraction) -> str:
    if value == 1:
        return ""
    return f"^{value}" if value.denominator == 1 else f"^({value})"


@dataclass(frozen=True)
class Unit:
    """``root value = scale * value + offset``; ``text`` is how the user wrote it."""

    text: str
    dimension: Dimension
    scale: float = 1.0
    offset: float = 0.0

    def __str__(self) -> str:
        return self.text or "1"

    def converter_to(self, other: Unit) -> tuple[float, float]:
        """``(a, b)`` with ``value in other = a * value in self + b``; the dimensions must agree."""
        if self.dimension != other.dimension:
            raise ValueError(f"{self} is {self.dimension}, {other} is {other.dimension}")
        if (self.scale, self.offset) == (other.scale, other.offset):
            return 1.0, 0.0
        return self.scale / other.scale, (self.offset - other.offset) / other.scale


ONE = Unit("", NONE)


class UnknownUnit(Exception):
    """A unit name that neither pint nor the file knows; ``help`` has suggestions."""

    def __init__(self, name: str, help: tuple[str, ...]):
        self.name, self.help = name, help
        super().__init__(name)


class OffsetInProduct(Exception):
    """``degC`` or ``degF`` inside a compound unit."""


# Tags that scientists write for masses without declaring them; the message then says what to declare.
_USUAL_TAGS = ("gC", "gN", "gP", "gsoil", "molC", "molCO2", "gH2O")
_SI_PREFIXES: Mapping[str, float] = {
    "": 1.0, "k": 1e3, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15, "M": 1e6, "G": 1e9,
    "T": 1e12, "P": 1e15, "E": 1e18, "h": 1e2, "da": 1e1, "d": 1e-1, "c": 1e-2,
    "kilo": 1e3, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "mega": 1e6,
    "giga": 1e9, "tera": 1e12, "peta": 1e15, "exa": 1e18, "hecto": 1e2, "deca": 1e1, "deci": 1e-1, "centi": 1e-2,
}  # fmt: skip


class Units:
    """The unit names of one model."""

    def __init__(self) -> None:
        self._own: dict[str, Unit] = {}
        self._known: dict[str, Unit] = {"%": Unit("%", NONE, 0.01)}

    def define_base(self, name: str) -> None:
        """A new base unit; SI prefixes come with it."""
        self._own[name] = Unit(name, Dimension(((name, Fraction(1)),)))

    def define(self, name: str, scale: float, unit: Unit) -> None:
        """``name`` is ``scale`` times ``unit``; SI prefixes come with it."""
        self._own[name] = Unit(name, unit.dimension, scale * unit.scale)

    def is_known(self, name: str) -> bool:
        try:
            self.named(name)
        except UnknownUnit:
            return False
        return True

    def named(self, name: str) -> Unit:
        """The unit of one name, prefix included.

        Raises ``UnknownUnit``.
        """
        if name not in self._known:
            self._known[name] = self._look_up(name)
        return self._known[name]

    def product(self, factors: Iterable[tuple[str, Fraction]], text: str) -> Unit:
        """The product of named units raised to powers.

        Raises ``UnknownUnit``, and ``OffsetInProduct`` for a temperature scale with a zero point of
        its own inside a compound.
        """
        pairs = list(factors)
        if len(pairs) == 1 and pairs[0][1] == 1:
            unit = self.named(pairs[0][0])
            return Unit(text, unit.dimension, unit.scale, unit.offset)
        scale, dimension = 1.0, NONE
        for name, power in pairs:
            unit = self.named(name)
            if unit.offset:
                raise OffsetInProduct(name)
            scale *= unit.scale ** float(power)
            dimension *= unit.dimension**power
        return Unit(text, dimension, scale)

    def _look_up(self, name: str) -> Unit:
        """What pint knows comes first, then the model's own units with their prefixes."""
        found = unit_facts(name)
        if found is not None:
            scale, powers, offset = found
            exact = {root: Fraction(power).limit_denominator(1000) for root, power in powers.items()}
            return Unit(name, Dimension.of(exact), scale, offset)
        for prefix, factor in _SI_PREFIXES.items():
            own = self._own.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if own is not None:
                return Unit(name, own.dimension, factor * own.scale)
        raise UnknownUnit(name, self._suggest(name))

    def _suggest(self, name: str) -> tuple[str, ...]:
        for tag in _USUAL_TAGS:
            if name.endswith(tag) and name.removesuffix(tag) in _SI_PREFIXES:
                return (f"declare it: unit {tag}  (SI prefixes such as m{tag} come by themselves)",)
        if name[-1:].isdigit() and self.is_known(name.rstrip("0123456789")):
            stem = name.rstrip("0123456789")
            return (f"write a power with ^: {stem}^{name.removeprefix(stem)}",)
        return did_you_mean(name, [*self._own, *_COMMON])


_COMMON = (
    "second", "minute", "hour", "day", "week", "month", "year", "meter", "cm", "mm", "km", "gram", "kg", "mg",
    "ug", "mol", "mmol", "umol", "kelvin", "K", "degC", "degF", "joule", "kJ", "watt", "pascal", "kPa", "hPa",
    "liter", "mL", "hectare", "ppm", "percent", "radian", "degree", "newton", "volt",
)  # fmt: skip


@dataclass(frozen=True)
class CoherentSystem:
    """The unit system a model is computed in: a factor for each root unit.

    Chosen from the file itself so that values stay near what the user wrote: a root unit takes the
    simple unit written most often for it (``hour``, ``cm``, ``mgC``; the first of equals); a compound one
    (``kJ``) fixes the first root that nothing simple fixed.
    """

    factors: Mapping[str, float]
    names: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def choose(time: Unit, units: Iterable[Unit]) -> CoherentSystem:
        """From the time variable's unit, which is kept, and every single unit as often as it is written."""
        factors: dict[str, float] = {}
        names: dict[str, str] = {}
        uses = Counter(units)
        ordered = list(uses)
        if time.dimension.powers:
            root, power = time.dimension.powers[0]
            factors[root] = time.scale ** (1 / float(power))
            names[root] = time.text if power == 1 else ""
        for unit in sorted(ordered, key=lambda u: -uses[u]):
            match unit.dimension.powers:
                case ((root, power),) if power == 1 and not unit.offset and root not in factors:
                    factors[root], names[root] = unit.scale, unit.text
        for unit in ordered:
            free = [(r, p) for r, p in unit.dimension.powers if r not in factors]
            # Lengths and times stay SI where a compound could also fix a mass or an amount.
            free.sort(key=lambda rp: rp[0] in ("meter", "second"))
            for root, _ in free[1:]:
                factors[root] = _SI.get(root, 1.0)
            if free:
                root, power = free[0]
                rest = CoherentSystem(factors)._size(
                    Dimension.of({r: p for r, p in unit.dimension.powers if r != root})
                )
                factors[root] = (unit.scale / rest) ** (1 / float(power))
        return CoherentSystem(factors, names)

    def _size(self, dimension: Dimension) -> float:
        size = 1.0
        for root, power in dimension.powers:
            size *= self.factors.get(root, _SI.get(root, 1.0)) ** float(power)
        return size

    def to_coherent(self, unit: Unit) -> tuple[float, float]:
        """``(a, b)`` with ``coherent value = a * value in unit + b``, ``a`` exact where it should be 1."""
        size = self._size(unit.dimension)
        return _snap(unit.scale / size), _snap(unit.offset / size)

    def unit_of(self, dimension: Dimension) -> Unit:
        """The coherent unit of a dimension, written with the units of the file."""
        parts = [(self.names.get(root) or _SI_NAMES.get(root, root), p) for root, p in dimension.powers]
        top = "*".join(n + _power(p) for n, p in parts if p > 0)
        bottom = "".join(f"/{n}{_power(-p)}" for n, p in parts if p < 0)
        text = (top or ("1" if bottom else "")) + bottom
        return Unit(text, dimension, self._size(dimension))


_SI = {"gram": 1000.0}
_SI_NAMES = {"gram": "kg", "meter": "m", "second": "s", "kelvin": "K", "mole": "mol"}


def _snap(value: float) -> float:
    """Rounds away the last digits that powers of unit factors leave behind."""
    return float(f"{value:.14g}")

"""Small models built by hand, and reading with their units."""

import re
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import sympy as sp

from sbmlang import ir
from sbmlang.data.read import read_data
from sbmlang.errors import SbmError, error
from sbmlang.library.units import CoherentSystem, Unit, Units

UNITS = Units()
UNITS.define_base("gC")
UNITS.define_base("gsoil")
UNITS.define("molCO2", 12.011, UNITS.named("gC"))


def unit(text: str) -> Unit:
    """``mgC/gsoil/day``, ``W m-2``, ``1``; a stand-in for the parser of units."""
    factors = []
    for k, part in enumerate(text.split("/")):
        for word in part.replace("*", " ").split():
            match = re.fullmatch(r"([^\W\d]\w*|%)(?:\^?(-\d+)|\^(\d+))?", word)
            if word == "1":
                continue
            if match is None:
                raise SbmError(error("E190", f"'{word}' is not part of a unit"))
            power = Fraction(match[2] or match[3] or 1)
            factors.append((match[1], power if k == 0 else -power))
    return UNITS.product(factors, text)


def law(family: str = "Normal", **args: float) -> ir.Law:
    given = {k: sp.Float(v) for k, v in args.items()}
    return ir.Law(family, given or {"mu": ir.Ref("x"), "sigma": sp.Float(1)})


def observation(
    name: str = "CO2", units: str = "mgC", *, column: str | None = None, **more: Any
) -> ir.Observation:
    more.setdefault("law", law())
    return ir.Observation(name=name, unit=unit(units), column=column or name, **more)


def forcing(name: str = "temp", units: str = "K", kind: Any = "linear", **more: Any) -> ir.Forcing:
    more.setdefault("column", name)
    return ir.Forcing(name=name, unit=unit(units), interpolation=kind, **more)


def covariate(name: str = "depth", units: str = "cm", **more: Any) -> ir.Covariate:
    more.setdefault("column", name)
    return ir.Covariate(name=name, unit=unit(units), **more)


def window(span_kind: Any, kind: Any = "integral", length: Any = None) -> ir.Window:
    return ir.Window(name="w", kind=kind, span_kind=span_kind, expr=ir.Ref("x"), length=length)


def model(*quantities: ir.Quantity, dims: tuple[ir.Dim, ...] = (), **time: Any) -> ir.Model:
    """Of these observations, forcings, covariates and constants; the time in days unless said otherwise."""

    def only(kind: type) -> tuple[Any, ...]:
        return tuple(q for q in quantities if isinstance(q, kind))

    return ir.Model(
        name="test",
        system=CoherentSystem({}),
        time=ir.Time("t", unit(time.pop("unit", "day")), **time),
        dims={d.name: d for d in dims},
        parameters=(),
        observations=only(ir.Observation),
        forcings=only(ir.Forcing),
        covariates=only(ir.Covariate),
        definitions=only(ir.Definition),
    )


def read(model: ir.Model, *tables: Any, forcing: Any = None) -> Any:
    return read_data(model, *tables, forcing=forcing, parse_unit=unit)


def problems(model: ir.Model, *tables: Any, forcing: Any = None) -> tuple[Any, ...]:
    """The diagnostics of data that cannot be read."""
    with pytest.raises(SbmError) as caught:
        read(model, *tables, forcing=forcing)
    return caught.value.diagnostics


def problem(model: ir.Model, *tables: Any, forcing: Any = None) -> Any:
    """The one error among them."""
    (only,) = (d for d in problems(model, *tables, forcing=forcing) if not d.is_warning)
    return only


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(
        unit=unit, law=law, observation=observation, forcing=forcing, covariate=covariate, window=window,
        model=model, read=read, problems=problems, problem=problem, dim=ir.Dim,
    )  # fmt: skip

"""A comparison as one HTML page: tables, figures and verdict, all in the file, nothing from a network."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sbmlang.errors import SbmError, error
from sbmlang.results.compare_sheets import columns, sheets
from sbmlang.results.verdict import verdict

if TYPE_CHECKING:
    from sbmlang.results.compare import Comparison

SECTIONS = {
    "fits": "The fits",
    "agreement": "Agreement of the posteriors",
    "trust": "Trust",
    "prediction": "Prediction",
    "cost": "Cost",
}


def html(found: Comparison) -> str:
    """The report. Raises ``SbmError`` E805 without jinja2."""
    from sbmlang.results.compare_figures import drawings

    drawn = drawings(found)
    tables = [{"sheet": s, "columns": columns(s)} for s in sheets(found, rows=None)]
    parts = [
        {
            "name": name,
            "title": title,
            "tables": [t for t in tables if t["sheet"].section == name],  # type: ignore[attr-defined]
            "figures": [d for d in drawn if d.section == name],
        }
        for name, title in SECTIONS.items()
    ]
    first = found.fits[0].tree.attrs
    return page(
        "report.html.j2",
        title=f"Comparison of {len(found.fits)} fits of {first.get('model_name', '')}",
        doc=first.get("model_doc", ""),
        statements=verdict(found),
        parts=[p for p in parts if p["tables"] or p["figures"]],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=first.get("versions", "") and found.fits[0].attributes["versions"].get("sbmlang", ""),
    )


def page(template: str, **values: Any) -> str:
    """A page from a template of this package; every value is escaped. Raises ``SbmError`` E805 without jinja2."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError:
        raise SbmError(
            error("E805", "a page of results needs the package 'jinja2', which is not installed",
                  help="pip install 'sbmlang[compare]'")
        ) from None  # fmt: skip
    text = (files("sbmlang.results") / template).read_text("utf-8")
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(text).render(
        **values, style=(files("sbmlang.results") / "page.css").read_text("utf-8")
    )

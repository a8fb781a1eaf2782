"""Pools and fluxes, or a simulator between parameters and data, as a picture: Graphviz source, and an SVG drawn here.

The drawing puts pools in columns by their distance from the inputs, sinks last, and bends each arrow until
it passes beside every other box and its label covers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import product
from math import hypot

from sbmlang.ir.boxes import Box, Edge, boxes, columns, edges
from sbmlang.ir.model import Model

_BOX = (128.0, 50.0)
_GAP = (290.0, 150.0)  # between centres, along and across
_MARGIN = 70.0
_CLOSE = (230.0, 76.0)  # the same for simulators, whose arrows have no names
_BENDS = (0.12, -0.12, 0.28, -0.28, 0.45, -0.45, 0.65, -0.65, 0.9, -0.9)
_PLACES = (0.5, 0.4, 0.6, 0.3, 0.7)

Point = tuple[float, float]


_SHAPES = {
    "pool": "box, style=rounded", "sink": "box, style=dashed", "quantity": "ellipse", "simulator": "box3d",
}  # fmt: skip


def dot(model: Model) -> str:
    """Graphviz source text of the diagram."""
    quoted = '"' + model.name.replace('"', "'") + '"'
    lines = [
        f"digraph {quoted} {{",
        "  rankdir=LR;",
        '  node [fontname="sans-serif"]; edge [fontname="sans-serif"];',
    ]
    for b in boxes(model):
        lines.append(f'  "{b.name}" [shape={_SHAPES[b.kind]}, label="{b.title}"];')
    for k, e in enumerate(edges(model)):
        ends = [f'"{n}"' if n is not None else f'"outside{k}"' for n in (e.source, e.target)]
        lines += [f'  "outside{k}" [shape=point];'] if None in (e.source, e.target) else []
        style = ", style=dotted" if e.influence else ""
        lines.append(f'  {ends[0]} -> {ends[1]} [label="{e.label}"{style}];')
    return "\n".join([*lines, "}"]) + "\n"


# --- layout ------------------------------------------------------------------------------------------


def _centres(layers: Sequence[Sequence[str]], gap: Point = _GAP) -> dict[str, Point]:
    tallest = max(map(len, layers), default=1)
    return {
        name: (
            _MARGIN + 60 + _BOX[0] / 2 + column * gap[0],
            _MARGIN + _BOX[1] / 2 + (row + (tallest - len(names)) / 2) * gap[1],
        )
        for column, names in enumerate(layers)
        for row, name in enumerate(names)
    }


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Rect) -> bool:
        return (
            abs(self.x - other.x) * 2 < self.width + other.width
            and abs(self.y - other.y) * 2 < self.height + other.height
        )

    def holds(self, p: Point, around: float = 0.0) -> bool:
        return abs(p[0] - self.x) < self.width / 2 + around and abs(p[1] - self.y) < self.height / 2 + around


@dataclass(frozen=True)
class Curve:
    """A quadratic Bezier curve."""

    start: Point
    control: Point
    end: Point

    def at(self, t: float) -> Point:
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        x, y = (a * p + b * q + c * r for p, q, r in zip(self.start, self.control, self.end, strict=True))
        return x, y


@dataclass
class _Drawing:
    boxes: dict[str, Rect]
    labels: list[Rect] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def place(self, edge: Edge) -> tuple[Curve, Point]:
        """The least bad curve for an arrow and the place of its label."""
        width = _width(edge.label)
        options = (
            (curve, curve.at(t), k) for k, (curve, t) in enumerate(product(self._options(edge), _PLACES))
        )
        curve, where, _ = min(options, key=lambda o: self._cost(edge, o[0], o[1], width) + 0.01 * o[2])
        self.labels.append(Rect(*where, width if edge.label else 0.0, 18.0))
        self.curves.append(curve)
        return curve, where

    def _options(self, edge: Edge) -> list[Curve]:
        if edge.source is None or edge.target is None:
            return list(self._outside(edge))
        a, b = self.boxes[edge.source], self.boxes[edge.target]
        if a is b:
            return [
                Curve((a.x - 30, a.y - a.height / 2), (a.x, a.y - 110), (a.x + 30, a.y - a.height / 2 - 4))
            ]
        bends = _BENDS if edge.label or edge.influence else (0.0, *_BENDS)
        return [_between(a, b, bend) for bend in bends]

    def _outside(self, edge: Edge) -> Iterator[Curve]:
        """Short arrows in from the left, top or bottom, or out to the right, bottom or top."""
        box = self.boxes[edge.target or edge.source or ""]
        ways = [(-1, 0), (0, -1), (0, 1)] if edge.source is None else [(1, 0), (0, 1), (0, -1)]
        for dx, dy in ways:
            for slide in (0.0, 0.3, -0.3):
                near = (
                    box.x + dx * box.width / 2 + (slide * box.width if dy else 0),
                    box.y + dy * box.height / 2 + (slide * box.height if dx else 0),
                )
                far = near[0] + dx * 90, near[1] + dy * 60
                middle = (near[0] + far[0]) / 2, (near[1] + far[1]) / 2
                yield Curve(far, middle, near) if edge.source is None else Curve(near, middle, far)

    def _cost(self, edge: Edge, curve: Curve, where: Point, width: float) -> float:
        others = [r for n, r in self.boxes.items() if n not in (edge.source, edge.target)]
        points = [curve.at(k / 24) for k in range(1, 24)]
        label = Rect(*where, width, 18.0)
        cost = 20.0 * sum(r.holds(p, 10) for r in others for p in points)
        if edge.label:
            cost += 30.0 * sum(label.overlaps(r) for r in (*self.boxes.values(), *self.labels))
            cost += 3.0 * sum(label.holds(c.at(k / 24)) for c in self.curves for k in range(25))
        cost += 8.0 * sum(r.holds(p) for r in self.labels for p in points)
        return cost + 6.0 * sum(_near(points, c) for c in self.curves)


def _near(points: list[Point], curve: Curve) -> float:
    """How much of a curve runs along another one."""
    there = [curve.at(k / 12) for k in range(1, 12)]
    return sum(any(hypot(p[0] - q[0], p[1] - q[1]) < 12 for q in there) for p in points) / len(points)


def _between(a: Rect, b: Rect, bend: float) -> Curve:
    dx, dy = b.x - a.x, b.y - a.y
    control = ((a.x + b.x) / 2 - bend * dy, (a.y + b.y) / 2 + bend * dx)
    return Curve(_border(a, control, 0), control, _border(b, control, 3))


def _border(box: Rect, towards: Point, gap: float) -> Point:
    """Where the line from a box's centre leaves the box."""
    dx, dy = towards[0] - box.x, towards[1] - box.y
    scale = min(
        (box.width / 2 + gap) / abs(dx) if dx else float("inf"),
        (box.height / 2 + gap) / abs(dy) if dy else float("inf"),
    )
    return box.x + dx * scale, box.y + dy * scale


# --- drawing -----------------------------------------------------------------------------------------

_STYLE = """
  text { font-family: Helvetica, Arial, sans-serif; text-anchor: middle; fill: #1d2b36; }
  .pool { fill: #e8f1f5; stroke: #2b6777; stroke-width: 1.6; }
  .quantity { fill: #fff; stroke: #93a3ae; stroke-width: 1.3; }
  .simulator { fill: #d5e3e8; stroke: #2b6777; stroke-width: 2.4; }
  .sink { fill: #f4f1ea; stroke: #8a7d65; stroke-width: 1.4; stroke-dasharray: 5 3; }
  .name { font-size: 15px; font-weight: bold; }
  .unit { font-size: 11px; fill: #566570; }
  .flux { fill: none; stroke: #44596a; stroke-width: 1.4; }
  .influence { fill: none; stroke: #93a3ae; stroke-width: 1.2; stroke-dasharray: 2 4; }
  path { marker-end: url(#arrow); }
  marker path { marker-end: none; }
  .label { font-size: 11.5px; }
"""


def svg(model: Model) -> str:
    """The diagram as SVG text: pools as boxes, sinks dashed, an arrow with its name per flux and target."""
    centres = _centres(columns(model), _CLOSE if model.simulators else _GAP)
    drawing = _Drawing({name: Rect(*at, *_BOX) for name, at in centres.items()})
    # Arrows with little freedom come first; the others find their way around them.
    ordered = sorted(edges(model), key=lambda e: (e.source is not None and e.target is not None, e.influence))
    placed = [(e, *drawing.place(e)) for e in ordered]
    x0, y0, x1, y1 = _extent(drawing)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x0:.0f} {y0:.0f} {x1 - x0:.0f} {y1 - y0:.0f}" '
        f'width="{x1 - x0:.0f}" height="{y1 - y0:.0f}">',
        f"<title>{escape(model.name)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0,1 L10,5 L0,9 z" fill="#44596a"/></marker></defs>',
        f'<rect x="{x0:.0f}" y="{y0:.0f}" width="100%" height="100%" fill="#fff"/>',
        *(_path(e, c) for e, c, _ in placed),
        *(_box(b, drawing.boxes[b.name]) for b in boxes(model)),
        *(_label(e.label, at) for e, _, at in placed if e.label),
        "</svg>",
        "",
    ])  # fmt: skip


def _extent(drawing: _Drawing) -> tuple[float, float, float, float]:
    rects: Iterable[Rect] = (*drawing.boxes.values(), *drawing.labels)
    points = [c.at(k / 24) for c in drawing.curves for k in range(25)]
    points += [(r.x + s * r.width / 2, r.y + s * r.height / 2) for r in rects for s in (-1, 1)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    pad = 16.0
    return (
        min(xs, default=0) - pad,
        min(ys, default=0) - pad,
        max(xs, default=9) + pad,
        max(ys, default=9) + pad,
    )


def _path(edge: Edge, c: Curve) -> str:
    kind = "influence" if edge.influence else "flux"
    (x0, y0), (x1, y1), (x2, y2) = c.start, c.control, c.end
    return f'<path class="{kind}" d="M{x0:.1f},{y0:.1f} Q{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f}"/>'


def _label(label: str, at: Point) -> str:
    """A name on a white ground, so that the arrow does not run through it."""
    x, y = at
    width = _width(label)
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - 8:.1f}" width="{width:.1f}" height="16" fill="#fff"/>'
        f'<text class="label" x="{x:.1f}" y="{y + 4:.1f}">{escape(label)}</text>'
    )


def _width(label: str) -> float:
    return 6.6 * len(label) + 6


def _box(b: Box, r: Rect) -> str:
    lines = [
        f'<rect class="{b.kind}" x="{r.x - r.width / 2:.1f}" y="{r.y - r.height / 2:.1f}" '
        f'width="{r.width:.0f}" height="{r.height:.0f}" rx="{2 if b.kind == "simulator" else 9}">'
        f"<title>{escape(b.doc)}</title></rect>",
        f'<text class="name" x="{r.x:.1f}" y="{r.y + (0 if b.unit else 5):.1f}">{escape(b.title)}</text>',
    ]
    if b.unit:
        lines.append(f'<text class="unit" x="{r.x:.1f}" y="{r.y + 16:.1f}">{escape(b.unit)}</text>')
    return "\n".join(lines)

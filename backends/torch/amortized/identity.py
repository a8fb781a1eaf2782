"""What a network belongs to: the parts of a model as texts, so that a difference can be named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from sbmlang.ir import Law, Model, Root


def parts(model: Model) -> dict[str, str]:
    """A text for everything in a model that its simulations depend on; comments and words of explanation are not."""
    return dict(_parts(model))


def digest(model: Model) -> str:
    """A short text that is the same for models that simulate the same."""
    return hashlib.sha256(repr(sorted(parts(model).items())).encode()).hexdigest()[:16]


def differences(trained: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is new, gone, or written otherwise, by name."""
    return [
        *(f"{name}: {text}, in training {trained[name]}" for name, text in now.items()
          if name in trained and trained[name] != text),
        *(f"{name} is new" for name in now if name not in trained),
        *(f"{name} is gone" for name in trained if name not in now),
    ]  # fmt: skip


def _parts(m: Model) -> Iterator[tuple[str, str]]:
    t = m.time
    yield "time", f"{t.name} [{t.unit}] from {t.start} step {t.step} forcing at {t.forcing_at} {t.scheme}"
    for dim in m.dims.values():
        yield f"index {dim.name}", f"{dim.size} {dim.labels}"
    for p in m.parameters:
        yield f"the prior of {p.name}", _laws(p.law, p.group, p.unit, p.dims, p.lower, p.upper)
    for j in m.joints:
        yield f"the prior of {', '.join(j.members)}", _laws(j.law)
    for covariate in m.covariates:
        yield f"covariate {covariate.name}", f"[{covariate.unit}] {covariate.dims}"
    for forcing in m.forcings:
        yield f"forcing {forcing.name}", f"[{forcing.unit}] {forcing.dims} {forcing.interpolation}"
    for simulator in m.simulators:
        yield (
            f"simulator {simulator.name}",
            f"{simulator.kind} {simulator.source} {simulator.inputs} {[(o.name, o.dims, str(o.unit)) for o in simulator.outputs]} {simulator.density}",
        )
    for d in m.definitions:
        if isinstance(d, Root):
            yield f"the definition of {', '.join(d.names)}", str(d.residuals)
        else:
            yield f"the definition of {d.name}", f"{d.expr} [{d.unit}] {d.dims}"
    for s in m.states:
        yield f"the start of {s.name}", f"{_laws(s.start)} {s.init} [{s.unit}] {s.dims}"
    for name, equation in m.dynamics.equations.items():
        yield f"the equation of {name}", str(equation)
    for name, noise in getattr(m.dynamics, "diffusion", {}).items():
        yield f"the noise of {name}", str(noise)
    for draw in getattr(m.dynamics, "draws", ()):
        yield f"the draw {draw.name}", _laws(draw.law)
    for o in m.observations:
        windows = [(w.kind, w.span_kind, str(w.expr), str(w.length)) for w in o.windows]
        limit = (o.censoring.kind, str(o.censoring.limit)) if o.censoring else ""
        yield (
            f"the observation {o.name}",
            f"{_laws(o.law)} [{o.unit}] {o.dims} {windows or ''} {limit}".strip(),
        )


def _laws(law: Law | None, *others: Any) -> str:
    arguments = "" if law is None else ", ".join(f"{n}={a}" for n, a in law.args.items())
    return " ".join([f"{law.family}({arguments})" if law else "", *(str(o) for o in others if o not in (None, ()))]).strip()  # fmt: skip

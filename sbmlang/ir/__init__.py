"""What a backend author reads: the symbolic model and the facts about it."""

from sbmlang.ir.model import (
    Covariate,
    Definition,
    Dim,
    Flux,
    Forcing,
    Joint,
    Law,
    Model,
    Observation,
    Ode,
    Parameter,
    Quantity,
    Report,
    Root,
    Stage,
    State,
    Time,
    Window,
)
from sbmlang.ir.symbols import (
    Along,
    Expit,
    Index,
    Logit,
    Member,
    Over,
    Ref,
    Steady,
    WindowValue,
    bases,
    coordinate,
    refs,
)

__all__ = [
    "Along", "Covariate", "Definition", "Dim", "Expit", "Flux", "Forcing", "Index", "Joint", "Law", "Logit",
    "Member", "Model", "Observation", "Ode", "Over", "Parameter", "Quantity", "Ref", "Report", "Root",
    "Stage", "State", "Steady", "Time", "Window", "WindowValue", "bases", "coordinate", "refs",
]  # fmt: skip

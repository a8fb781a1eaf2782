"""What a backend author reads: the symbolic model and the facts about it."""

from sbmlang.ir.model import (
    Censoring,
    Covariate,
    Definition,
    Dim,
    Draw,
    Dynamics,
    Flux,
    Forcing,
    Joint,
    Law,
    Map,
    Model,
    Observation,
    Ode,
    Parameter,
    Quantity,
    Report,
    Root,
    Sde,
    Stage,
    State,
    Time,
    Wiener,
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
    "Along", "Censoring", "Covariate", "Definition", "Dim", "Draw", "Dynamics", "Expit", "Flux",
    "Forcing", "Index", "Joint", "Law", "Logit", "Map", "Member", "Model", "Observation", "Ode", "Over",
    "Parameter", "Quantity", "Ref", "Report", "Root", "Sde", "Stage", "State", "Steady", "Time", "Wiener",
    "Window", "WindowValue", "bases", "coordinate", "refs",
]  # fmt: skip

"""How the path behind simulated data was made, said in the file, and whether a model makes it the same way.

The scheme and the step of a stochastic path are part of the model: data simulated by one and fitted by
another give a shifted posterior, silently. So files of simulated data say it in a comment before the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sbmlang.data.findings import Findings
from sbmlang.data.table import Table
from sbmlang.ir import Model, Ode, Sde

_LINE = re.compile(r"path in steps: (?P<made>.+)")


def path_made(model: Model) -> str | None:
    """``scheme euler, step 1 hour, forcing at end``; None for a model whose path is not made in steps."""
    if not model.states or isinstance(model.dynamics, Ode):
        return None
    time = model.time
    unit = "" if str(time.unit) == "1" else f" {time.unit}"
    step = "no step" if time.step is None else f"step {time.step:g}{unit}"
    scheme = f"scheme {time.scheme or 'euler'}, " if isinstance(model.dynamics, Sde) else "discrete time, "
    return f"{scheme}{step}, forcing at {time.forcing_at}"


def comment(made: str) -> str:
    """The comment line of a file of simulated data."""
    return f"# path in steps: {made}\n"


def check_origin(model: Model, tables: Iterable[Table], findings: Findings) -> None:
    """Reports W760 for a table whose path was made in another way than the model makes its own."""
    own = path_made(model)
    if own is None:
        return
    for table in tables:
        found = next((m for line in table.remarks if (m := _LINE.search(line))), None)
        if found and found["made"].strip() != own:
            findings.add(
                "W760",
                f"the path behind these data was simulated with {found['made'].strip()}; this model has {own}",
                place=table.name,
                help="fit with the scheme and step of the simulation, or simulate with those of the model: "
                "they are part of it and change the posterior",
            )

"""The starter project that ``sbm new`` writes."""

from __future__ import annotations

import re
from pathlib import Path

from sbmlang.errors import SbmError, error

MODEL = """model {name} "One pool that decays, with its respiration observed"

unit gC, gsoil
time t [day] from 0 to 100

param k  [1/day]      ~ LogNormal(median=0.05, sigma=0.7)  "decay rate"
param C0 [mgC/gsoil]  ~ LogNormal(median=2, sigma=0.5)     "carbon at the start"
param s  [mgC/gsoil]  ~ HalfNormal(0.2)                    "measurement error"

state C [mgC/gsoil] >= 0 "soil carbon"
sink CO2 "respired carbon"

flux decay: C -> CO2 at k*C

init C = C0

observe co2 [mgC/gsoil] ~ Normal(CO2, s) "cumulative respiration"
"""
DATA = """t [day],co2 [mgC/gsoil]
1,0.08
3,0.31
7,0.52
14,0.98
28,1.49
50,1.87
80,1.92
100,2.01
"""
README = """# {name}

```
sbm check model.sbm                                   # names, units, structure
sbm show model.sbm                                    # what the compiler found out
sbm run model.sbm --data data.csv -o fit.nc           # posterior by NUTS
sbm summary fit.nc
sbm plot fit.nc -o figures
```

The data are made up: replace them by yours (units in the header are converted).
"""


def write(folder: Path) -> list[Path]:
    """Makes the folder with its files.

    Raises ``SbmError``: E733 for a name that cannot be one, E734 if it exists or cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", folder.name):
        raise SbmError(
            error(
                "E733",
                f"'{folder.name}' cannot name a model",
                help="use letters, digits and _, beginning with a letter",
            )
        )
    if folder.exists():
        raise SbmError(
            error("E734", f"'{folder}' exists already", help="choose another name; nothing was changed")
        )
    try:
        folder.mkdir(parents=True)
        files = {
            "model.sbm": MODEL.format(name=folder.name),
            "data.csv": DATA,
            "README.md": README.format(name=folder.name),
        }
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as problem:
        raise SbmError(error("E734", f"'{folder}' cannot be written: {problem.strerror}")) from None
    return [folder / name for name in files]

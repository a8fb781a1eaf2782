"""Emulators: what a slow simulator or path would give, learned from few runs, with the error it makes.

``emulate`` makes one, ``apply`` puts it into a program that any method fits, ``save_emulator`` and ``open_emulator``
keep it. The parts are the coordinates of the parameters (``inputs``), principal components of the outputs
(``reduction``), a predictor for each (``predictors``, ``learning``), chosen and judged by cross-validation (``fit``);
``paths`` turns the path of a declared model into a simulator, ``likelihood`` puts the error into the law of the rows.
"""

from sbmlang.emulation.applied import Emulated, apply
from sbmlang.emulation.emulator import Emulator, Score
from sbmlang.emulation.make import emulate, path_outputs
from sbmlang.emulation.store import open_emulator, save_emulator

__all__ = [
    "Emulated",
    "Emulator",
    "Score",
    "apply",
    "emulate",
    "open_emulator",
    "path_outputs",
    "save_emulator",
]

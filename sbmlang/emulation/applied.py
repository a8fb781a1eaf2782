"""A model with an emulator in the place of its path or simulator: a program that any method fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sbmlang import registry
from sbmlang.data.dataset import Dataset
from sbmlang.driver import Model
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.ir import Model as Symbolic
from sbmlang.passes import pipeline
from sbmlang.protocols import Program
from sbmlang.results import attributes

from .emulator import Emulator
from .likelihood import COMPONENT, ERROR, SCALE, slopes_of, with_error
from .make import signature
from .paths import emulated

if TYPE_CHECKING:
    from xarray import DataTree

SHARE = 0.25  # of a channel's predictive variance; an emulator with more of it than that is to blame
EDGE = 0.05  # share of draws beyond the runs from which on the results say so


@dataclass(frozen=True, eq=False)
class Emulated:
    """A program in which ``emulator`` computes the outputs, and the data it takes.

    ``program`` is as any other (``log_density``, ``predict``, ``infer``, and what its backend adds); its model has the
    parameters of the file and ``emulator_error`` (component,), standard normal, the emulator's own error.
    """

    program: Program
    data: Dataset
    emulator: Emulator
    original: Symbolic
    notes: tuple[Diagnostic, ...]

    def infer(self, **options: Any) -> DataTree:
        """``program.infer`` on the data, as ``told``."""
        return self.told(self.program.infer(self.data, **options))

    def told(self, tree: DataTree) -> DataTree:
        """A fit of ``program`` to ``data`` (by ``program.infer``, or by a network of it) with what the emulator adds
        said in it: attributes ``emulator_r2`` and ``emulator_error`` (by output, of runs held out),
        ``emulator_truncation`` (share of variance that the components leave out), ``emulator`` (what it was made of),
        and warnings W880 (its error is a large part of the spread) and W881 (draws beyond the runs)."""
        said = [str(n) for n in (*self.notes, *self._large(tree), *self._beyond(tree))]
        held_out = self.emulator.held_out
        extra = {
            "notes": [*attributes(tree).get("notes", []), *said],
            "emulator_r2": {n: s.r2 for n, s in held_out.items()},
            "emulator_error": {n: s.error for n, s in held_out.items()},
            "emulator": {k: v for k, v in self.emulator.about.items() if k != "text"},
        }
        tree.attrs |= {n: json.dumps(v) for n, v in extra.items()}
        tree.attrs["emulator_truncation"] = self.emulator.truncated
        encoded = {*str(tree.attrs.get("json_attributes", "")).split(), *extra}
        tree.attrs["json_attributes"] = " ".join(sorted(encoded))
        return _along_rows(tree, self.original)

    def _large(self, tree: DataTree) -> list[Diagnostic]:
        """W880 for each channel where the emulator's error is much of what the predictions spread."""
        found = []
        predicted: Mapping[Any, Any] = tree["posterior_predictive"].data_vars if "posterior_predictive" in tree.children else {}  # fmt: skip
        for o in self.program.model.observations:
            slopes = slopes_of(self.program.model, o, [f.name for f in self.emulator.fields])
            if o.name not in predicted or not slopes:
                continue
            spread = SCALE.get(o.law.family, np.positive)(np.asarray(predicted[o.name])).var(axis=(0, 1))
            error = sum(slope**2 * np.median(self.emulator.error_of(f) ** 2) for f, slope in slopes.items())
            if (share := float(error / max(np.median(spread), 1e-300))) > SHARE:
                found.append(_too_large(o.name, share, {n: self.emulator.held_out[n].error for n in slopes}))
        return found

    def _beyond(self, tree: DataTree) -> list[Diagnostic]:
        """W881 for parameters whose draws lie beyond the runs."""
        draws = {
            n: tree["posterior"][n].to_numpy().reshape(-1, *tree["posterior"][n].shape[2:])
            for n in self.emulator.inputs.names
        }
        beyond = {n: s for n, s in self.emulator.outside(draws).items() if s > EDGE}
        if not beyond:
            return []
        listed = ", ".join(f"{n} ({s:.0%})" for n, s in beyond.items())
        return [error("W881", f"draws of the posterior lie beyond the runs that the emulator learned from: {listed}",
                      help=("there it extrapolates; add runs nearer to the posterior",
                            "sbm emulate FILE --runs takes parameters of your choice"))]  # fmt: skip


def _too_large(channel: str, share: float, errors: Mapping[str, float]) -> Diagnostic:
    sizes = ", ".join(f"{size:.3g} in {name}" for name, size in errors.items())
    return error(
        "W880", f"the emulator's error ({sizes}) makes up {share:.0%} of the predictive variance of '{channel}' "
        f"(more than {SHARE:.0%})",
        help="the posterior is as wide as the emulator is wrong: learn from more runs",
    )  # fmt: skip


def apply(
    emulator: Emulator, model: Model, data: Dataset, *, backend: str = "jax", **options: Any
) -> Emulated:
    """The program of ``model`` at ``data`` with the emulator in it; ``options`` are those of compilation.

    Raises ``SbmError`` E887 for an emulator of another model or of other rows.
    """
    ir = model.ir
    if emulator.about.get("signature") != signature(ir, data):
        raise SbmError(
            error("E887", f"the emulator was made for another map than that of '{model.name}' at these data",
                  help=(f"it was made for '{emulator.about.get('model')}', from {emulator.about.get('runs')} runs",
                        "equations, forcings, times and members must be the same; priors and error laws may differ",
                        "make a new one: sbm emulate FILE --data DATA -o emulator.nc"))
        )  # fmt: skip
    changed, rows = (ir, data) if ir.simulators else emulated(ir, data)
    changed = _named(changed, emulator)
    with_errors, notes = with_error(changed, [f.name for f in emulator.fields], emulator.reduction.components)
    count = emulator.reduction.components
    rows = replace(
        rows, sizes={**rows.sizes, COMPONENT: count},
        labels={**rows.labels, COMPONENT: tuple(str(k + 1) for k in range(count))},
    )  # fmt: skip

    def outputs(p: Mapping[str, Any], data: Any) -> dict[str, Any]:
        return emulator.outputs(p, p[ERROR])

    program = registry.backend(backend).compile(
        with_errors, pipeline.facts(with_errors), outputs=outputs, **options
    )
    return Emulated(program, rows, emulator, ir, notes)


def _named(model: Symbolic, emulator: Emulator) -> Symbolic:
    """The model in which simulators say which emulator stands for them: a network that was trained on one emulator is
    not one of another."""
    source = f"emulator {emulator.digest}"
    return model.replace(simulators=tuple(replace(s, source=source) for s in model.simulators))


def _along_rows(tree: DataTree, original: Symbolic) -> DataTree:
    """Results with rows by time and members of the file alone, as without an emulator."""
    dims = {o.name: o.dims for o in original.observations}
    for group in (
        "posterior_predictive",
        "log_likelihood",
        "prior_predictive",
        "observed_data",
        "constant_data",
    ):
        if group not in tree.children:
            continue
        data = tree[group].to_dataset()
        data = data.drop_vars([f"{n}_{n}.row" for n in dims if f"{n}_{n}.row" in data.coords])
        for n, d in dims.items():
            if n in data.data_vars:
                data[n].attrs["index"] = " ".join(d)
        tree[group] = data
    return tree

"""Runs on disk: one zarr store, a chunk of every array for each shard, so that shards are written side by side.

::

    runs.zarr/
      parameters/<name>   (run, *dims)        float64, declared unit
      rows/<channel>      (run, <channel>_row) float64, NaN beyond the design's rows
      outputs/<name>      (run, *dims)        noise-free outputs of a simulator
      design              (run,)              which of the designs below
      outcome             (run,)              1 as it should be, 2 the path could not be followed, 0 not there yet
      finished            (shard,)            written last: a shard is there whole or not at all
      designs/            times, members, forcings, covariates of all designs (``sbmlang.runs.designs``)

``xarray.open_datatree("runs.zarr", engine="zarr")`` reads it too.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sbmlang.data.dataset import Dataset
from sbmlang.errors import Diagnostic, SbmError, error
from sbmlang.results.tree import plain
from sbmlang.runs.designs import packed, unpacked
from sbmlang.runs.plan import Plan, Shard
from sbmlang.runs.runs import Runs
from sbmlang.studies.folder import fingerprint

FORMAT = 1  # of the layout above
FOLLOWED, FAILED = 1, 2


@dataclass(frozen=True, eq=False)
class Store:
    """The store of one plan."""

    path: Path
    root: Any  # zarr.Group

    @staticmethod
    def of(path: Path, plan: Plan) -> Store:
        """The store, made where there is none.

        Raises ``SbmError`` E850 where it holds other runs, E851 where it cannot be used, E854 without zarr.
        """
        asked = _about(plan)
        if not path.exists():
            _create(path, plan, asked)
        store = Store.at(path)
        found = dict(store.root.attrs["about"])
        differs = [k for k in {**found, **asked} if found.get(k) != asked.get(k)]
        if differs:
            raise SbmError(_other_runs(path, differs, found, asked))
        return store

    @staticmethod
    def at(path: Path) -> Store:
        """A store that is there. Raises ``SbmError`` E851, E854."""
        zarr = _zarr()
        if not path.exists():
            near = sorted(p.name for p in path.parent.glob("*.zarr")) if path.parent.is_dir() else []
            raise SbmError(
                error("E851", f"there is no store '{path}'", place=str(path),
                      help=f"stores in that folder: {', '.join(near[:8])}" if near else "sbm simulate FILE --draws N -o runs.zarr makes one")
            )  # fmt: skip
        try:
            root = zarr.open_group(path, mode="r+" if os.access(path, os.W_OK) else "r")
            if root.attrs["sbmlang_runs"] > FORMAT:
                raise ValueError(f"it was written by a newer sbmlang (format {root.attrs['sbmlang_runs']})")
        except (OSError, KeyError, ValueError) as fault:
            raise SbmError(
                error("E851", f"'{path.name}' is not a store of runs, or a damaged one: {fault}", place=str(path),
                      help="expected a folder written by 'sbm simulate ... -o runs.zarr'; give another path, or remove it to begin anew")
            ) from None  # fmt: skip
        return Store(path, root)

    def missing(self) -> list[int]:
        """The numbers of the shards that are not there."""
        return [int(k) for k in np.flatnonzero(~self.root["finished"][:])]

    def failed(self) -> int:
        """How many runs of the finished shards failed."""
        size = int(self.root.attrs["about"]["shard"])
        finished = np.repeat(self.root["finished"][:], size)[: self.root["outcome"].shape[0]]
        return int(((self.root["outcome"][:] == FAILED) & finished).sum())

    def add(self, shard: Shard) -> None:
        """Writes a finished shard; the mark that says so comes last. Raises ``SbmError`` E851."""
        size = int(self.root.attrs["about"]["shard"])
        here = slice(shard.number * size, shard.number * size + len(shard.ok))
        groups = {"parameters": shard.parameters, "rows": shard.rows, "outputs": shard.outputs}
        with _writing(self.path):
            for group, arrays in groups.items():
                for name, values in arrays.items():
                    self.root[f"{group}/{name}"][here] = values
            self.root["outcome"][here] = np.where(shard.ok, FOLLOWED, FAILED)
            self.root["finished"][shard.number] = True

    def runs(self, *, partial: bool = False) -> Runs:
        """All runs that did not fail. Raises ``SbmError`` E851 (damaged), E852 (shards are missing)."""
        size, count = int(self.root.attrs["about"]["shard"]), self.root["outcome"].shape[0]
        missing = self.missing()
        if missing and not partial:
            shards = self.root["finished"].shape[0]
            raise SbmError(
                error("E852", f"'{self.path.name}' is not complete: {shards - len(missing)} of its {shards} shards are there",
                      place=str(self.path),
                      help=("the command that began it goes on with the others",
                            "or take what is there: sbmlang.open_runs(path, partial=True)"))
            )  # fmt: skip
        there = np.repeat(self.root["finished"][:], size)[:count]
        try:
            outcome = self.root["outcome"][:]
            if (outcome[there] == 0).any():
                raise ValueError("whether runs failed is missing")
            ok = there & (outcome == FOLLOWED)
            arrays = {
                g: {n: a[:] for n, a in self.root[g].arrays()} for g in ("parameters", "rows", "outputs")
            }
            everything = Runs(arrays["parameters"], self._designs(), self.root["design"][:], arrays["rows"],
                              arrays["outputs"], self._attrs(there, ok))  # fmt: skip
            runs = everything if ok.all() else everything.take(ok)
            if lost := [n for n, p in runs.parameters.items() if np.isnan(p).any()]:
                raise ValueError(f"values of {', '.join(lost)} are missing")
        except (OSError, KeyError, ValueError, RuntimeError) as fault:
            raise SbmError(
                error("E851", f"'{self.path.name}' cannot be read: {fault}", place=str(self.path),
                      help="a part is damaged; remove the store and make it anew")
            ) from None  # fmt: skip
        return runs

    def _designs(self) -> tuple[Dataset, ...]:
        """Checked against their digests: zarr takes a file that is not there for zeros."""
        group = self.root["designs"]
        designs = unpacked({n: a[:] for n, a in group.arrays()}, group.attrs["plans"])
        if [fingerprint(d) for d in designs] != self.root.attrs["about"]["designs"]:
            raise ValueError("the designs are not those it was made with")
        return designs

    def _attrs(self, there: Any, ok: Any) -> dict[str, Any]:
        about = self.root.attrs["about"]
        return {
            "model_digest": self.root.attrs["model_digest"],
            "draws": int(there.sum()),
            "seed": about["seed"],
            "failed": int(there.sum() - ok.sum()),
            "model_text": about["model_text"],
            "backend": about["backend"],
            "store": self.path.name,
        }


def open_runs(path: str | Path, *, partial: bool = False) -> Runs:
    """The runs of a store that ``sbm simulate -o runs.zarr`` or ``simulate_runs(store=...)`` has written.

    ``partial`` takes what is there of an interrupted one. Raises ``SbmError`` E851 (no store, or not one of runs),
    E852 (not complete), E854 (no zarr).
    """
    return Store.at(Path(path)).runs(partial=partial)


def _about(plan: Plan) -> dict[str, Any]:
    """What makes two stores the same."""
    return plain({
        "model_text": plan.model.text, "designs": [fingerprint(d) for d in plan.designs], "draws": plan.draws,
        "seed": plan.seed, "backend": "given" if plan.is_compiled else plan.backend, "compile": dict(plan.compile),
        "shard": plan.shard,
    })  # fmt: skip


def _create(path: Path, plan: Plan, about: Mapping[str, Any]) -> None:
    """An empty store, made beside its place and put there in one step."""
    from sbmlang.runs.simulate import digest

    zarr = _zarr()
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        try:
            root = zarr.create_group(new, attributes={"sbmlang_runs": FORMAT, "model_name": plan.model.name,
                                     "model_digest": digest(plan.model.text), "about": about})  # fmt: skip
            for group, arrays in _layout(plan).items():
                inside = root.create_group(group)
                for name, (shape, dims, unit) in arrays.items():
                    _empty(inside, name, shape, dims, "f8", np.nan, plan.shard, unit)
            _empty(root, "outcome", (plan.draws,), ("run",), "i1", 0, plan.shard)
            _empty(root, "finished", (plan.shards,), ("shard",), "bool", False, 1)
            _filled(root, "design", plan.design, ("run",))
            flat, plans = packed(plan.designs)
            kept = root.create_group("designs", attributes={"plans": plans})
            for name, values in flat.items():
                _filled(kept, name, values, (name,))
            with warnings.catch_warnings():  # one file with all metadata is what xarray looks for
                warnings.simplefilter("ignore")
                zarr.consolidate_metadata(new)
            new.rename(path)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def _layout(plan: Plan) -> dict[str, dict[str, Any]]:
    """Shape, dims and unit of every array whose runs come shard by shard."""
    sizes, model = plan.designs[0].sizes, plan.model
    units = {o.name: str(o.unit) for o in model.observations}
    return {
        "parameters": {
            p.name: ((plan.draws, *(sizes[d] for d in p.dims)), ("run", *p.dims), str(p.unit))
            for p in model.parameters
        },
        "rows": {n: ((plan.draws, w), ("run", f"{n}_row"), units[n]) for n, w in plan.widths.items()},
        "outputs": {
            o.name: ((plan.draws, *(sizes[d] for d in o.dims)), ("run", *o.dims), str(o.unit))
            for simulator in model.simulators
            for o in simulator.outputs
        },
    }


def _empty(
    group: Any, name: str, shape: Any, dims: Any, dtype: str, fill: Any, chunk: int, unit: str = ""
) -> None:
    chunks = (min(chunk, shape[0]), *(max(1, n) for n in shape[1:]))
    group.create_array(name, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill, dimension_names=dims,
                       attributes={"units": unit} if unit else {})  # fmt: skip


def _filled(group: Any, name: str, values: Any, dims: Any) -> None:
    _empty(group, name, values.shape, dims, str(values.dtype), 0, max(1, len(values)))
    group[name][:] = values


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise SbmError(
            error("E851", f"'{path.name}' could not be written: {fault.strerror or fault}", place=str(path),
                  help=("shards that were finished before are kept", "free some space, or write to another folder"))
        ) from fault  # fmt: skip


def _other_runs(
    path: Path, differs: list[str], found: Mapping[str, Any], asked: Mapping[str, Any]
) -> Diagnostic:
    def told(name: str) -> str:
        before, now = (str(x.get(name, "not given")) for x in (found, asked))
        word = name.replace("_", " ")
        return f"{word} was {before}, now {now}" if max(len(before), len(now)) < 40 else f"the {word} changed"

    return error(
        "E850", f"'{path.name}' holds other runs: {'; '.join(map(told, differs))}", place=str(path),
        help=("an interrupted store goes on only with the same model, designs, number of draws and seed",
              "write to another path with -o, or remove the store to begin anew"),
    )  # fmt: skip


def _zarr() -> Any:
    try:
        import zarr
    except ModuleNotFoundError as missing:
        raise SbmError(
            error("E854", f"runs in a store need the package '{missing.name}', which is not installed",
                  help="pip install 'sbmlang[runs]'; without a store, simulate_runs keeps the runs in memory")
        ) from None  # fmt: skip
    return zarr

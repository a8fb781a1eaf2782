"""Amortized posteriors against the reference posteriors of sbibm: how well can a classifier tell them apart?

    python benchmarks/amortized.py                               # one seed, 10,000 simulations: half an hour
    python benchmarks/amortized.py FOLDER --seeds 0 1 2 --simulations 0 1000 10000 100000   # all: hours
    python benchmarks/amortized.py FOLDER --methods npe --tasks slcp
    python benchmarks/amortized.py FOLDER --table                # only the table, of what is there

Each network is kept in FOLDER and leaves one JSON there as soon as it is judged, so that a run which was stopped goes
on where it was; without its JSON a network is judged anew. One thread; seconds are the processor's. Models: examples/sbi. Judge: c2st.py, 10,000 draws for each of ten
observations against 10,000 of the reference; 0.5 is perfect.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import sbibm
import torch
from c2st import c2st

import sbmlang as sbm
from sbmlang.results import attributes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "sbi"
DRAWS = 10_000
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Job:
    """One network (or, for NUTS, one fit of each observation). ``columns``: no features derived from the model."""

    task: str
    method: str
    simulations: int
    seed: int
    columns: bool = False

    @property
    def file(self) -> str:
        features = "-columns" if self.columns else ""
        return f"{self.task}-{self.method}{features}-{self.simulations}-{self.seed}.json"

    @property
    def label(self) -> str:
        return f"{self.method}, plain columns" if self.columns else self.method


def jobs() -> list[Job]:
    """All there are, what the demands are about first."""

    def of(methods: tuple[str, ...], simulations: int, tasks: tuple[str, ...] = sbibm.TASKS) -> list[Job]:
        return [Job(t, m, simulations, s) for s in SEEDS for m in methods for t in tasks]

    def plain(methods: tuple[str, ...], simulations: int) -> list[Job]:
        return [Job("slcp", m, simulations, s, columns=True) for s in SEEDS for m in methods]

    return [
        *of(("npe", "diffusion"), 10_000),
        *plain(("npe", "diffusion"), 10_000),
        *[Job("sir", "nuts", 0, s) for s in SEEDS],
        *of(("diffusion",), 100_000),
        *of(("flow-matching",), 10_000),
        *of(("npe",), 1_000),
        *of(("diffusion",), 1_000),
        *of(("npe",), 100_000),
        *plain(("diffusion",), 100_000),
    ]


@cache
def model(task: str) -> sbm.Model:
    return sbm.load(EXAMPLES / f"{task}.sbm")


@cache
def datasets(task: str) -> list[object]:
    """The ten observations as the models read them."""
    return [
        sbm.read_data(model(task), columns(task, sbibm.observation(task, i).data)) for i in sbibm.OBSERVATIONS
    ]


def columns(task: str, values: np.ndarray) -> pd.DataFrame:
    """sbibm's row of numbers as the table of examples/sbi."""
    match task:
        case "two_moons":
            return pd.DataFrame({"axis": ["x", "y"], "y": values})
        case "slcp":
            return pd.DataFrame({"pair": range(1, 5), "y_1": values[0::2], "y_2": values[1::2]})
        case "sir":
            return pd.DataFrame({"t [day]": np.arange(0, 154, 17), "positive": values})
        case _:
            raise ValueError(task)


def matrix(tree: object, task: str) -> np.ndarray:
    """Posterior draws (draw, parameter) in the order of sbibm."""
    found = [tree["posterior"][p.name].values.ravel() for p in model(task).ir.parameters]
    return np.stack(found, -1)[:DRAWS]


def judged(job: Job, trees: list[object], seconds: float) -> dict[str, object]:
    """One sort of draws of the ten observations: C2ST, what corrected them, seconds for each."""
    notes = [attributes(t) for t in trees]
    return {
        "c2st": c2st(sbibm.reference(job.task), np.stack([matrix(t, job.task) for t in trees])).tolist(),
        "pareto_k": [n.get("pareto_k") for n in notes],
        "proposals": [n.get("proposals") for n in notes],
        "effective": [n.get("effective_proposals") for n in notes],
        "corrected": [n.get("corrected") for n in notes],
        "seconds": seconds / len(trees),
    }


def amortized(job: Job, folder: Path) -> dict[str, object]:
    """Trains a network and judges its draws, raw and, where a density of them is cheap, corrected."""
    network = trained(job, folder)
    found: dict[str, object] = {
        "training": network.provenance["seconds"]["cpu"],
        "features": network.features.description,
        "history": network.provenance["history"],
    }
    for correct in ("none", "auto") if job.method == "npe" else ("none",):
        begun = time.process_time()
        trees = [
            network.posterior(d, draws=DRAWS, correct=correct, seed=job.seed) for d in datasets(job.task)
        ]
        spent = time.process_time() - begun
        found["raw" if correct == "none" else "corrected"] = judged(job, trees, spent)
    return found


def trained(job: Job, folder: Path) -> object:
    """The network of a job: from the folder, or trained now and kept there."""
    program = model(job.task).compile("torch", allow_external=True)
    file = (folder / job.file).with_suffix(".pt")
    if file.exists():
        return program.load_network(file)
    network = program.amortize(
        method=job.method, simulations=job.simulations, designs=datasets(job.task)[0], seed=job.seed,
        embedding="columns" if job.columns else "auto",
    )  # fmt: skip
    network.save(file)
    return network


def nuts(job: Job) -> dict[str, object]:
    program = model(job.task).compile("jax")
    begun = time.process_time()
    trees = [
        program.infer(d, draws=DRAWS // 4, chains=4, warmup=500, seed=job.seed) for d in datasets(job.task)
    ]
    return {"training": 0.0, "raw": judged(job, trees, time.process_time() - begun)}


def run(job: Job, folder: Path) -> None:
    found = asdict(job) | (nuts(job) if job.method == "nuts" else amortized(job, folder))
    partial = folder / f"{job.file}.partial"
    partial.write_text(json.dumps(found, indent=1))
    partial.rename(folder / job.file)
    print(
        job.file,
        *(f"{k} {np.mean(found[k]['c2st']):.3f}" for k in ("raw", "corrected") if k in found),
        flush=True,
    )


HEADS = ("", "simulations", *sbibm.TASKS, "training, s", "a data set, s", "k-hat", "seeds")


def rows(folder: Path) -> list[tuple[object, ...]]:
    """The table of what is there, a row for each sort of draws at each number of simulations."""
    files = [(j, folder / j.file) for j in jobs() if (folder / j.file).exists()]
    found = [json.loads(path.read_text()) | {"label": job.label} for job, path in files]
    sorts = {
        (f["simulations"], f["label"], sort): None
        for f in found
        for sort in ("raw", "corrected")
        if sort in f
    }
    return [row(f"{label}, {sort}", sort, [f for f in found if (f["simulations"], f["label"]) == (n, label)])
            for n, label, sort in sorted(sorts, key=lambda s: s[0])]  # fmt: skip


def row(label: str, sort: str, same: list[dict[str, object]]) -> tuple[object, ...]:
    """C2ST as the mean over observations and seeds, and of the worst observation in any seed; the others likewise."""
    tasks = {t: [f for f in same if f["task"] == t] for t in sbibm.TASKS}

    def each(of: Callable[[list[dict[str, object]]], str]) -> list[str]:
        return [of(tasks[t]) if tasks[t] else "" for t in sbibm.TASKS]

    def score(runs: list[dict[str, object]]) -> str:
        scores = np.array([f[sort]["c2st"] for f in runs])
        return f"{scores.mean():.3f} ({scores.max():.3f})"

    k = [v for f in same for v in f[sort]["pareto_k"] if v is not None and np.isfinite(v)]
    return (
        label,
        f"{same[0]['simulations']:,}",
        *each(score),
        " / ".join(filter(None, each(lambda runs: f"{np.mean([f['training'] for f in runs]):.0f}"))),
        " / ".join(filter(None, each(lambda runs: f"{np.mean([f[sort]['seconds'] for f in runs]):.2g}"))),
        f"{min(k):.2f} to {max(k):.2f}" if k and sort == "corrected" else "",
        " / ".join(filter(None, each(lambda runs: str(len(runs))))),
    )


def markdown(folder: Path) -> str:
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(map(str, r)) + " |" for r in rows(folder)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/amortized"))
    parser.add_argument("--tasks", nargs="+", default=sbibm.TASKS)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--simulations", nargs="+", type=int, default=(0, 10_000), help="0: NUTS")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS[:1])
    parser.add_argument("--table", action="store_true", help="only the table, of what is there")
    o = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    o.folder.mkdir(parents=True, exist_ok=True)
    for job in [] if o.table else jobs():
        wanted = job.task in o.tasks and job.seed in o.seeds
        wanted &= o.methods is None or job.method in o.methods
        wanted &= job.simulations in o.simulations
        if wanted and not (o.folder / job.file).exists():
            run(job, o.folder)
    (o.folder / "table.md").write_text(markdown(o.folder))
    print(markdown(o.folder))


if __name__ == "__main__":
    main()

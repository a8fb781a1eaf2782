"""Stan's part of the benchmark, run by a Python that has pystan: JSON in on stdin, JSON out on the last line.

In:  {"code", "data", "point", "repeats", "draws", "warmup", "chains", "seed"}
Out: {"build", "warmup", "sampling" (seconds), "leapfrogs", "leapfrogs_warmup", "draws" {name: (chain, draw)},
      "gradient" (at point), "seconds_per_gradient" (each repeat), "version"}
"""

import json
import sys
import time
from importlib.metadata import version

import httpstan.cache
import httpstan.models
import numpy as np
import stan


def main() -> None:
    task = json.load(sys.stdin)
    clock = time.perf_counter()
    model = stan.build(task["code"], data=task["data"], random_seed=task["seed"])
    build = time.perf_counter() - clock
    # httpstan keeps fits by model, data and seed and would hand an old one out again, with its old times.
    httpstan.cache.delete_model_directory(model.model_name) if task["rebuild"] else None
    draws, chains = task["draws"], task["chains"]
    fit = model.sample(num_chains=chains, num_samples=draws, num_warmup=task["warmup"], save_warmup=True)
    taken = fit._draws.shape[1]
    assert taken == draws + task["warmup"]
    steps = np.asarray(fit["n_leapfrog__"]).reshape(taken, chains)
    seconds = [elapsed(raw) for raw in fit.stan_outputs]
    names = [n for n in fit.constrained_param_names]
    kept = fit._draws[len(fit.sample_and_sampler_param_names) :, task["warmup"] :, :]
    gradient, repeats = gradients(model, task)
    print(
        json.dumps(
            {
                "build": build,
                "chains": seconds,
                "leapfrogs": int(steps[task["warmup"] :].sum()),
                "leapfrogs_warmup": int(steps[: task["warmup"]].sum()),
                "draws": {name: kept[k].T.tolist() for k, name in enumerate(names)},
                "gradient": gradient,
                "seconds_per_gradient": repeats,
                "version": version("pystan"),
            }
        )
    )

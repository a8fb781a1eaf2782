"""Stan's part of the benchmarks, run by a Python that has pystan: a task as JSON on stdin, a result on the last line.

The result has "build" (seconds), "seconds" (chain, 2: warm-up and sampling, by Stan's own clock), "leapfrogs"
(chain, 2), "draws" (parameter, chain, draw), "gradient" (at task["point"], unconstrained) and "version".
"""

import json
import re
import subprocess
import sys
import time
from importlib.metadata import version

import httpstan.compile
import httpstan.models
import numpy as np
import stan


def main() -> None:
    task = json.load(sys.stdin)
    patient()
    warmup, chains = task["warmup"], task["chains"]
    clock = time.perf_counter()
    model = stan.build(task["code"], data=task["data"], random_seed=task["seed"])
    build = time.perf_counter() - clock
    fit = model.sample(
        num_chains=chains, num_samples=task["draws"], num_warmup=warmup, save_warmup=True,
        init=[task["start"]] * chains,
    )  # fmt: skip
    columns = (
        fit._draws
    )  # (sampler statistics then parameters, iteration, chain); the mapping flattens chains
    statistics = fit.sample_and_sampler_param_names
    steps = columns[statistics.index("n_leapfrog__")]
    # The extension module is loaded only now, because the sampler's processes are forks of this one.
    extension = httpstan.models.import_services_extension_module(model.model_name)
    result = {
        "build": build,
        "seconds": [elapsed(raw) for raw in fit.stan_outputs],
        "leapfrogs": [[float(s[:warmup].sum()), float(s[warmup:].sum())] for s in steps.T],
        "draws": np.swapaxes(columns[len(statistics) :, warmup:], 1, 2).tolist(),
        "gradient": extension.log_prob_grad(task["data"], task["point"], True),
        "version": version("pystan"),
    }
    print("\n" + json.dumps(result))


def patient() -> None:
    """httpstan gives its translator one second, which is not enough where other programs run beside it."""
    run = subprocess.run
    httpstan.compile.subprocess.run = lambda *a, **k: run(*a, **{**k, "timeout": 60})


def elapsed(raw: bytes) -> list[float]:
    """Warm-up and sampling in Stan's own report, which a fit from httpstan's cache still carries."""
    text = raw.decode()
    return [float(re.search(rf"([\d.]+) seconds \({part}\)", text)[1]) for part in ("Warm-up", "Sampling")]


if __name__ == "__main__":
    main()

"""Is the approximate filter of scon_ss good enough? Its posterior, corrected by particle filters.

    sbm run examples/scon/scon_ss.sbm --data examples/scon/scon_ss_t5000.csv -o scon_ss.nc
    python examples/scon/check_ss.py scon_ss.nc

Each of some draws gets the weight (unbiased estimate of the likelihood)/(likelihood of the fit). Weighted draws
have the exact posterior, whatever the noise of the estimates (importance sampling squared: Tran, Scharth, Pitt &
Kohn 2013, arXiv:1309.3339); noise only costs effective draws.
"""

import sys
from pathlib import Path

import numpy as np

import sbmlang as sbm
from sbmlang.backends.jax.particles import ParticleLikelihood
from sbmlang.results.scalars import pareto_smoothed

HERE = Path(__file__).resolve().parent
DRAWS, PARTICLES = 300, 4096


def main(fit: str) -> None:
    model = sbm.load(HERE / "scon_ss.sbm")
    data = sbm.read_data(model, HERE / "scon_ss_t5000.csv")
    posterior = sbm.open_fit(fit)["posterior"].to_dataset().stack(sample=("chain", "draw"))
    chosen = np.linspace(0, posterior.sizes["sample"] - 1, DRAWS).astype(int)
    names = [p.name for p in model.ir.parameters]
    draws = {n: posterior[n].values[..., chosen] for n in names}
    filtered = model.compile("jax")
    particles = ParticleLikelihood(filtered, data)
    each = [{n: float(draws[n][k]) for n in names} for k in range(DRAWS)]
    log_weights = np.array(
        [
            particles.replicates(particles.theta(p), PARTICLES, (7, k), 1)[0]
            - float(filtered.log_likelihood(p, data))
            for k, p in enumerate(each)
        ]
    )
    noise = particles.replicates(particles.theta(each[0]), PARTICLES, (8,), 12).std(ddof=1)
    smooth, k_hat = pareto_smoothed(log_weights)
    weights = np.exp(smooth - np.max(smooth))
    weights /= weights.sum()
    print(f"{DRAWS} draws, {PARTICLES} particles: log weights have sd {log_weights.std():.2f}, of it {noise:.2f} by the\n"
          f"filters' own noise; Pareto k {float(k_hat):.2f}, worth {1 / (weights**2).sum():.0f} draws\n")  # fmt: skip
    print("| | mean | corrected, shift in sds | sd | corrected, ratio |\n|---|---|---|---|---|")
    for n in names:
        x = draws[n]
        mean = weights @ x
        sd = np.sqrt(weights @ (x - mean) ** 2)
        print(
            f"| {n} | {x.mean():.4g} | {(mean - x.mean()) / x.std():+.2f} | {x.std():.3g} | {sd / x.std():.2f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1])

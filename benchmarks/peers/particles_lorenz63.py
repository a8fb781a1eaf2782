"""The bootstrap filter of `particles` (Chopin & Papaspiliopoulos) on the Lorenz-63 of ../particles.py; prints JSON."""

import json
import sys
from statistics import median
from time import perf_counter

import numpy as np
import particles
from particles import distributions as dists
from particles import state_space_models as ssm

STEP, SUBSTEPS = 0.01, 10


class Transition(dists.ProbDist):
    """Ten Euler steps from particles (N, 3)."""

    dim = 3

    def __init__(self, x):
        self.x = x

    def rvs(self, size=None):
        x = self.x.T.copy()
        for _ in range(SUBSTEPS):
            a, b, c = x
            drift = np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c])
            x = x + STEP * drift + np.sqrt(STEP) * np.random.standard_normal(x.shape)
        return x.T


class Lorenz(ssm.StateSpaceModel):
    def PX0(self):
        return Transition0()

    def PX(self, t, xp):
        return Transition(xp)

    def PY(self, t, xp, x):
        return dists.IndepProd(*(dists.Normal(loc=x[:, j]) for j in range(3)))


class Transition0(dists.ProbDist):
    """The start and the ten steps to the first observation."""

    dim = 3

    def rvs(self, size=None):
        return Transition(np.array([1.0, 1.0, 25.0]) + np.random.standard_normal((size, 3))).rvs()


def main(file, runs, *sizes):
    ys = [y[None] for y in np.load(file)]
    found = {}
    for n in map(int, sizes):
        speeds, values = [], []
        for seed in range(int(runs) + 1):
            np.random.seed(seed)
            smc = particles.SMC(
                fk=ssm.Bootstrap(ssm=Lorenz(), data=ys), N=n, resampling="systematic", ESSrmin=1.0
            )
            clock = perf_counter()
            smc.run()
            speeds.append(n * len(ys) * SUBSTEPS / (perf_counter() - clock) / 1e6)
            values.append(float(smc.logLt))
        found[n] = (median(speeds[1:]), float(np.mean(values[1:])), float(np.std(values[1:])))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

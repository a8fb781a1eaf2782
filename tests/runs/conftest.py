"""Small models whose simulations are known in closed form."""

import pytest

import sbmlang as sbm

LEVEL = """model level
time t [day] from 0 to 3 step 1
param mu [kg] ~ Normal(2, 3) "a level"
observe y [kg] ~ Normal(mu, 1.5 [kg]) "the level, with error"
observe z [kg] ~ Normal(2*mu, 0.5 [kg]) "twice the level, with error"
"""
DECAY = """model decay
time t [day]
data warm [1]
param k [1/day] ~ LogNormal(median=0.1, sigma=0.5)
state C [mg] >= 0
init C = 10
d C/dt = -warm*k*C
observe y [mg] ~ Normal(C, 0.1 [mg])
"""


@pytest.fixture(scope="session")
def level():
    return sbm.loads(LEVEL)


@pytest.fixture(scope="session")
def level_program(level):
    return level.compile("torch")


@pytest.fixture(scope="session")
def decay():
    return sbm.loads(DECAY)


@pytest.fixture(scope="session")
def decay_program(decay):
    return decay.compile("torch")


@pytest.fixture(scope="session")
def jars(decay):
    """Three designs that differ in times, in number of rows and in a covariate."""
    times = {"a": [1.0, 2.0], "b": [3.0], "c": [1.0, 4.0, 9.0]}
    return [
        sbm.read_data(decay, {"t": t, "y": [1.0] * len(t), "warm": float(k + 1)})
        for k, t in enumerate(times.values())
    ]

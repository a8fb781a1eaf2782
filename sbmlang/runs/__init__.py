"""Runs of a model: parameters drawn from the prior and the observations that they give, for networks to learn from."""

from sbmlang.runs.runs import Runs
from sbmlang.runs.simulate import simulate_runs
from sbmlang.runs.store import open_runs

__all__ = ["Runs", "open_runs", "simulate_runs"]

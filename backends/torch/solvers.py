"""The solvers that generated programs call; each lives in the file of its subject."""

from .linear import solve_linear, solve_linear_pieces
from .ode import Path, solve
from .roots import Root, find_root

__all__ = ["Path", "Root", "find_root", "solve", "solve_linear", "solve_linear_pieces"]

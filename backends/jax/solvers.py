"""The solvers that generated programs call; each lives in the file of its subject."""

from .differentiation import forward_mode
from .linear import solve_linear, solve_linear_pieces
from .ode import Path, solve
from .roots import Root, find_root

__all__ = ["Path", "Root", "find_root", "forward_mode", "solve", "solve_linear", "solve_linear_pieces"]

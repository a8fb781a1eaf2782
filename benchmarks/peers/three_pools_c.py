"""three_pools.c compiled by the C compiler of this machine, called through ctypes."""

import ctypes
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from . import three_pools as problem

SOURCE = Path(__file__).with_suffix("").with_name("three_pools.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


class Kernel:
    """The compiled kernel with its tables; raises FileNotFoundError where there is no C compiler."""

    def __init__(self, data: problem.Tables) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "three_pools.so"
            subprocess.run([compiler, *FLAGS, SOURCE, "-o", library, "-lm"], check=True)
            self.call = ctypes.CDLL(str(library)).repeated
        self.call.restype = ctypes.c_double
        start = np.concatenate([problem.START, problem.START_SD**2])
        self.steps, self.rows = len(data.warm), len(data.y)
        tables = (data.warm, data.inflow, data.warm_seen, data.y, start, problem.ERRORS**2)
        self.tables = [np.ascontiguousarray(a, dtype=np.float64) for a in tables]
        self.work = np.empty(12 * self.steps + 39 * self.rows)

    def value_and_grad(self, theta: np.ndarray, times: int = 1) -> tuple[float, np.ndarray, float]:
        """Log-likelihood, its gradient (14,) by the parameters themselves, and processor seconds per evaluation."""
        gradient, theta = np.empty(14), np.ascontiguousarray(theta, dtype=np.float64)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (theta, *self.tables, gradient, self.work)]
        sizes = (ctypes.c_int(self.rows), ctypes.c_int(problem.EVERY))
        clock = time.process_time()
        value = self.call(ctypes.c_int(times), pointers[0], *sizes, *pointers[1:])
        return value, gradient, (time.process_time() - clock) / times

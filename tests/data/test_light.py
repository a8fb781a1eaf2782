"""Reading a text file loads neither pandas nor xarray."""

import subprocess
import sys

PROGRAM = """
import sys
import sbmlang, sbmlang.data, sbmlang.data.read
from sbmlang.data.files import parse
assert len(parse("t,CO2\\n1,2\\n", "obs.csv")) == 1
loaded = {"pandas", "xarray", "scipy"} & set(sys.modules)
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""


def test_no_heavy_library_for_a_text_file():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

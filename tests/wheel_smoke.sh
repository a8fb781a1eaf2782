#!/usr/bin/env bash
# Does the installed wheel work without the checkout? Usage: tests/wheel_smoke.sh PYTHON
# PYTHON needs `build` and sbmlang's dependencies; the fresh environment borrows the dependencies.
set -euo pipefail

python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
unset PYTHONPATH

purelib() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

# Built from a copy, because setuptools would pack leftovers of earlier builds.
mkdir "$room/source"
cd "$checkout"
cp -R pyproject.toml README.md LICENSE sbmlang grammars backends "$room/source"
cp examples/incubation/model.sbm "$room/model.sbm"
cd "$room"
"$python" -m build --wheel --outdir "$room" "$room/source" >"$room/build.log" 2>&1 || { cat "$room/build.log"; exit 1; }
rm -rf "$room/source"

"$python" -m venv --without-pip "$room/venv"
"$python" -m pip --python "$room/venv/bin/python" install --quiet --disable-pip-version-check --no-deps "$room"/*.whl
# A path in a .pth file comes after the environment's own packages, and the .pth files inside that path,
# an editable install of the checkout among them, are not read.
purelib "$python" >"$(purelib "$room/venv/bin/python")/borrowed.pth"

echo "wheel smoke test: $(cd "$room" && ls ./*.whl)"
"$room/venv/bin/python" - "$room/venv" <<'PY'
import sys
from pathlib import Path

import sbmlang
import sbmlang.backends.jax
import sbmlang.grammars

for module in (sbmlang, sbmlang.grammars, sbmlang.backends.jax):
    assert Path(module.__file__).resolve().is_relative_to(Path(sys.argv[1]).resolve()), module.__file__
PY
sbm=$room/venv/bin/sbm
set -x
"$sbm" --version
"$sbm" check model.sbm
"$sbm" compile model.sbm --backend jax -o program.py
"$python" -m py_compile program.py
"$sbm" explain E301 >explained.txt
grep -q E301 explained.txt
{ set +x; } 2>/dev/null

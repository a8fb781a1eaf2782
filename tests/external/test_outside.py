"""Simulators outside the file: nothing runs unasked, and what runs is checked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import sbmlang as sbm
from sbmlang.errors import SbmError
from sbmlang.external import Outside
from sbmlang.external.outside import folder_of

MODEL = """model land
index day = 1..2
param k [1/day] ~ Uniform(0, 1)
param s[day] ~ Uniform(0, 1)
simulator land from {source} : k, s -> C[day] [g], peak{tail}
observe c[day] [g] ~ Normal(C[day], 1 [g])
observe high ~ Normal(peak, 1)
"""
PARAMS = {"k": np.array([0.1, 0.2, 0.3]), "s": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
WANTED = {"C": PARAMS["k"][:, None] * PARAMS["s"], "peak": PARAMS["s"].max(axis=1)}

FUNCTION = """
from pathlib import Path
import numpy as np
Path(__file__).with_name("was_run").touch()

def run(parameters, rng):
    return {"C": parameters["k"][:, None]*parameters["s"], "peak": parameters["s"].max(axis=1)}

def lacking(parameters, rng):
    return {"C": parameters["s"]}

def transposed(parameters, rng):
    return {"C": parameters["s"].T, "peak": parameters["k"]}

def texts(parameters, rng):
    return {"C": parameters["s"], "peak": ["high"]*3}

def plain(parameters, rng):
    return parameters["s"]

def failing(parameters, rng):
    raise RuntimeError("the soil is dry")

def noisy(parameters, rng):
    return {"C": rng.normal(size=(3, 2)), "peak": rng.normal(size=3)}
"""

PROGRAM = """
import csv, sys, time
from pathlib import Path
Path(__file__).with_name("was_run").touch()
(row,) = csv.DictReader(open(sys.argv[1]))
mode = sys.argv[3] if len(sys.argv) > 3 else ""
if mode == "fail":
    print("a line", "negative carbon", sep="\\n", file=sys.stderr)
    sys.exit(3)
if mode == "sleep":
    time.sleep(30)
if mode == "silent":
    sys.exit(0)
k, s = float(row["k"]), [float(row["s_1"]), float(row["s_2"])]
head = "C_1 [g],C_2" if mode == "lack" else "C_1 [kg],C_2,peak" if mode == "unit" else "C_1 [g],C_2,peak"
numbers = [k*s[0], k*s[1], *([] if mode == "lack" else [max(s)])]
Path(sys.argv[2]).write_text(head + "\\n" + ",".join(map(repr, numbers)) + "\\n")
"""


def model(folder: Path, source: str, tail: str = "") -> sbm.Model:
    (folder / "land.py").write_text(FUNCTION)
    (folder / "program.py").write_text(PROGRAM)
    (folder / "land.sbm").write_text(MODEL.format(source=source, tail=tail))
    return sbm.load(folder / "land.sbm")


def command(folder: Path, rest: str = "") -> sbm.Model:
    return model(folder, f'command "{sys.executable} program.py {{parameters}} {{outputs}} {rest}"')


def outputs(of: sbm.Model, outside: Outside | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    return (outside or Outside(allowed=True)).outputs(of.ir, PARAMS, seed)


@pytest.mark.parametrize(
    "make", [lambda f: model(f, 'python "land.py:run"'), command], ids=["python", "command"]
)
def test_a_simulator_gives_its_outputs_when_it_may(tmp_path, make):
    found = outputs(make(tmp_path))
    assert {n: v.shape for n, v in found.items()} == {"C": (3, 2), "peak": (3,)}
    for name, wanted in WANTED.items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-14)


@pytest.mark.parametrize(
    "make", [lambda f: model(f, 'python "land.py:run"'), command], ids=["python", "command"]
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_nothing_runs_unasked(tmp_path, make, backend):
    of = make(tmp_path)
    program = of.compile(backend)
    with pytest.raises(SbmError) as refused:
        program.simulate(draws=3)
    (said,) = refused.value.diagnostics
    assert said.code == "E840"
    named = "land.py:run" if of.ir.simulators[0].kind == "python" else "program.py {parameters} {outputs}"
    assert named in said.message and "--allow-external" in " ".join(said.help)
    assert not (tmp_path / "was_run").exists()
    assert not program.can_predict


def test_checking_compiling_and_showing_run_nothing(tmp_path, capsys):
    from sbmlang.cli.app import run

    model(tmp_path, 'python "land.py:run"')
    file = str(tmp_path / "land.sbm")
    for words in (["check", file], ["show", file], ["show", file, "--latex"], ["compile", file]):
        assert run(words) == 0
    assert not (tmp_path / "was_run").exists()
    assert run(["simulate", file, "-o", str(tmp_path / "x.nc"), "--draws", "2"]) == 1
    assert "E840" in capsys.readouterr().err and not (tmp_path / "was_run").exists()
    assert run(["simulate", file, "-o", str(tmp_path / "x.nc"), "--draws", "2", "--allow-external"]) == 0
    assert (tmp_path / "was_run").exists()


def test_a_function_of_the_caller_needs_no_permission(tmp_path):
    of = model(tmp_path, 'table "runs.csv"')
    given = {"land": lambda p, rng: {"C": p["k"][:, None] * p["s"], "peak": p["s"].max(axis=1)}}
    program = of.compile("torch", simulators=given)
    np.testing.assert_allclose(program.outputs(PARAMS)["C"], WANTED["C"])
    assert program.simulate(draws=4)["prior_predictive"]["c"].shape == (1, 4, 2)
    with pytest.raises(SbmError, match=r"E841.*no simulator 'sea'"):
        of.compile("torch", simulators={"sea": given["land"]})


def test_a_table_cannot_be_asked_anew(tmp_path):
    with pytest.raises(SbmError, match="E847"):
        outputs(model(tmp_path, 'table "runs.csv"'))


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("lend.py:run", "E841", "did you mean 'land.py'"),
        ("land.py:ran", "E841", "did you mean 'run'"),
        ("land.py:lacking", "E843", "lacks the output 'peak'"),
        ("land.py:transposed", "E843", r"\(2, 3\), expected \(3, 2\)"),
        ("land.py:texts", "E843", "expected numbers"),
        ("land.py:plain", "E843", "expected a dict of arrays by the names C, peak"),
        ("land.py:failing", "E842", "RuntimeError: the soil is dry, line"),
    ],
)
def test_what_a_function_does_wrong(tmp_path, source, code, said):
    with pytest.raises(SbmError, match=rf"(?s){code}.*{said}"):
        outputs(model(tmp_path, f'python "{source}"'))


@pytest.mark.parametrize(
    ("mode", "code", "said"),
    [
        ("fail", "E842", "parameter set 0: it ended with exit code 3.*negative carbon"),
        ("silent", "E842", "wrote no outputs"),
        ("lack", "E843", "lacks the column 'peak'"),
        ("unit", "E843", "writes its outputs in declared units"),
    ],
)
def test_what_a_program_does_wrong(tmp_path, mode, code, said):
    with pytest.raises(SbmError, match=rf"(?s){code}.*{said}"):
        outputs(command(tmp_path, mode))


def test_a_program_has_its_time(tmp_path):
    with pytest.raises(SbmError, match=r"E842.*longer than 0\.5 s"):
        outputs(command(tmp_path, "sleep"), Outside(allowed=True, timeout=0.5))


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(SbmError, match=r"E842.*there is no program 'no_such_program'"):
        outputs(model(tmp_path, 'command "no_such_program {parameters} {outputs}"'))


def test_random_numbers_come_from_the_seed(tmp_path):
    of = model(tmp_path, 'python "land.py:noisy"', " random")
    one, again, other = (outputs(of, seed=s)["peak"] for s in (1, 1, 2))
    assert (one == again).all() and (one != other).all()


def test_a_text_names_files_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "land.py").write_text(FUNCTION)
    of = sbm.loads(MODEL.format(source='python "land.py:run"', tail=""))
    assert folder_of(of.ir) == Path()
    np.testing.assert_allclose(outputs(of)["peak"], WANTED["peak"])

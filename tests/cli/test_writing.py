"""Output files are whole or untouched: a full disk, Ctrl-C, a pipe that closes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import xarray as xr

from sbmlang.results import open_fit

SBM = [sys.executable, "-m", "sbmlang.cli"]


def test_a_full_disk_leaves_the_old_file(sbm, project, monkeypatch):
    (project / "out.nc").write_text("last week's")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = sbm("simulate", "model.sbm", "--draws", "2", "-o", "out.nc")
    assert ended.code == 1
    assert "error E654" in ended.err and "No space left" in ended.err and "no file was changed" in ended.err
    assert (project / "out.nc").read_text() == "last week's"
    assert sorted(p.name for p in project.iterdir()) == ["README.md", "data.csv", "model.sbm", "out.nc"]


def test_ctrl_c_during_inference_is_quick_and_leaves_the_old_file(project: Path):
    (project / "fit.nc").write_text("last week's")
    command = [*SBM, "run", "model.sbm", "--data", "data.csv", "--draws", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "co2: 8 values at 8 times\n"
        time.sleep(2)
        assert process.poll() is None
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        took = time.monotonic() - pressed
    assert process.returncode == 130
    assert "stopped; nothing was written" in err and "Traceback" not in err
    assert took < 3
    assert (project / "fit.nc").read_text() == "last week's"
    assert sorted(p.name for p in project.iterdir()) == ["README.md", "data.csv", "fit.nc", "model.sbm"]


def test_a_reader_that_goes_away_is_no_fault(project: Path):
    command = f"{sys.executable} -m sbmlang.cli compile model.sbm | head -n 1"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert ended.stderr == ""


def test_synthetic_observations_can_be_read_back(sbm, project):
    ended = sbm(
        "simulate", "model.sbm", "--draws", "1", "--seed", "3", "--set", "s=1e-6", "-o", "synthetic.csv"
    )
    assert ended.code == 0
    header, *rows = (project / "synthetic.csv").read_text().splitlines()
    assert header == "variable,time [day],value,unit"
    assert len(rows) == 200
    again = sbm(
        "simulate", "model.sbm", "--data", "synthetic.csv", "--draws", "1", "--seed", "3", "-o", "again.nc"
    )
    assert (again.code, again.err) == (0, "")
    with xr.open_datatree(project / "again.nc", engine="h5netcdf") as tree:
        times = tree["prior_predictive"]["co2_time"].values
    assert times.tolist() == [float(row.split(",")[1]) for row in rows]


def test_a_simulation_is_no_posterior(sbm, project):
    assert sbm("simulate", "model.sbm", "--draws", "2", "-o", "out.nc").code == 0
    assert "prior_predictive" in open_fit(project / "out.nc").children
    ended = sbm("summary", "out.nc")
    assert ended.code == 1
    assert "error E739" in ended.err and "sbm run" in ended.err

"""Generated modules on disk: compiled once, found again, and done without where they cannot be kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sbmlang.kernels import cache

SOURCE = """
from numba import float64, njit
@njit("float64(float64)", cache=True)
def twice(x):
    return 2.0 * x
"""

COUNT = f"""
import json, sys
from numba.core import event
from sbmlang.kernels import cache
with event.install_recorder("numba:compile") as seen:
    answer = cache.load({SOURCE!r}).twice(4.0)
print(json.dumps([answer, len(seen.buffer)]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SBMLANG_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_modules", {})
    monkeypatch.setattr(cache, "_warned", [])
    return tmp_path


def fresh_process(folder):
    environment = {**os.environ, "SBMLANG_CACHE": str(folder)}
    run = [sys.executable, "-c", COUNT]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def test_a_second_process_compiles_nothing(tmp_path):
    assert fresh_process(tmp_path)[1] > 0
    assert fresh_process(tmp_path) == [8.0, 0]


def test_the_same_text_is_the_same_module(folder):
    assert cache.load(SOURCE) is cache.load(SOURCE)
    assert cache.key(SOURCE) != cache.key(SOURCE + "\n")
    assert (folder / cache.key(SOURCE) / f"{cache.key(SOURCE)}.py").read_text() == SOURCE


def test_broken_files_are_made_again(folder, monkeypatch):
    cache.load(SOURCE)
    place = folder / cache.key(SOURCE)
    for file in place.rglob("*.nb*"):
        file.write_bytes(b"not what numba wrote")
    (place / f"{cache.key(SOURCE)}.py").write_text("half a fi")
    monkeypatch.setattr(cache, "_modules", {})
    assert cache.load(SOURCE).twice(3.0) == 6.0
    assert fresh_process(folder) == [8.0, 0]


def test_a_folder_that_cannot_be_written_is_warned_of_once(folder, monkeypatch):
    (folder / "file").write_text("in the way")
    monkeypatch.setenv("SBMLANG_CACHE", str(folder / "file"))
    with pytest.warns(UserWarning, match="W740.*cannot be kept"):
        assert cache.load(SOURCE).twice(3.0) == 6.0
    assert cache.load(SOURCE + "\n").twice(5.0) == 10.0  # a second warning would be an error here


def test_the_users_folder_is_the_default(monkeypatch):
    monkeypatch.delenv("SBMLANG_CACHE", raising=False)
    assert cache.folder().parts[-2:] == ("sbmlang", "kernels")
    assert np.all([p != "" for p in cache.folder().parts])

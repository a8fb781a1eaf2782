"""Files of results: whole or not at all, and clear about what is wrong."""

import errno
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import xarray as xr

from sbmlang.errors import SbmError
from sbmlang.results import attributes, open_fit, save
from sbmlang.results.store import write_whole


def raised(call, *args):
    with pytest.raises(SbmError) as caught:
        call(*args)
    assert caught.value.diagnostics[0].help
    return caught.value.codes


def test_what_is_saved_comes_back(incubation, tmp_path):
    tree = incubation.tree()
    path = save(tree, tmp_path / "fit.nc")
    back = open_fit(path)
    xr.testing.assert_identical(tree, back)
    assert attributes(back) == attributes(tree)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.nc"]


def test_a_long_model_text_fits(incubation, tmp_path):
    text = incubation.model.text + "# ωµ a long remark\n" * 20_000
    incubation.model = replace(incubation.model, text=text)
    assert open_fit(save(incubation.tree(), tmp_path / "fit.nc")).attrs["model_text"] == text


def test_an_opened_file_is_let_go(incubation, tmp_path):
    path = save(incubation.tree(), tmp_path / "fit.nc")
    first = open_fit(path)
    save(first, path)
    xr.testing.assert_identical(open_fit(path), first)


def test_a_link_stays_a_link(incubation, tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "fit.nc"
    link.symlink_to(tmp_path / "disk" / "real.nc")
    save(incubation.tree(), link)
    assert link.is_symlink()
    assert open_fit(tmp_path / "disk" / "real.nc").attrs["model_name"] == "incubation"


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ZeroDivisionError()])
def test_an_interrupted_write_changes_nothing(tmp_path, fault):
    path = tmp_path / "fit.nc"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise fault

    with pytest.raises(type(fault)):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_not_a_crash(incubation, tmp_path):
    pytest.importorskip("resource")  # POSIX: a limit on the size of files stands for the end of the disk
    source, target = tmp_path / "fit.nc", tmp_path / "out" / "fit.nc"
    target.parent.mkdir()
    target.write_bytes(b"old")
    size = save(incubation.tree(), source).stat().st_size
    program = (
        "import resource, sys\nfrom sbmlang.results import open_fit, save\n"
        "tree = open_fit(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "try:\n    save(tree, sys.argv[2])\n"
        "except Exception as fault:\n    print(*fault.codes)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, source, target, str(size // 2)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "E654"), done.stderr
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_places_that_cannot_be_written(incubation, tmp_path, monkeypatch):
    tree = incubation.tree()
    assert raised(save, tree, tmp_path / "no" / "fit.nc") == ("E651",)
    assert raised(save, tree, tmp_path) == ("E652",)
    assert raised(save, tree, os.devnull) == ("E652",)

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", read_only)
    assert raised(save, tree, tmp_path / "fit.nc") == ("E653",)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_forbidden_places(incubation, tmp_path):
    path = save(incubation.tree(), tmp_path / "fit.nc")
    path.chmod(0o444)
    assert raised(save, incubation.tree(), path) == ("E653",)
    path.chmod(0o000)
    assert raised(open_fit, path) == ("E653",)


def test_files_that_are_no_results(incubation, tmp_path):
    path = save(incubation.tree(), tmp_path / "fit.nc")
    (tmp_path / "table.csv").write_text("time,CO2\n1,2\n")
    (tmp_path / "cut.nc").write_bytes(path.read_bytes()[:5000])
    xr.Dataset({"x": 1.0}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    newer = incubation.tree()
    newer.attrs["sbmlang_format"] = 99
    save(newer, tmp_path / "newer.nc")
    assert raised(open_fit, tmp_path / "none.nc") == ("E655",)
    assert raised(open_fit, tmp_path) == ("E652",)
    assert raised(open_fit, tmp_path / "table.csv") == ("E656",)
    assert raised(open_fit, tmp_path / "cut.nc") == ("E656",)
    assert raised(open_fit, tmp_path / "other.nc") == ("E657",)
    assert raised(open_fit, tmp_path / "newer.nc") == ("E658",)

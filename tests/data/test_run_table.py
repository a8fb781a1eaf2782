"""Tables of runs: which column is what, units, runs that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import sbmlang as sbm
from sbmlang.driver import read_run_table
from sbmlang.errors import SbmError

MODEL = """model elm
index year = 2006..2008
index layer = {{top, deep}}
param k [1/day] ~ {prior}
param s[layer] ~ Uniform(0, 1)
param sigma ~ HalfNormal(1)
simulator elm from table "runs.csv" : k, s -> LH[year] [W/m^2]{columns}, T[year, layer] [degC]
observe a[year] [W/m^2] ~ Normal(LH[year], 2 [W/m^2])
observe b[year, layer] [degC] ~ Normal(T[year, layer], 2 [K])
"""
N = 40
RNG = np.random.default_rng(1)
K, S = RNG.uniform(0, 1, N), RNG.uniform(0, 1, (N, 2))
LH, T = RNG.normal(50, 5, (N, 3)), RNG.normal(10, 2, (N, 3, 2))
YEARS, LAYERS = ("2006", "2007", "2008"), ("top", "deep")


def model(folder: Path, prior: str = "Uniform(0, 1)", columns: str = "") -> sbm.Model:
    (folder / "elm.sbm").write_text(MODEL.format(prior=prior, columns=columns))
    return sbm.load(folder / "elm.sbm")


def table(lh: list[str], t: list[str], s: list[str], k: str = "k", scale: float = 1.0) -> str:
    head = ",".join(f'"{h}"' for h in [k, *s, *lh, *t])
    rows = np.concatenate([scale * K[:, None], S, LH, T.reshape(N, -1)], axis=1)
    return head + "\n" + "\n".join(",".join(map(repr, map(float, r))) for r in rows) + "\n"


SPELLINGS = {
    "labels": ([f"LH_{y}" for y in YEARS], [f"T_{y}_{d}" for y in YEARS for d in LAYERS], ["s_top", "s_deep"]),
    "brackets": ([f"LH[{y}]" for y in YEARS], [f"T[{y}, {d}]" for y in YEARS for d in LAYERS], ["s[top]", "s[deep]"]),
    "units": ([f"LH[{y}] [W/m^2]" for y in YEARS], [f"T[{y},{d}] [degC]" for y in YEARS for d in LAYERS], ["s[top] [1]", "s_deep"]),
    "named": ([f"LH_year{y}" for y in YEARS], [f"T_year{y}_layer{d}" for y in YEARS for d in LAYERS], ["s_top", "s_deep"]),
    "places": ([f"lh_year{j}" for j in (1, 2, 3)], [f"T_{j}_{d}" for j in (1, 2, 3) for d in (1, 2)], ["s_1", "s_2"]),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_columns_of_members(tmp_path, spelling):
    lh, t, s = SPELLINGS[spelling]
    if spelling == "units":
        s = ["s_top", "s_deep"]
    (tmp_path / "runs.csv").write_text(table(lh, t, s))
    found = read_run_table(model(tmp_path))
    assert len(found) == found.found == N and not found.notes
    np.testing.assert_array_equal(found.parameters["k"], K)
    np.testing.assert_array_equal(found.parameters["s"], S)
    np.testing.assert_array_equal(found.outputs["LH"], LH)
    np.testing.assert_array_equal(found.outputs["T"], T)


def test_columns_that_the_statement_names(tmp_path):
    _, t, s = SPELLINGS["labels"]
    (tmp_path / "runs.csv").write_text(table(["x", "y", "z"], t, s))
    found = read_run_table(model(tmp_path, columns=' columns "x", "y", "z"'))
    np.testing.assert_array_equal(found.outputs["LH"], LH)


def test_units_of_headers_are_converted(tmp_path):
    lh, t, s = SPELLINGS["labels"]
    (tmp_path / "runs.csv").write_text(
        table([f"{lh[0]} [kW/m^2]", *lh[1:]], [f"{t[0]} [K]", *t[1:]], s, "k [1/hour]", 1 / 24)
    )
    found = read_run_table(model(tmp_path))
    np.testing.assert_allclose(found.parameters["k"], K, rtol=1e-12)
    np.testing.assert_allclose(found.outputs["LH"][:, 0], 1000 * LH[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found.outputs["T"][:, 0, 0], T[:, 0, 0] - 273.15, rtol=1e-12)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_arrays_with_their_dimensions_in_any_order(tmp_path, kind):
    dataset = xr.Dataset(
        {
            "k": ("sample", K / 24, {"units": "1/hour"}),
            "s": (("layer", "sample"), S.T),
            "LH_2006": ("sample", LH[:, 0]), "LH_2007": ("sample", LH[:, 1]), "LH_2008": ("sample", LH[:, 2]),
            "T": (("layer", "sample", "year"), np.moveaxis(T, 2, 0), {"units": "degC"}),
        }
    )  # fmt: skip
    path = tmp_path / f"runs.{kind}"
    dataset.to_netcdf(path) if kind == "nc" else dataset.to_zarr(path, consolidated=False)
    found = read_run_table(model(tmp_path), path)
    np.testing.assert_allclose(found.parameters["k"], K, rtol=1e-12)
    for name, wanted in (("s", S), ("LH", LH), ("T", T)):
        np.testing.assert_allclose({**found.parameters, **found.outputs}[name], wanted)


def test_runs_outside_the_prior_and_broken_ones_are_left_out(tmp_path):
    lh, t, s = SPELLINGS["labels"]
    lines = table(lh, t, s).splitlines()
    broken = lines[3].rsplit(",", 1)[0] + ","
    (tmp_path / "runs.csv").write_text("\n".join([*lines[:3], broken, *lines[4:]]))
    found = read_run_table(model(tmp_path, "Uniform(0, 0.9)"))
    keep = (K <= 0.9) & (np.arange(N) != 2)
    assert len(found) == keep.sum() and found.found == N
    np.testing.assert_array_equal(found.outputs["T"], T[keep])
    said = {d.code: d.message for d in found.notes}
    assert said["W840"].startswith(f"{(K > 0.9).sum()} of {N} runs") and said["W841"].startswith("1 of 40")


def test_runs_of_another_law_are_told(tmp_path):
    lh, t, s = SPELLINGS["labels"]
    (tmp_path / "runs.csv").write_text(table(lh, t, s))
    notes = read_run_table(model(tmp_path, "LogNormal(median=0.05, sigma=0.5)")).notes
    assert [d.code for d in notes] == ["W842"] and "'k'" in notes[0].message


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("LH_2007", "LX_2007"), "E846", "lacks the column 'LH_2007'"),
        (('"k"', '"q"'), "E846", "parameter 'k' lacks the column 'k'"),
        (("LH_2007", "LH_2007 [kg]"), "E611", "the column is in kg"),
        (("LH_2007", "LH_2007 [wat]"), "E610", "wat"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path, change, code, said):
    lh, t, s = SPELLINGS["labels"]
    (tmp_path / "runs.csv").write_text(table(lh, t, s).replace(*change))
    with pytest.raises(SbmError, match=rf"(?s){code}.*{said}"):
        read_run_table(model(tmp_path))


def test_cells_that_are_no_numbers_and_files_that_are_not_there(tmp_path):
    lh, t, s = SPELLINGS["labels"]
    with pytest.raises(SbmError, match="E601"):
        read_run_table(model(tmp_path))
    (tmp_path / "runs.csv").write_text(table(lh, t, s).replace(repr(float(K[1])), "dry"))
    with pytest.raises(SbmError, match=r"E640.*'dry'"):
        read_run_table(model(tmp_path))
    with pytest.raises(SbmError, match=r"E846.*no simulator 'sea'"):
        read_run_table(model(tmp_path), simulator="sea")
    with pytest.raises(SbmError, match=r"E846.*no simulator whose runs"):
        read_run_table(sbm.loads("model m\nparam k ~ Normal(0, 1)\nobserve y ~ Normal(k, 1)"))


def test_no_run_is_left(tmp_path):
    lh, t, s = SPELLINGS["labels"]
    (tmp_path / "runs.csv").write_text(table(lh, t, s))
    with pytest.raises(SbmError, match=r"E846.*none of the 40 runs"):
        read_run_table(model(tmp_path, "Uniform(5, 6)"))

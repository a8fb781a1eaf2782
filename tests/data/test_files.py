"""Text files: what is accepted, and what is said about the rest."""

import gzip

import numpy as np
import pytest

RESPIRATION = """\
soil,replicate,time_d,cum_co2
Andisol,1,1,0.12
Andisol,1,2,0.39
Andisol,2,1,0.13
Andisol,2,2,
Gelisol,1,1,0.15
Gelisol,1,2,NA
"""


@pytest.fixture
def incubation(make):
    co2 = make.observation("CO2", "mgC/gsoil", column="cum_co2", dims=("soil",))
    return make.model(co2, dims=(make.dim("soil", None),), column="time_d")


def check_incubation(data):
    assert data.labels == {"soil": ("Andisol", "Gelisol")}
    assert data.sizes == {"soil": 2}
    channel = data.channels["CO2"]
    assert channel.time.tolist() == [1, 1, 2, 1]
    assert channel.value.tolist() == [0.12, 0.13, 0.39, 0.15]
    assert channel.index["soil"].tolist() == [0, 0, 0, 1]
    assert channel.replicates == 1
    assert data.grid.tolist() == [1, 2]
    assert data.notes == ()
    assert data.arrays()["channels"]["CO2"]["at"].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("obs.csv", RESPIRATION.encode()),
        ("obs.csv", b"\xef\xbb\xbf" + RESPIRATION.replace("\n", "\r\n").encode()),
        ("obs.csv", b"# from the lab\n\n" + RESPIRATION.encode() + b"\n,,,\n"),
        ("obs.csv", RESPIRATION.replace(",", ";").encode()),
        ("obs.tsv", RESPIRATION.replace(",", "\t").encode()),
        ("obs.csv.gz", gzip.compress(RESPIRATION.encode())),
        ("obs.csv", b'"soil","replicate","time_d","cum_co2"\n' + RESPIRATION.split("\n", 1)[1].encode()),
    ],
    ids=["plain", "bom-crlf", "comment-and-blank", "semicolon", "tab", "gzip", "quoted"],
)
def test_the_same_table_in_many_shapes(make, incubation, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    check_incubation(make.read(incubation, path))
    check_incubation(make.read(incubation, str(path)))


def test_what_was_read_is_counted(make, incubation, tmp_path):
    path = tmp_path / "obs.csv"
    path.write_text(RESPIRATION)
    assert make.read(incubation, path).describe() == (
        "CO2: 4 values at 2 times of 2 soil, 1 of them at a time that has one already (replicates)",
    )


@pytest.mark.parametrize(
    ("content", "code", "place", "said"),
    [
        (b"", "E603", "obs.csv", "the file is empty"),
        (b"# nothing\n", "E603", "obs.csv", "the file is empty"),
        (b"t,CO2\n", "E603", "obs.csv", "only the columns 't' and 'CO2'"),
        (b"t,CO2\n1,2\n3\n4\n", "E606", "obs.csv, row 3",
         "1 cells, expected 2 as in the header; also in row 4"),
        (b"t,CO2\n1,2,3\n", "E606", "obs.csv, row 2", "found 3 cells, expected 2"),
        (b't,CO2\n1,"2\n' + b"x" * 200_000, "E606", "obs.csv, row 2", "cannot be split into cells"),
        (b"t,CO2,CO2 [gC]\n1,2,3\n", "E607", "obs.csv", "more than one column is named 'CO2'"),
        (b"PK\x03\x04 sheet", "E604", "obs.csv", "spreadsheet"),
        (b"t,CO2\n\x00\x01\x02", "E604", "obs.csv", "binary"),
        (b"\x1f\x8b\x08 cut", "E604", "obs.csv", "damaged"),
        (b"\x89HDF\r\n\x1a\n cut", "E604", "obs.csv", "NetCDF file cannot be read"),
        ("t,temp [°C]\n1,2\n".encode("latin-1"), "E605", "obs.csv, row 1", "byte 0xb0 is not UTF-8"),
        ("t,CO2\n1,2\n".encode("utf-16"), "E605", "obs.csv", "UTF-16"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables(make, tmp_path, content, code, place, said):
    path = tmp_path / "obs.csv"
    path.write_bytes(content)
    found = make.problem(make.model(make.observation()), path)
    assert (found.code, found.place) == (code, place)
    assert said in found.message


def test_missing_file_and_folder(make, tmp_path):
    (tmp_path / "respiration.csv").write_text("t,CO2\n1,2\n")
    model = make.model(make.observation())
    missing = make.problem(model, tmp_path / "respirations.csv")
    assert missing.code == "E601"
    assert missing.help == ("did you mean 'respiration.csv'?",)
    assert make.problem(model, tmp_path / "nowhere" / "obs.csv").code == "E601"
    assert make.problem(model, tmp_path).code == "E602"


def test_every_unreadable_table_is_reported(make, tmp_path):
    model = make.model(make.observation())
    found = make.problems(model, tmp_path / "a.csv", {"t": [1, 2], "CO2": [1]}, 3)
    assert [d.code for d in found] == ["E601", "E606", "E608"]


def test_no_table_at_all(make):
    assert make.problem(make.model(make.observation())).code == "E608"


def test_a_quoted_line_break_keeps_the_editors_row_numbers(make, tmp_path):
    path = tmp_path / "obs.csv"
    path.write_text('t,CO2,remark\n1,2,"two\nlines"\n2,bad,\n')
    assert make.problem(make.model(make.observation()), path).place == "obs.csv, row 4, column 'CO2'"


def test_numbers_keep_all_digits(make, tmp_path):
    values = np.random.default_rng(1).normal(size=50)
    path = tmp_path / "obs.csv"
    path.write_text("t,CO2\n" + "".join(f"{k},{v!r}\n" for k, v in enumerate(values.tolist())))
    assert np.array_equal(make.read(make.model(make.observation()), path).channels["CO2"].value, values)

"""The input files: formats, columns, and errors in one sentence."""

import gzip

import pytest

from mtl_tf.errors import DataError, UserError
from pipelines.sources import plan
from pipelines.sources.files import kind_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", ("csv", "")),
        ("A.CSV.GZ", ("csv", "gz")),
        ("a.tsv.bz2", ("tsv", "bz2")),
        ("a.ndjson.xz", ("jsonl", "xz")),
        ("dir.csv/a.parquet", ("parquet", "")),
    ],
)
def test_kind_of(name, expected):
    assert kind_of(name) == expected


def write(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.mark.parametrize(
    ("files", "inputs", "error", "says"),
    [
        ({}, ["no.csv"], UserError, "no.csv: no such file"),
        ({}, ["*.csv"], UserError, "no file matches"),
        ({"a.csv": "a\n1\n"}, ["a.csv", "*.csv"], UserError, "given twice"),
        ({"a.csv": "a\n1\n"}, ["a.csv", "test=a.csv"], UserError, "given twice"),
        ({"a.csv": "a\n1\n"}, ["valid=a.csv"], UserError, "unknown split 'valid'"),
        ({"a.txt": "a\n1\n"}, ["a.txt"], UserError, "unknown format"),
        ({"a.parquet.gz": "a"}, ["a.parquet.gz"], UserError, "unknown format"),
        ({"a.parquet": "PAR0"}, ["a.parquet"], DataError, "cannot be read"),
        ({"a.csv.gz": "plain"}, ["a.csv.gz"], DataError, "cannot be read"),
        ({"a.csv.xz": "plain"}, ["a.csv.xz"], DataError, "cannot be read"),
        ({"a.csv": ""}, ["a.csv"], DataError, "is empty"),
        ({"a.csv.gz": gzip.compress(b"")}, ["a.csv.gz"], DataError, "is empty"),
        ({"a.csv": b"\xff\xfea\n"}, ["a.csv"], DataError, "not UTF-8"),
        ({"a.csv": "\n1\n"}, ["a.csv"], DataError, "first line is blank"),
        ({"a.csv": "A,b\n1,2\n"}, ["a.csv"], DataError, "no column 'a'"),
        ({"a.csv": "a,b,a\n1,2,3\n"}, ["a.csv"], DataError, "more than once"),
        ({}, ["s3://bucket/a.csv"], UserError, "received a URL"),
        ({}, ["."], UserError, "is a folder"),
    ],
)
def test_wrong_inputs_in_one_sentence(tmp_path, monkeypatch, files, inputs, error, says):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, files)
    with pytest.raises(error) as caught:
        plan(inputs, ["a"])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_reported_with_those_there_are(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("age,incme\n1,2\n")
    with pytest.raises(DataError) as caught:
        plan([str(path)], ["age", "income"])
    assert str(caught.value) == (
        f"{path}: no column 'income', which the configuration reads. Did you mean `incme`? "
        "It has 'age', 'incme'"
    )

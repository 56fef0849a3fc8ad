"""Readers: every line is one row, whatever the cut, the format or the compression."""

import bz2
import gzip
import itertools
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_tf.errors import DataError, UserError
from pipelines.sources import FileRange, plan, read, text
from pipelines.sources.csv_lines import CsvLines
from pipelines.sources.files import kind_of


def collect(ranges, wanted):
    """Rows with their line numbers, texts, and what was malformed, over all ranges."""
    rows, malformed, lines = [], [], 0
    for file_range in ranges:
        before = lines
        for batch in read(file_range, wanted):
            cells = [batch.columns[name].to_pylist() for name in wanted]
            for i in range(batch.rows):
                values = tuple(column[i] for column in cells)
                rows.append((before + int(batch.lines[i]), values, batch.text(i)))
            malformed += [(before + item.line, item.reason, item.row) for item in batch.malformed]
            lines += batch.num_lines
    return rows, malformed


def range_of(path, start=0, end=-1, columns=("a", "b"), format="csv"):
    return FileRange(0, 0, str(path), str(path), format, "", "", columns, start, end, 0)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.csv", bytes),
        ("x.csv.gz", gzip.compress),
        ("x.csv.xz", lzma.compress),
        ("x.csv.bz2", bz2.compress),
        ("x.csv.gz", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ],
)
def test_csv_plain_and_compressed(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(b"b,a\n1,x\n2,\n"))
    _, ranges = plan([str(path)], ["a", "b"])
    rows, malformed = collect(ranges, ["a", "b"])
    assert rows == [(2, ("x", "1"), "1,x"), (3, ("", "2"), "2,")]
    assert malformed == []


@pytest.mark.parametrize(
    ("body", "rows", "malformed"),
    [
        ("1,2\n3,4", [(2, ("1", "2")), (3, ("3", "4"))], []),
        ("1,2\r\n3,4\r\n", [(2, ("1", "2")), (3, ("3", "4"))], []),
        ("\n1,2\n\n\n3,4\n", [(3, ("1", "2")), (6, ("3", "4"))], []),
        ("1,2\n1,2,3\n5\n6,7\n", [(2, ("1", "2")), (5, ("6", "7"))],
         [(3, "expected 2 columns, got 3"), (4, "expected 2 columns, got 1")]),
        ('"x,y","a ""b"""\n3,4\n', [(2, ("x,y", 'a "b"')), (3, ("3", "4"))], []),
        ('5" disk,"2"\n3,4\n', [(2, ('5" disk', "2")), (3, ("3", "4"))], []),
        ('1,"two\nlines"\n3,4\n', [(4, ("3", "4"))],
         [(2, "a quote is opened"), (3, "expected 2 columns, got 1")]),
        ('1,2\n3,"4\n', [(2, ("1", "2"))], [(3, "a quote is opened")]),
        ('1,2\n3,"4', [(2, ("1", "2"))], [(3, "a quote is opened")]),
        ('x"y,"abc\n5,6\n7,8"\n8,9\n',
         [(3, ("5", "6")), (4, ("7", '8"')), (5, ("8", "9"))], [(2, "a quote is opened")]),
        ("1,2\n3\r,4\n5,6\n", [(2, ("1", "2")), (4, ("5", "6"))], [(3, "a carriage return")]),
        ("", [], []),
        ("\n\n", [], []),
    ],
)  # fmt: skip
def test_csv_lines(tmp_path, body, rows, malformed):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + body.encode())
    found, bad = collect([range_of(path)], ["a", "b"])
    assert [row[:2] for row in found] == rows
    assert [line for line, _, _ in bad] == [line for line, _ in malformed]
    assert all(item[1].startswith(reason) for item, (_, reason) in zip(bad, malformed, strict=True))


def test_csv_not_utf8(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,\xff\xfe\n\xc3\xa9,2\n")
    rows, malformed = collect([range_of(path)], ["a", "b"])
    assert [row[:2] for row in rows] == [(3, ("é", "2"))]
    assert [(line, reason) for line, reason, _ in malformed] == [(2, "not UTF-8 text")]


def test_csv_header_with_byte_order_mark_and_tabs(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes("\ufeffa\tb c\n1\t2,5\n".encode())
    _, ranges = plan([str(path)], ["a", "b c"])
    assert collect(ranges, ["a", "b c"])[0][0][:2] == (2, ("1", "2,5"))


cell = st.text(st.sampled_from('ab"é \r'), max_size=4)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(st.lists(cell, min_size=1, max_size=3).map(",".join), max_size=12),
    cuts=st.lists(st.integers(1, 60), max_size=3),
    ended=st.booleans(),
)
def test_any_cut_gives_the_same_rows(tmp_path, lines, cuts, ended):
    """Byte ranges share out the lines; a line's fate never depends on its neighbours."""
    path = tmp_path / "cut.csv"
    path.write_text("a,b\n" + "\n".join(lines) + "\n" * ended, newline="")
    edges = [0, *sorted({min(cut, path.stat().st_size) for cut in cuts}), -1]
    ranges = [range_of(path, *pair) for pair in itertools.pairwise(edges)]
    cut = collect(ranges, ["a", "b"])
    assert cut == collect([range_of(path)], ["a", "b"])
    alone_rows, alone_malformed = [], []
    for number, line in enumerate(lines, 2):
        batch = CsvLines(["a", "b"], ["a", "b"], ",")(f"{line}\n".encode(), number)
        columns = (column.to_pylist() for column in batch.columns.values())
        alone_rows += [(number, values) for values in zip(*columns, strict=True)]
        alone_malformed += [(number, item.reason) for item in batch.malformed]
    assert [row[:2] for row in cut[0]] == alone_rows
    assert [item[:2] for item in cut[1]] == alone_malformed


def test_large_files_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.sources.files.RANGE_BYTES", 1000)
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "".join(f"{i},{'x' * (i % 7)}\n" for i in range(1000)))
    _, ranges = plan([str(path)], ["a"])
    assert len(ranges) > 5
    rows, _ = collect(ranges, ["a"])
    assert [row[:2] for row in rows] == [(i + 2, (str(i),)) for i in range(1000)]


def test_small_blocks_and_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    monkeypatch.setattr("pipelines.sources.reader.BATCH_ROWS", 7)
    path = tmp_path / "x.csv.gz"
    body = "".join(f"{i},{'x' * (i % 90)}\n" + ("1,2,3\n" if i == 50 else "") for i in range(200))
    path.write_bytes(gzip.compress(b"a,b\n" + body.encode()))
    _, ranges = plan([str(path)], ["a"])
    batches = list(read(ranges[0], ["a"]))
    assert max(batch.rows for batch in batches) <= 7
    rows, malformed = collect(ranges, ["a"])
    numbers = [row[0] for row in rows]
    assert numbers == [*range(2, 53), *range(54, 203)]
    assert [item[0] for item in malformed] == [53]
    assert all(text.split(",")[0] == values[0] for _, values, text in rows)
    assert sum(batch.read_bytes for batch in batches) == path.stat().st_size


JSON_ROWS = [
    '{"a": "x", "n": 1, "tags": ["p", "q"]}',
    '{"n": 2.5, "a": null}',
    '{"tags": [], "a": "2020-01-01"}',
]


def test_json_lines_keep_their_types(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(JSON_ROWS) + "\n")
    _, ranges = plan([str(path)], ["a", "n", "tags"])
    (batch,) = read(ranges[0], ["a", "n", "tags"])
    assert batch.columns["a"].to_pylist() == ["x", None, "2020-01-01"]
    assert batch.columns["n"].to_pylist() == [1.0, 2.5, None]
    assert batch.columns["tags"].to_pylist() == [["p", "q"], None, []]
    assert batch.text(1) == JSON_ROWS[1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{oops}", "not valid JSON"),
        ('{"a": 1', "not valid JSON"),
        ("[1, 2]", "expected a JSON object, got a list"),
        ("null", "expected a JSON object, got null"),
        ('{"a": {"b": 1}}', "column 'a': expected a value"),
        ('{"tags": [["x"]]}', "column 'tags': expected a value"),
        ('{"a": "\\ud800"}', "not UTF-8 text"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_malformed_json_lines_are_rejected_alone(tmp_path, line, reason):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([JSON_ROWS[0], line, "", JSON_ROWS[2]]) + "\n")
    _, ranges = plan([str(path)], ["a", "n", "tags"])
    rows, malformed = collect(ranges, ["a", "n", "tags"])
    assert [(row[0], row[1]) for row in rows] == [
        (1, ("x", 1, ["p", "q"])),  # as without the malformed line
        (4, ("2020-01-01", None, [])),
    ]
    ((number, found, row),) = malformed
    assert (number, row) == (2, line)
    assert found.startswith(reason)


def test_json_columns_of_mixed_types_become_text(tmp_path):
    path = tmp_path / "x.ndjson"
    path.write_text('{"a": 1, "t": ["x"]}\n{"a": "one", "t": "y|z"}\n{"a": true, "t": 3}\n')
    _, ranges = plan([str(path)], ["a", "t"])
    (batch,) = read(ranges[0], ["a", "t"], separators={"t": "|"})
    assert batch.columns["a"].to_pylist() == ["1", "one", "true"]
    assert batch.columns["t"].to_pylist() == [["x"], ["y", "z"], ["3"]]


def test_parquet_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.sources.files.RANGE_BYTES", 300)
    path = tmp_path / "x.parquet"
    table = pa.table({"a": [f"v{i}" for i in range(100)], "n": range(100), "unread": [0.5] * 100})
    pq.write_table(table, path, row_group_size=9)
    _, ranges = plan([str(path)], ["a", "n"])
    assert len(ranges) > 2
    rows = []
    for file_range in ranges:
        for batch in read(file_range, ["a", "n"]):
            rows += zip(batch.lines, *(batch.columns[name].to_pylist() for name in "an"))  # noqa: B905
            assert json.loads(batch.text(0)) == {
                "a": rows[-batch.rows][1],
                "n": rows[-batch.rows][2],
            }
    assert rows == [(i + 1, f"v{i}", i) for i in range(100)]


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


def test_a_missing_column_is_named_with_what_there_is(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("age,incme\n1,2\n")
    with pytest.raises(DataError) as caught:
        plan([str(path)], ["age", "income"])
    assert str(caught.value) == (
        f"{path}: no column 'income', which the configuration reads. Did you mean `incme`? "
        "It has 'age', 'incme'"
    )


@pytest.mark.parametrize(
    ("name", "pack"), [("x.csv.gz", gzip.compress), ("x.csv.xz", lzma.compress)]
)
def test_a_damaged_stream_is_a_sentence(tmp_path, name, pack):
    path = tmp_path / name
    data = pack(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(30_000)))
    path.write_bytes(data[: len(data) // 2])
    _, ranges = plan([str(path)], ["a"])
    with pytest.raises(DataError, match="cannot be read to its end"):
        list(read(ranges[0], ["a"]))


def test_a_file_without_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(text, "BLOCK_BYTES", 100)
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1," * 1000)
    _, ranges = plan([str(path)], ["a"])
    with pytest.raises(DataError, match="a line is longer than"):
        list(read(ranges[0], ["a"]))


def test_a_malformed_line_does_not_change_how_others_are_read(tmp_path):
    lines = ['{"a": true, "n": 1.0}', '{"a": false, "n": 2.5}']
    read = []
    for name, malformed in (("clean.jsonl", []), ("malformed.jsonl", ['{"a": '])):
        (tmp_path / name).write_text("\n".join([*lines, *malformed]) + "\n")
        _, ranges = plan([str(tmp_path / name)], ["a", "n"])
        rows, _ = collect(ranges, ["a", "n"])
        read.append([row[1] for row in rows])
    assert read[0] == read[1] == [(True, 1.0), (False, 2.5)]


def test_numbers_of_mixed_columns_are_spelled_as_those_of_float_columns(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1.0, "n": true}\n{"a": "x", "n": null}\n{"a": 1e-7, "n": false}\n')
    _, ranges = plan([str(path)], ["a", "n"])
    rows, malformed = collect(ranges, ["a", "n"])
    assert [row[1] for row in rows] == [("1", True), ("x", None), ("1e-07", False)]
    assert not malformed


def test_a_csv_cell_of_any_length(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('a,n\nx,1\n\ny,"' + "z" * 150_000 + '"\n')
    _, ranges = plan([str(path)], ["a"])
    rows, malformed = collect(ranges, ["a"])
    assert [row[1] for row in rows] == [("x",), ("y",)]
    assert not malformed

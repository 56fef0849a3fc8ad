"""File ranges: the same rows for any cut, block, batch or compression."""

import gzip
import itertools
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_tf.errors import DataError
from pipelines.sources import plan, read, text
from pipelines.sources.csv_lines import CsvLines
from tests.support.file_ranges import collect, range_of

cell = st.text(st.sampled_from('ab"é \r'), max_size=4)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(st.lists(cell, min_size=1, max_size=3).map(",".join), max_size=12),
    cuts=st.lists(st.integers(1, 60), max_size=3),
    ended=st.booleans(),
)
def test_any_cut_gives_the_same_rows(tmp_path, lines, cuts, ended):
    """Every line is in one range; a line never depends on its neighbors."""
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


def test_parquet_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.sources.files.RANGE_BYTES", 300)
    path = tmp_path / "x.parquet"
    table = pa.table({"a": [f"v{i}" for i in range(100)], "n": range(100), "unread": [0.5] * 100})
    pq.write_table(table, path, row_group_size=9)
    _, ranges = plan([str(path)], ["a", "n"])
    assert len(ranges) > 2
    rows = []
    for source in ranges:
        for batch in read(source, ["a", "n"]):
            rows += zip(batch.lines, *(batch.columns[name].to_pylist() for name in "an"))  # noqa: B905
            assert json.loads(batch.text(0)) == {
                "a": rows[-batch.rows][1],
                "n": rows[-batch.rows][2],
            }
    assert rows == [(i + 1, f"v{i}", i) for i in range(100)]


@pytest.mark.parametrize(
    ("name", "pack"), [("x.csv.gz", gzip.compress), ("x.csv.xz", lzma.compress)]
)
def test_a_damaged_stream_is_reported_in_one_sentence(tmp_path, name, pack):
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

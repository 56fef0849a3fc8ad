"""Blocks of JSON Lines: types are kept, malformed lines rejected alone."""

import pytest

from pipelines.sources import plan, read
from tests.support.file_ranges import rows_of

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
    rows, malformed = rows_of(path, ["a", "n", "tags"])
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


def test_a_malformed_line_does_not_change_how_others_are_read(tmp_path):
    lines = ['{"a": true, "n": 1.0}', '{"a": false, "n": 2.5}']
    read = []
    for name, malformed in (("clean.jsonl", []), ("malformed.jsonl", ['{"a": '])):
        (tmp_path / name).write_text("\n".join([*lines, *malformed]) + "\n")
        rows, _ = rows_of(tmp_path / name, ["a", "n"])
        read.append([row[1] for row in rows])
    assert read[0] == read[1] == [(True, 1.0), (False, 2.5)]


def test_numbers_of_mixed_columns_are_spelled_as_those_of_float_columns(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1.0, "n": true}\n{"a": "x", "n": null}\n{"a": 1e-7, "n": false}\n')
    rows, malformed = rows_of(path, ["a", "n"])
    assert [row[1] for row in rows] == [("1", True), ("x", None), ("1e-07", False)]
    assert not malformed

"""Rejected rows, and data with nothing to learn: then nothing is published."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl_tf.errors import DataError
from mtl_tf.schema import Schema
from mtl_tf.transform import Accumulator
from pipelines.sources import RawBatch
from pipelines.stages.fit import check_labels
from pipelines.validate.rows import RowValidator
from tests.support.shop_job import COLUMNS, left_in, make_rows, run, spoil, write_csv


def test_rejected_rows_are_kept_and_counted(tmp_path):
    rows = make_rows(500)
    rows[3]["item"] = "x"
    rows[5]["item"] = "y"
    path = write_csv(tmp_path / "a.csv", rows)
    with open(path, "ab") as file:
        file.write(b"too,few\n\xff,,,,,,,\n")
    dataset = run(tmp_path, path)
    assert dataset["rejected"] == {
        "rows": 4,
        "kept": 4,
        "by_reason": {
            "column 'item': not an integer": 2,
            "expected 8 columns, got 2": 1,
            "not UTF-8 text": 1,
        },
    }
    lines = (tmp_path / "out/rejected-00000-of-00001.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["line"] for entry in entries] == [5, 7, 502, 503]
    assert entries[0] == {
        "file": str(path),
        "line": 5,
        "reason": "column 'item': not an integer",
        "row": ",".join(rows[3].values()),
        "value": "x",
    }
    assert sum(split["rows"] for split in dataset["splits"].values()) == 498


def test_rejected_rows_are_valid_json(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    rows = 400
    columns = {
        "price": np.arange(rows) + 0.5,
        "size": np.where(np.arange(rows) % 7, 1.0, np.nan),
        "click": np.arange(rows) % 2,
    }
    columns["price"][3] = np.inf
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    fields = [{"name": "price", "kind": "numeric"}, {"name": "size", "kind": "numeric"}]
    tasks = [{"name": "click", "label": "click"}]
    run(tmp_path, tmp_path / "a.parquet", fields=fields, tasks=tasks)
    (line,) = (tmp_path / "out/rejected-00000-of-00001.jsonl").read_text().splitlines()
    entry = json.loads(line, parse_constant=refuse)
    row = json.loads(entry["row"], parse_constant=refuse)
    assert (entry["value"], row) == ("inf", {"price": "inf", "size": 1.0, "click": 1})


def test_too_many_rejected_rows_fail_the_job(tmp_path):
    rows = make_rows(100)
    rows[0]["item"] = rows[1]["item"] = "x"
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(DataError) as caught:
        run(tmp_path, path)
    kept = tmp_path / "out.rejected.jsonl"
    assert str(caught.value) == (
        "2 of 100 rows were rejected (2.00%), more than --max-rejected 0.01 allows: "
        f"column 'item': not an integer (2); the rows are in {kept}; nothing was published"
    )
    assert caught.value.exit_code == 1
    assert [json.loads(line)["line"] for line in kept.read_text().splitlines()] == [2, 3]
    assert left_in(tmp_path) == ["a.csv", "out.rejected.jsonl"]
    assert run(tmp_path, path, flags=["--max-rejected", "0.02"])["rejected"]["rows"] == 2


def test_a_label_that_never_occurs(tmp_path):
    path = write_csv(tmp_path / "a.csv", spoil(make_rows(60), clicked="maybe"))
    with pytest.raises(DataError) as caught:
        run(tmp_path, path)
    assert str(caught.value) == (
        "task `click` (column 'clicked'): no training row equals 'yes'; values seen: 'maybe'; "
        "nothing was published"
    )
    assert left_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize(
    ("task", "labels", "says"),
    [
        ({"label": {"column": "y", "equals": "a"}}, ["a"] * 3, "all 3 training labels are 1"),
        ({"label": {"column": "y", "equals": "a"}}, [""], "no training row has a label"),
        ({"label": {"column": "y", "equals": ["a", "b"]}}, ["c"], "no training row equals 'a' or"),
        ({"label": "y"}, ["0", "0.0", ""], "all 2 training labels are 0; a binary task needs both"),
        ({"label": {"column": "y", "above": 3}}, ["4"], "all 1 training labels are 1"),
        ({"label": "y", "kind": "regression"}, ["", ""], "no training row has a label"),
        ({"label": "y", "kind": "regression"}, ["2", "2"], None),
        ({"label": "y"}, ["0", "1"], None),
    ],
)
def test_constant_labels_are_refused(task, labels, says):
    schema = Schema.model_validate(
        {"name": "s", "fields": [{"name": "x", "kind": "numeric"}], "tasks": [{"name": "t"} | task]}
    )
    columns = {name: pa.array(labels) for name in ("x", "y")}
    columns["x"] = pa.nulls(len(labels), pa.string())
    raw = RawBatch(columns, len(labels), np.arange(len(labels)), text=str)
    accumulator = Accumulator(schema)
    accumulator.add(RowValidator(schema)(raw).clean)
    tasks = accumulator.statistics()["tasks"]
    if says is None:
        check_labels(schema, tasks, [])
        return
    with pytest.raises(DataError) as caught:
        check_labels(schema, tasks, [{"label_texts": {}}])
    assert says in str(caught.value)


def test_no_training_rows(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_rows(10))
    with pytest.raises(DataError, match="no training row has a label"):
        run(tmp_path, f"test={path}")
    header = write_csv(tmp_path / "h.csv", [])
    with pytest.raises(DataError, match="hold no rows"):
        run(tmp_path, header)
    assert left_in(tmp_path) == ["a.csv", "h.csv"]


def test_json_key_that_no_row_has(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{name: row[name] for name in COLUMNS if name != "country"} for row in make_rows(20)]
    path.write_text("\n".join(json.dumps(row | {"contry": "x"}) for row in rows))
    with pytest.raises(DataError) as caught:
        run(tmp_path, path)
    assert "no row has a value of 'country'" in str(caught.value)
    assert "Did you mean `contry`?" in str(caught.value)


def test_a_damaged_file_is_reported_in_one_sentence(tmp_path):
    whole = write_csv(tmp_path / "a.csv", make_rows(3000)).read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(whole)[:-2000])
    with pytest.raises(DataError, match=r"b\.csv\.gz: cannot be read to its end"):
        run(tmp_path, tmp_path / "b.csv.gz")
    assert left_in(tmp_path) == ["a.csv", "b.csv.gz"]

"""The drafted configuration: valid, and what a person would have written."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mtl_tf.config import load_config
from mtl_tf.errors import DataError, UserError
from pipelines import preprocess
from pipelines.infer_schema import infer_schema
from tests.pipelines.test_preprocess import make_rows, write_csv


def draft(path, tmp_path, rows=10_000):
    (tmp_path / "draft.yaml").write_text(infer_schema(str(path), rows))
    return load_config(tmp_path / "draft.yaml").schema


def test_a_click_log(tmp_path):
    rows = make_rows(500)
    rows[7]["price"] = "free"
    schema = draft(write_csv(tmp_path / "clicks.csv", rows), tmp_path)
    assert schema.name == "clicks"
    assert {field.name: field.kind for field in schema.fields} == {
        "country": "categorical",
        "item": "categorical",
        "price": "numeric",
        "age": "numeric",
        "tags": "multivalued",
        "minutes": "numeric",
    }  # `row` has a value of its own in every row
    assert schema.field("item").dtype == "integer"
    (task,) = schema.tasks
    assert (task.name, task.kind, task.label.equals) == ("clicked", "binary", "yes")
    text = (tmp_path / "draft.yaml").read_text()
    assert "# key: [row]" in text
    assert "cells that are not numbers: 1 (their rows will be rejected)" in text


def test_the_draft_runs(tmp_path):
    path = write_csv(tmp_path / "clicks.csv", make_rows(300))
    draft(path, tmp_path)
    dataset = preprocess.run([
        "--config", str(tmp_path / "draft.yaml"), "--input", str(path),
        "--output", str(tmp_path / "out"),
    ])  # fmt: skip
    assert dataset["rejected"]["rows"] == 0


ROWS = [
    {"user name": f"u{i % 3}", "n": i * 0.5, "tags": ["a", "b"][: i % 3], "label": i % 2}
    for i in range(200)
]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_other_formats(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_bytes(gzip.compress(lines) if kind.endswith("gz") else lines)
    schema = draft(path, tmp_path)
    assert {field.name: field.kind for field in schema.fields} == {
        "user_name": "categorical",
        "n": "numeric",
        "tags": "multivalued",
    }
    assert schema.field("user_name").column == "user name"
    assert [(task.name, task.label.equals) for task in schema.tasks] == [("label", None)]


def test_only_the_first_rows_are_read(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_rows(100))
    assert "first 7 rows" in infer_schema(str(path), rows=7)


def test_awkward_names_and_marks_of_missing_values(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{'x?'[i % 2]},{'pq'[i % 2]},NULL,{i % 2}\n" for i in range(20)]
    path.write_text("1st Col,1st-col,Größe: cm,y\n" + "".join(rows))
    schema = draft(path, tmp_path)
    assert [(field.name, field.column) for field in schema.fields] == [
        ("c_1st_col", "1st Col"),
        ("c_1st_col_2", "1st-col"),
    ]
    assert schema.missing_values == ("?", "NULL")
    assert yaml.safe_load((tmp_path / "draft.yaml").read_text())["tasks"][0]["label"] == "y"


def test_columns_whose_names_no_input_can_have(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{'xy'[i % 2]},{'pqr'[i % 3]},{i % 2}\n" for i in range(20)]
    path.write_text("class,self,y\n" + "".join(rows))
    schema = draft(path, tmp_path)
    assert [(field.name, field.column) for field in schema.fields] == [
        ("c_class", "class"),
        ("c_self", "self"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "error", "says"),
    [
        ("a.csv", "a,b\n", DataError, "has no rows"),
        ("a.csv", "a\n1\n2\n", DataError, "at least one input and one label"),
        ("a.txt", "a\n", UserError, "unknown format"),
    ],
)
def test_nothing_to_draft(tmp_path, name, data, error, says):
    (tmp_path / name).write_text(data)
    with pytest.raises(error, match=says):
        infer_schema(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_lines_that_are_not_utf8_are_reported(tmp_path, name):
    def write(cities):
        if name == "a.csv":
            lines = ["city,clicked", *(f"{city},{i % 2}" for i, city in enumerate(cities))]
        else:
            lines = [f'{{"city": "{city}", "clicked": {i % 2}}}' for i, city in enumerate(cities)]
        (tmp_path / name).write_bytes("\n".join(lines).encode("latin-1"))
        return str(tmp_path / name)

    header = name == "a.csv"
    with pytest.raises(DataError, match=rf"line {1 + header}: not UTF-8 text, .*; convert"):
        infer_schema(write(["Genève"] * 20))
    path = write([*["Bern", "Thun"] * 10, "Genève"])
    told = f"rejected: 1 (line {21 + header}: not UTF-8 text)"
    assert told in infer_schema(path)
    assert told not in infer_schema(path, rows=5)


def test_census(census, tmp_path):
    schema = draft(census / "train.csv.xz", tmp_path)
    assert [task.name for task in schema.tasks] == ["income"]
    assert schema.task("income").label.equals == "50000+."
    assert len(schema.fields) == 40
    assert "?" in schema.missing_values

"""Random schemas and rows, and the same rows as a clean batch and as raw tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from mtl_tf.schema import Field, Schema
from mtl_tf.transform import MISSING_INT

Row = dict[str, Any]

TEXTS = st.sampled_from(
    ["a", "b", "c", "aa", "é", "日本", "NA", "?", "0", "-1", " ", "a\nb", "\\n"]
)
INTS = st.sampled_from([-1, 0, 1, 2, 7, -(2**63) + 1, 2**63 - 1])
NUMBERS = st.sampled_from([-1.0, 0.0, -0.0, 0.5, 1.0, 2.0, 3e38, -3e38, 1e-40, 1.2e-38])

_text = TEXTS | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
_int = INTS | st.integers(-(2**63) + 1, 2**63 - 1)
_number = NUMBERS | st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """One to five fields of any kind; some share a table with the first."""
    fields = [draw(_field(f"f{i}")) for i in range(draw(st.integers(1, 4)))]
    first = fields[0]
    if first["kind"] != "numeric" and draw(st.booleans()):
        other = draw(_categorical("twin") | _multivalued("twin"))
        shared = ("dtype", "min_count", "max_size", "oov_buckets", "hash_buckets")
        fields.append({**other, **{key: first[key] for key in shared}, "shared_with": "f0"})
    missing = draw(st.sets(st.sampled_from(["", "?", "NA", "-1", "+2.0", "0", "1e3"]), max_size=3))
    return Schema.model_validate(
        {
            "name": "case",
            "missing_values": sorted(missing),
            "fields": fields,
            "tasks": [{"name": "click", "label": "clicked"}],
        }
    )


def _field(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return _categorical(name) | _multivalued(name) | _numeric(name)


def _vocabulary(name: str, **more: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    hashed = {"min_count": 1, "max_size": None, "oov_buckets": 1}
    return st.fixed_dictionaries(
        {
            "name": st.just(name),
            "dtype": st.sampled_from(["string", "integer"]),
            "min_count": st.sampled_from([1, 1, 2]),
            "max_size": st.sampled_from([None, None, 1, 3]),
            "oov_buckets": st.sampled_from([1, 1, 2, 100]),
            "hash_buckets": st.sampled_from([None, None, None, 2, 50]),
            **more,
        }
    ).map(lambda field: field | hashed if field["hash_buckets"] else field)


def _categorical(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return _vocabulary(
        name,
        kind=st.just("categorical"),
        missing=st.sampled_from(["own_id", "oov", "reject"]),
    )


def _multivalued(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return _vocabulary(
        name,
        kind=st.just("multivalued"),
        max_values=st.sampled_from([1, 2, 5]),
        weights_column=st.sampled_from([None, "w"]),
    )


@st.composite
def _numeric(draw: st.DrawFn, name: str) -> dict[str, Any]:
    transform = draw(st.sampled_from(["standardize", "log", "quantile"]))
    missing = draw(st.sampled_from([None, "reject", "fill"]))
    return {
        "name": name,
        "kind": "numeric",
        "transform": transform,
        "buckets": draw(st.sampled_from([2, 3, 10])),
        "missing": missing,
        "fill_value": draw(_number) if missing == "fill" else None,
    }


@st.composite
def rows_of(draw: st.DrawFn, schema: Schema, min_size: int = 0, max_size: int = 12) -> list[Row]:
    """Return rows of Python values; None, also in a list, is a missing one."""
    row: dict[str, st.SearchStrategy] = {}
    for field in schema.fields:
        if field.kind == "numeric":
            row[field.name] = st.none() | _number
            continue
        value = st.none() | (_text if field.dtype == "string" else _int)
        row[field.name] = value if field.kind == "categorical" else st.lists(value, max_size=7)
    row["click"] = st.sampled_from([None, 0.0, 1.0])
    rows = draw(st.lists(st.fixed_dictionaries(row), min_size=min_size, max_size=max_size))
    for row in rows:
        for field in schema.fields:
            if getattr(field, "weights_column", None):
                count = len(row[field.name])
                row[f"{field.name}__weights"] = draw(
                    st.lists(_number | st.just(math.nan), min_size=count, max_size=count)
                )
    return rows


def clean_batch(schema: Schema, rows: list[Row]) -> pa.RecordBatch:
    """Return the rows as the job's validation passes them on."""
    columns = {}
    for field in schema.fields:
        columns[field.name] = pa.array([row[field.name] for row in rows], _arrow_type(field))
        if getattr(field, "weights_column", None):
            name = f"{field.name}__weights"
            columns[name] = pa.array([row[name] for row in rows], pa.list_(pa.float32()))
    labels = [row.get("click") for row in rows]
    columns["label/click"] = pa.array(labels, pa.float32())
    columns["weight/click"] = pa.array([1.0] * len(rows), pa.float32())
    return pa.record_batch(columns)


def _arrow_type(field: Field) -> pa.DataType:
    if field.kind == "numeric":
        return pa.float32()
    value = pa.string() if field.dtype == "string" else pa.int64()
    return pa.list_(value) if field.kind == "multivalued" else value


def schema_of(*fields: dict[str, Any], **more: Any) -> Schema:
    """Return a schema of these fields."""
    tasks = [{"name": "click", "label": "clicked"}]
    return Schema.model_validate({"name": "case", "fields": list(fields), "tasks": tasks, **more})


def batch_of(schema: Schema, **columns: list) -> pa.RecordBatch:
    """Return these columns as a clean batch."""
    count = len(next(iter(columns.values())))
    rows = [{name: values[i] for name, values in columns.items()} for i in range(count)]
    return clean_batch(schema, rows)


def raw_inputs(schema: Schema, rows: list[Row]) -> dict[str, np.ndarray]:
    """Return the rows as a client sends them, padded, with values that mean missing."""
    raw = {}
    for field in schema.fields:
        values = [row[field.name] for row in rows]
        if field.kind == "numeric":
            raw[field.name] = np.array([math.nan if v is None else v for v in values], np.float32)
        elif field.kind == "categorical":
            raw[field.name] = _plain(field, values)
        else:
            width = max(map(len, values), default=0)
            padded = [v + [None] * (width - len(v)) for v in values]
            flat = [value for bag in padded for value in bag]
            raw[field.name] = _plain(field, flat).reshape(len(rows), width)
            if field.weights_column:
                name = f"{field.name}__weights"
                weights = [row[name] + [0.0] * (width - len(row[name])) for row in rows]
                raw[name] = np.array(weights, np.float32).reshape(len(rows), width)
    return raw


def _plain(field: Field, values: list[Any]) -> np.ndarray:
    if field.dtype == "integer":
        return np.array([MISSING_INT if v is None else v for v in values], np.int64)
    return np.array([b"" if v is None else v.encode() for v in values], object)

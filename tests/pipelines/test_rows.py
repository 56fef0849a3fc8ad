"""Validated rows: the clean value of each cell, and the reason of a rejection."""

import numpy as np
import pyarrow as pa
import pytest

from mtl_tf.errors import DataError
from mtl_tf.schema import Schema
from pipelines.sources import RawBatch
from pipelines.validate.rows import RowValidator

FIELDS = [
    {"name": "color", "kind": "categorical"},
    {"name": "code", "kind": "categorical", "dtype": "integer", "missing": "reject"},
    {"name": "price", "kind": "numeric", "column": "the price"},
    {"name": "age", "kind": "numeric", "missing": "reject"},
    {"name": "tags", "kind": "multivalued"},
    {"name": "ids", "kind": "multivalued", "dtype": "integer", "weights_column": "idw"},
]


TASKS = [
    {"name": "click", "label": {"column": "clicked", "equals": ["yes", 1]}},
    {"name": "buy", "label": "bought", "weight_column": "w", "mask_column": "m"},
    {"name": "long", "label": {"column": "minutes", "above": 2}},
    {"name": "watch", "label": "minutes", "kind": "regression"},
]


def schema_of(fields=FIELDS, tasks=TASKS, **more):
    return Schema.model_validate(
        {"name": "t", "fields": fields, "tasks": tasks, "missing_values": ["?"], **more}
    )


GOOD = {
    "color": "red", "code": "7", "the price": "1.5", "age": "30", "tags": "a|b", "ids": "1|2",
    "idw": "0.5|1", "clicked": "yes", "bought": "1", "w": "2", "m": "1", "minutes": "3",
}  # fmt: skip


def raw(rows):
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in GOOD}
    lines = np.arange(2, len(rows) + 2)
    return RawBatch(columns, len(rows), lines, text=lambda i: f"row {i}")


def test_a_good_row():
    validated = RowValidator(schema_of())(raw([GOOD]))
    assert validated.rejected == []
    assert validated.clean.to_pylist() == [
        {
            "color": "red", "code": 7, "price": 1.5, "age": 30.0, "tags": ["a", "b"],
            "ids": [1, 2], "ids__weights": [0.5, 1.0],
            "label/click": 1.0, "weight/click": 1.0, "label/buy": 1.0, "weight/buy": 2.0,
            "label/long": 1.0, "weight/long": 1.0, "label/watch": 3.0, "weight/watch": 1.0,
        }
    ]  # fmt: skip
    types = {field.name: field.type for field in validated.clean.schema}
    assert types["code"] == pa.int64()
    assert types["price"] == types["label/click"] == types["weight/buy"] == pa.float32()
    assert types["tags"] == pa.list_(pa.string())
    assert types["ids"] == pa.list_(pa.int64())
    assert types["ids__weights"] == pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("cell", "clean"),
    [
        ({"color": ""}, {"color": None}),
        ({"color": "?"}, {"color": None}),
        ({"the price": "?"}, {"price": None}),
        ({"code": "7.0"}, {"code": 7}),
        ({"code": " -7"}, {"code": -7}),
        ({"tags": ""}, {"tags": None}),
        ({"tags": "a||?|b"}, {"tags": ["a", None, None, "b"]}),
        ({"ids": "", "idw": ""}, {"ids": None, "ids__weights": None}),
        ({"ids": "1||3", "idw": "1||2"}, {"ids": [1, None, 3], "ids__weights": [1.0, None, 2.0]}),
        ({"clicked": "no"}, {"label/click": 0.0}),
        ({"clicked": "1"}, {"label/click": 1.0}),
        ({"clicked": "?"}, {"label/click": None, "weight/click": 0.0}),
        ({"bought": ""}, {"label/buy": None, "weight/buy": 0.0}),
        ({"bought": "0.0"}, {"label/buy": 0.0, "weight/buy": 2.0}),
        ({"w": ""}, {"label/buy": None, "weight/buy": 0.0}),
        ({"w": "0"}, {"label/buy": None, "weight/buy": 0.0}),
        ({"m": "0"}, {"label/buy": None, "weight/buy": 0.0}),
        ({"m": ""}, {"label/buy": None, "weight/buy": 0.0}),
        ({"minutes": "2"}, {"label/long": 0.0, "label/watch": 2.0}),
        ({"minutes": ""}, {"label/long": None, "label/watch": None}),
    ],
)
def test_clean_values(cell, clean):
    validated = RowValidator(schema_of())(raw([GOOD | cell]))
    assert validated.rejected == []
    (row,) = validated.clean.to_pylist()
    assert {name: row[name] for name in clean} == clean


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({"code": ""}, "column 'code': missing"),
        ({"code": "x"}, "column 'code': not an integer"),
        ({"code": str(-(2**63))}, "column 'code': not an integer"),
        ({"age": ""}, "column 'age': missing"),
        ({"age": "old"}, "column 'age': not a number"),
        ({"the price": "inf"}, "column 'the price': not a number"),
        ({"the price": "1e39"}, "column 'the price': not a number"),
        ({"ids": "1|x"}, "column 'ids': not an integer"),
        ({"idw": "1"}, "column 'idw': not one weight per value of 'ids'"),
        ({"idw": ""}, "column 'idw': not one weight per value of 'ids'"),
        ({"ids": ""}, "column 'idw': not one weight per value of 'ids'"),
        ({"idw": "1|x"}, "column 'idw': not a number"),
        ({"idw": "1|-1"}, "column 'idw': a weight is negative"),
        ({"idw": "1|"}, "column 'idw': missing"),
        ({"bought": "2"}, "label 'bought' of task `buy`: expected 0 or 1"),
        ({"bought": "yes"}, "label 'bought' of task `buy`: not a number"),
        ({"minutes": "long"}, "label 'minutes' of task `long`: not a number"),
        ({"w": "-1"}, "column 'w': a weight is negative"),
        ({"w": "x"}, "column 'w': not a number"),
        ({"m": "2"}, "column 'm': a mask must be 0 or 1"),
        ({"m": "x"}, "column 'm': a mask must be 0 or 1"),
    ],
)
def test_rows_are_rejected(cell, reason):
    uneven = GOOD | {"ids": "5", "idw": ""}  # a fault elsewhere must not hide this one
    validated = RowValidator(schema_of())(raw([GOOD, GOOD | cell, GOOD, uneven]))
    assert validated.clean.num_rows == 2
    assert validated.kept.tolist() == [0, 2]
    found = validated.rejected[0]
    assert (found.line, found.reason, found.row) == (3, reason, "row 1")
    if list(cell.values()) != [""]:
        assert found.value in cell.values() or found.value == GOOD.get(reason.split("'")[1])
    assert validated.rejected[1].line == 5


@pytest.mark.parametrize(
    ("limit", "column"),
    [
        (20_000_000, pa.array([20_000_000, 20_000_001, None])),  # float32 holds no odd ones there
        (20_000_000, pa.array(["20000000", "20000001", "?"])),
        (0.1, pa.array([0.1, 0.2, None], pa.float32())),  # which holds 0.100000001
        (0.1, pa.array([0.1, 0.1000000001, None])),
        (0.1, pa.array(["0.1", "0.1000000001", ""])),
    ],
)
def test_above_a_limit_is_exact(limit, column):
    tasks = [{"name": "long", "label": {"column": "minutes", "above": limit}}]
    batch = raw([GOOD] * 3)
    batch.columns["minutes"] = column
    validated = RowValidator(schema_of(tasks=tasks))(batch)
    assert validated.clean["label/long"].to_pylist() == [0, 1, None]


@pytest.mark.parametrize("cells", [pa.array([1.0, 0.0, None]), pa.array(["1", "0", None])])
def test_a_whole_number_equals_in_any_spelling_of_its_column(cells):
    tasks = [{"name": "click", "label": {"column": "clicked", "equals": 1.0}}]
    batch = raw([GOOD] * 3)
    batch.columns["clicked"] = cells
    validated = RowValidator(schema_of(tasks=tasks))(batch)
    assert validated.clean["label/click"].to_pylist() == [1, 0, None]


def test_the_first_fault_is_the_reason():
    validated = RowValidator(schema_of())(raw([GOOD | {"code": "x", "age": "y", "bought": "z"}]))
    assert [row.reason for row in validated.rejected] == ["column 'code': not an integer"]
    assert validated.rejected[0].value == "x"


def test_typed_columns_equal_columns_of_text():
    """Columns of Parquet and JSON types, against the same cells as text."""
    typed = {
        "color": pa.array(["red", None]), "code": pa.array([7.0, 8.0]),
        "the price": pa.array([1.5, float("nan")]), "age": pa.array([30, 31], pa.int8()),
        "tags": pa.array([["a", "b"], None]), "ids": pa.array([[1, 2], []]),
        "idw": pa.array([[0.5, 1.0], []]), "clicked": pa.array([1, 0]),
        "bought": pa.array([True, False]), "w": pa.array([2, 2]), "m": pa.array([True, True]),
        "minutes": pa.array([3.0, None]),
    }  # fmt: skip
    batch = RawBatch(typed, 2, np.array([1, 2]), text=str)
    validated = RowValidator(schema_of())(batch)
    texts = raw([GOOD, GOOD | {"color": "", "code": "8", "the price": "", "age": "31", "tags": "",
                               "ids": "", "idw": "", "clicked": "0", "bought": "0",
                               "minutes": ""}])  # fmt: skip
    expected = RowValidator(schema_of())(texts).clean.to_pylist()
    expected[1] |= {"ids": [], "ids__weights": []}  # an empty list is not a missing one
    assert validated.clean.to_pylist() == expected


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("color", pa.array([["a"]]), "column 'color': holds lists; declare"),
        ("the price", pa.array([["1"]]), "column 'the price': cells of type list"),
        ("age", pa.array([0], pa.timestamp("s")), "column 'age': cells of type timestamp"),
        ("color", pa.array([{"a": 1}]), "column 'color': cells of type struct"),
    ],
)
def test_types_that_never_fit(name, column, says):
    batch = raw([GOOD])
    batch.columns[name] = column
    with pytest.raises(DataError) as caught:
        RowValidator(schema_of())(batch)
    assert says in str(caught.value)


def test_booleans_as_label_texts():
    tasks = [{"name": "y", "label": {"column": "clicked", "equals": True}}]
    batch = raw([GOOD] * 3)
    batch.columns["clicked"] = pa.array([True, False, None])
    clean = RowValidator(schema_of(tasks=tasks))(batch).clean
    assert clean["label/y"].to_pylist() == [1.0, 0.0, None]

"""Rows are converted to the tensors of a signature; values that do not fit are named."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mtl_tf.errors import UserError
from mtl_tf.schema import Schema
from mtl_tf.transform import MISSING_INT
from pipelines.sources import RawBatch
from pipelines.validate.rows import RowValidator
from serving.client import rows
from serving.client.encoder import RowEncoder
from serving.protocol.protos import meta_graph_pb2

SCHEMA = Schema.from_json(
    {
        "name": "shop",
        "missing_values": ["?"],
        "fields": [
            {"name": "country", "kind": "categorical", "column": "Country of user"},
            {"name": "shop_id", "kind": "categorical", "dtype": "integer", "column": "shop"},
            {"name": "price", "kind": "numeric"},
            {"name": "tags", "kind": "multivalued", "weights_column": "tag weights"},
            {"name": "seen", "kind": "multivalued", "dtype": "integer", "separator": " "},
        ],
        "tasks": [{"name": "click", "label": "clicked"}],
    }
)
RAW = {
    "country": (tf.string, [None]),
    "shop_id": (tf.int64, [None]),
    "price": (tf.float32, [None]),
    "tags": (tf.string, [None, None]),
    "tags__weights": (tf.float32, [None, None]),
    "seen": (tf.int64, [None, None]),
}
IDS = {
    "country": (tf.int32, [None]),
    "price": (tf.float32, [None]),
    "tags": (tf.int32, [None, 2]),
    "tags__weights": (tf.float32, [None, 2]),
}


def signature(inputs):
    result = meta_graph_pb2.SignatureDef()
    for name, (dtype, shape) in inputs.items():
        result.inputs[name].dtype = dtype.as_datatype_enum
        result.inputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return result


SIGNATURES = {
    "serving_default": signature(RAW),
    "ids": signature(IDS),
    "examples": signature({"examples": (tf.string, [None])}),
}


def arrays(data, name="serving_default", schema=SCHEMA):
    return RowEncoder(SIGNATURES, name, schema).arrays(data)


FULL = {
    "Country of user": "CH",
    "shop": 7,
    "price": 1.5,
    "tags": ["a", "b"],
    "tag weights": [1, 0.5],
    "seen": [3],
}


def check_full(result):
    assert result["country"].tolist() == [b"CH"]
    assert result["shop_id"].tolist() == [7] and result["shop_id"].dtype == np.int64
    assert result["price"].tolist() == [1.5] and result["price"].dtype == np.float32
    assert result["tags"].tolist() == [[b"a", b"b"]]
    assert result["tags__weights"].tolist() == [[1.0, 0.5]]
    assert result["seen"].tolist() == [[3]]


@pytest.mark.parametrize(
    "row",
    [
        FULL,
        {
            "country": "CH", "shop_id": 7, "price": 1.5,
            "tags": ["a", "b"], "tags__weights": [1, 0.5], "seen": [3],
        },
        {
            "Country of user": "CH", "shop": "7", "price": " 1.5e0",
            "tags": "a|b", "tag weights": "1|.5", "seen": "3",
        },
        {**FULL, "shop": 7.0, "price": np.float64(1.5), "tags": np.array(["a", "b"])},
    ],
)  # fmt: skip
def test_by_column_by_field_and_from_text(row):
    check_full(arrays([row]))
    check_full(arrays({name: [value] for name, value in row.items()}))


@pytest.mark.parametrize("missing", [None, "", "?", float("nan")])
def test_missing_values(missing):
    names = ["Country of user", "shop", "price", "tags", "tag weights", "seen"]
    result = arrays([dict.fromkeys(names, missing), FULL])
    assert result["country"].tolist() == [b"", b"CH"] or missing == "?"
    assert result["shop_id"].tolist() == [MISSING_INT, 7]
    assert np.isnan(result["price"][0]) and result["price"][1] == 1.5
    assert result["tags"].tolist() == [[b"", b""], [b"a", b"b"]]
    assert result["tags__weights"].tolist() == [[0, 0], [1, 0.5]]
    assert result["seen"].tolist() == [[MISSING_INT], [3]]
    for name, array in arrays([{}]).items():
        np.testing.assert_array_equal(array, result[name][:1, :1] if array.ndim > 1 else array)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, b"7"),
        (7.0, b"7"),
        (12345678901.0, b"12345678901"),
        (0.5, b"0.5"),
        (True, b"true"),
        (np.int32(7), b"7"),
        (b"x", b"x"),
    ],
)
def test_numbers_as_text_are_read_as_by_the_job(value, text):
    assert arrays([{"country": value}])["country"].tolist() == [text]
    assert arrays([{"tags": value, "tag weights": 1}])["tags"].tolist() == [[text]]


def test_multivalued_rows_are_padded_to_the_longest():
    result = arrays([{"seen": [1, 2, 3]}, {"seen": []}, {"seen": [4, None]}])
    assert result["seen"].tolist() == [
        [1, 2, 3],
        [MISSING_INT] * 3,
        [4, MISSING_INT, MISSING_INT],
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"price": "abc"}, "rows[1], `price`: expected a finite number. Received: 'abc'"),
        ({"price": "inf"}, "rows[1], `price`: expected a finite number. Received: 'inf'"),
        ({"price": float("inf")}, "rows[1], `price`: expected a finite number. Received: inf"),
        ({"price": 1e300}, "rows[1], `price`: expected a finite number. Received: 1e+300"),
        ({"shop": 1.5}, "rows[1], `shop_id`: expected a whole number. Received: 1.5"),
        ({"shop": 2**63}, "rows[1], `shop_id`: expected a whole number. Received: 92233"),
        ({"shop": "7x"}, "rows[1], `shop_id`: expected a whole number. Received: '7x'"),
        ({"country": "\ud800"}, "rows[1], `country`: expected text. Received: '\\ud800'"),
        ({"country": ["CH"]}, "rows[1], `country`: expected text. Received: ['CH']"),
        ({"tags": {"a": 1}}, "rows[1], `tags`: expected a list of values. Received: {'a': 1}"),
        (
            {"tags": ["a", "b"], "tag weights": [1]},
            "rows[1], `tags__weights`: expected one weight per value of `tags`, 2 here. "
            "Received: [1]",
        ),
        ({"tags": "a"}, "rows[1], `tags__weights`: expected one weight per value of `tags`, 1"),
        ({"seen": [1, "x"]}, "rows[1], `seen`: expected a whole number. Received: [1, 'x']"),
        ({"seen": [*range(99), "x"]}, "rows[1], `seen`: expected a whole number. Received: [0, 1"),
        ({"tags": b"\xff|a"}, "rows[1], `tags`: expected UTF-8 text. Received: b'\\xff|a'"),
        ({"seen": np.array(7j)}, "rows[1], `seen`: expected a list of values. Received: array("),
        (
            {"tags": ["a", "b"], "tag weights": [1, -0.5]},
            "rows[1], `tags__weights`: expected no negative weight. Received: [1, -0.5]",
        ),
        (
            {"tags": "a|b", "tag weights": "|1"},
            "rows[1], `tags__weights`: expected no missing weight. Received: '|1'",
        ),
    ],
)
def test_values_that_do_not_fit(row, message):
    with pytest.raises(UserError) as caught:
        arrays([FULL, row])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("tags", "weights"),
    [
        ("a|b", "1|0"),
        ("a|b", "1|-1"),
        ("a|b", "1|"),
        ("a|b", "1|?"),
        ("a|?", "1|?"),
        ("a|?", "1|"),
        ("a|", "|1"),
        ("a|", "1|-2"),
        ("a|b", "1"),
        ("?", "1"),
        ("?", "?"),
        ("?", "-1"),
        ("|".join(["a"] * 20), "|".join(["1"] * 20)),
        ("|".join(["a"] * 20), "|".join([*["1"] * 19, "-1"])),
    ],
)
def test_weights_are_refused_where_the_job_rejects_the_row(tags, weights):
    cells = {
        "Country of user": "", "shop": "", "price": "", "seen": "",
        "tags": tags, "tag weights": weights, "clicked": "1",
    }  # fmt: skip
    columns = {name: pa.array([cell]) for name, cell in cells.items()}
    rejected = RowValidator(SCHEMA)(RawBatch(columns, 1, np.array([2]), text=str)).rejected
    if not rejected:
        arrays([cells])
        return
    with pytest.raises(UserError, match=r"rows\[0\], `tags__weights`: expected"):
        arrays([cells])


def test_a_long_row_does_not_widen_the_others():
    count = 100_000  # values, of which the model reads 16 according to the schema
    result = arrays([{"tags": ["a"] * count, "tag weights": [1] * count}, {}])
    assert result["tags"].shape == result["tags__weights"].shape == (2, 16)
    assert set(result["tags"][0].tolist()) == {b"a"}
    assert result["tags__weights"].sum() == 16


def test_text_of_several_values_needs_the_separator():
    with pytest.raises(UserError, match="give the schema, which knows the separator"):
        arrays([{"tags": "a|b"}], schema=None)


def test_unequal_columns():
    with pytest.raises(UserError, match="columns must be equally long"):
        rows.num_rows({"a": [1], "b": [1, 2]})


def test_ids():
    row = {"country": 3, "price": -0.5, "tags": [4], "tags__weights": [2.0]}
    result = arrays([row], "ids")
    assert result["country"].dtype == np.int32
    assert result["tags"].tolist() == [[4, -1]]
    assert result["tags__weights"].tolist() == [[2.0, 0.0]]
    with pytest.raises(UserError, match=r"`country`: expected a whole number\. Received: None"):
        arrays([{**row, "country": None}], "ids")
    with pytest.raises(UserError, match="`price`: expected a finite number"):
        arrays([{**row, "price": float("nan")}], "ids")


def test_examples_have_the_raw_values_that_are_present():
    first, second = arrays([FULL, {"price": 2.0}], "examples")["examples"]
    features = tf.train.Example.FromString(first).features.feature
    assert features["country"].bytes_list.value == [b"CH"]
    assert features["shop_id"].int64_list.value == [7]
    assert features["tags"].bytes_list.value == [b"a", b"b"]
    assert features["tags__weights"].float_list.value == [1.0, 0.5]
    assert set(tf.train.Example.FromString(second).features.feature) == {"price"}


def test_no_rows_are_no_examples():
    """Even of a multivalued field, whose width is unknown without rows."""
    no_rows = {"price": np.empty(0, np.float32), "tags": np.empty((0, 2), object)}
    assert rows.to_examples(no_rows, 0).shape == (0,)


def test_unused_and_missing_columns_are_named():
    unused = "model `m` does not use these columns, ignoring them: "
    encoder = RowEncoder(SIGNATURES, "ids", SCHEMA)  # has no shop_id and no seen
    names = {"Country of user", "price", "tags", "tag weights", "shop", "clicked"}
    assert encoder.input_warnings("m", names) == [f"{unused}shop"]
    assert encoder.input_warnings("m", {"price", "country", "tags"}) == [
        "model `m`: these inputs are missing from every row: tags__weights"
    ]
    with pytest.raises(UserError, match=r"all of the model's inputs \(.*\) are missing from every"):
        encoder.input_warnings("m", {"colour"})
    without_schema = RowEncoder(SIGNATURES, "ids")
    assert without_schema.input_warnings("m", {*IDS, None, 7}) == [f"{unused}7, None"]
    assert without_schema.input_warnings("m", {*IDS, "shop", "x"}) == [f"{unused}shop, x"]


@pytest.mark.parametrize(
    "given",
    [
        {"country": "CH", "price": 2.5},  # a single row; its text is not a column of letters
        {"country": "CH"},
        {"price": 2.5},
        {"price": {1, 2}},
        {"price": {1: 2.5}},
        {"price": np.array(2.5)},
        [1, 2],
        "CH",
        7,
        None,
        (row for row in [{"price": 2.5}]),
    ],
)
def test_neither_rows_nor_columns(given):
    with pytest.raises(UserError, match="rows must be a list of dicts"):
        rows.num_rows(given)

"""Checking cells, rows and splits, against plain Python that looks at one row at a time."""

import math
import re

import farmhash
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.errors import DataError, UserError
from mtl_tf.schema import SPLITS, Schema
from pipelines import cells, split
from pipelines.check import Check
from pipelines.sources import RawBatch

FLOAT32_MAX = float(np.finfo(np.float32).max)


def number(text, missing=()):
    """None is missing, `bad` unreadable: the rule, spelled out for one cell."""
    if text is None or text == "" or text in missing:
        return None
    if not re.fullmatch(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*", text):
        return "bad"
    value = float(text)
    if abs(value) > FLOAT32_MAX:
        return "bad"
    return None if any(value == float(item) for item in missing) else np.float32(value)


number_texts = st.one_of(
    st.none(),
    st.floats(width=32).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.text("0123456789+-.eExX nainf_", max_size=6),
    st.sampled_from(["", "-999", "-999.0", "1e999", "1e39", " 7", "٣", "0x1f", "1,000"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(number_texts, max_size=20))
def test_numbers(texts):
    values, bad = cells.numbers(pa.array(texts, pa.string()), ["-999"])
    expected = [number(text, ["-999"]) for text in texts]
    assert bad.tolist() == [isinstance(want, str) for want in expected]
    for value, want in zip(values.tolist(), expected, strict=True):
        assert math.isnan(value) if want is None or isinstance(want, str) else value == want


@settings(max_examples=100, deadline=None)
@given(st.lists(number_texts, max_size=20))
def test_integers(texts):
    values, missing, bad = cells.integers(pa.array(texts, pa.string()), ["-999"])
    for i, text in enumerate(texts):
        if text is None or text in ("", "-999"):
            assert missing[i] and not bad[i]
            continue
        match = re.fullmatch(r"[ \t]*([+-]?[0-9]+)(\.0*)?[ \t]*", text, re.ASCII)
        if not match or not -(2**63) < int(match[1]) < 2**63:
            assert bad[i] and not missing[i]
        else:
            assert not bad[i]
            assert missing[i] == (int(match[1]) == -999)
            assert missing[i] or values[i] == int(match[1])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1, 2, None]), [1, 2, None]),
        (pa.array([1.5, float("nan"), None]), [1.5, None, None]),
        (pa.array([True, False, None]), [1, 0, None]),
        (pa.array([None, None]), [None, None]),
        (pa.array(["1", None, "?"]).dictionary_encode(), [1, None, None]),
        (pa.array(["1", "2"], pa.large_string()), [1, 2]),
    ],
)
def test_numbers_of_the_files_own_types(column, values):
    found, bad = cells.numbers(column, ["?"])
    assert not bad.any()
    assert [None if math.isnan(x) else x for x in found.tolist()] == values


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([1, None]), ["1", None]),
        (pa.array([True]), ["true"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([[1, 2], None, [], [None]]), ["1\n2", None, "", ""]),
        (pa.array([["a"], ["b", "c"]]).slice(1), ["b\nc"]),
        (pa.array([["a"], ["b"]], pa.large_list(pa.string())), ["a", "b"]),
    ],
)
def test_as_text(column, texts):
    assert cells.as_text(column).to_pylist() == texts


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
    checked = Check(schema_of())(raw([GOOD]))
    assert checked.rejected == []
    assert checked.clean.to_pylist() == [
        {
            "color": "red", "code": 7, "price": 1.5, "age": 30.0, "tags": ["a", "b"],
            "ids": [1, 2], "ids__weights": [0.5, 1.0],
            "label/click": 1.0, "weight/click": 1.0, "label/buy": 1.0, "weight/buy": 2.0,
            "label/long": 1.0, "weight/long": 1.0, "label/watch": 3.0, "weight/watch": 1.0,
        }
    ]  # fmt: skip
    types = {field.name: field.type for field in checked.clean.schema}
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
def test_cells_become(cell, clean):
    checked = Check(schema_of())(raw([GOOD | cell]))
    assert checked.rejected == []
    (row,) = checked.clean.to_pylist()
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
    checked = Check(schema_of())(raw([GOOD, GOOD | cell, GOOD, uneven]))
    assert checked.clean.num_rows == 2
    assert checked.kept.tolist() == [0, 2]
    found = checked.rejected[0]
    assert (found.line, found.reason, found.row) == (3, reason, "row 1")
    if list(cell.values()) != [""]:
        assert found.value in cell.values() or found.value == GOOD.get(reason.split("'")[1])
    assert checked.rejected[1].line == 5


def test_the_first_fault_is_the_reason():
    checked = Check(schema_of())(raw([GOOD | {"code": "x", "age": "y", "bought": "z"}]))
    assert [row.reason for row in checked.rejected] == ["column 'code': not an integer"]
    assert checked.rejected[0].value == "x"


def test_typed_columns_give_the_same():
    """What Parquet and JSON hold, against the same cells as text."""
    typed = {
        "color": pa.array(["red", None]), "code": pa.array([7.0, 8.0]),
        "the price": pa.array([1.5, float("nan")]), "age": pa.array([30, 31], pa.int8()),
        "tags": pa.array([["a", "b"], None]), "ids": pa.array([[1, 2], []]),
        "idw": pa.array([[0.5, 1.0], []]), "clicked": pa.array([1, 0]),
        "bought": pa.array([True, False]), "w": pa.array([2, 2]), "m": pa.array([True, True]),
        "minutes": pa.array([3.0, None]),
    }  # fmt: skip
    batch = RawBatch(typed, 2, np.array([1, 2]), text=str)
    checked = Check(schema_of())(batch)
    texts = raw([GOOD, GOOD | {"color": "", "code": "8", "the price": "", "age": "31", "tags": "",
                               "ids": "", "idw": "", "clicked": "0", "bought": "0",
                               "minutes": ""}])  # fmt: skip
    expected = Check(schema_of())(texts).clean.to_pylist()
    expected[1] |= {"ids": [], "ids__weights": []}  # an empty list is not a missing one
    assert checked.clean.to_pylist() == expected


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
        Check(schema_of())(batch)
    assert says in str(caught.value)


def test_booleans_as_label_texts():
    tasks = [{"name": "y", "label": {"column": "clicked", "equals": True}}]
    batch = raw([GOOD] * 3)
    batch.columns["clicked"] = pa.array([True, False, None])
    clean = Check(schema_of(tasks=tasks))(batch).clean
    assert clean["label/y"].to_pylist() == [1.0, 0.0, None]


def test_hash_is_that_of_the_cells_alone():
    columns = {"a": pa.array(["x", None, "x"]), "b": pa.array([1, 2, 1]), "c": pa.array("123")}
    columns["c"] = pa.array(["p", "q", "r"])
    found = split.row_hashes(columns, ["a", "b"])
    expected = [farmhash.Fingerprint64(text) for text in ("x\x1f1", "\x1f2", "x\x1f1")]
    assert found.tolist() == expected
    chunk = {name: column.slice(2) for name, column in columns.items()}
    assert split.row_hashes(chunk, ["a", "b"]).tolist() == expected[2:]


def test_key_is_what_the_schema_reads_unless_named():
    assert split.key_columns(schema_of()) == schema_of().columns
    assert split.key_columns(schema_of(key=["user"])) == ("user",)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"train": 0.7, "eval": 0.1, "test": 0.2}),
        (["test"], {"train": 0.9, "eval": 0.1}),
        (["eval"], {"train": 0.8, "test": 0.2}),
        (["eval", "test"], {"train": 1.0}),
        (["train"], {"eval": 1 / 3, "test": 2 / 3}),
        (["train", "test"], {"eval": 1.0}),
    ],
)
def test_shares(given, expected):
    part = split.shares(schema_of(split={"eval": 0.1, "test": 0.2}), given)
    assert part == pytest.approx(expected)
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    place = split.assign(hashes, part)
    for name, share in part.items():
        assert np.mean(place == SPLITS.index(name)) == pytest.approx(share, abs=0.01)


def test_plain_inputs_need_a_split_to_go_to():
    with pytest.raises(UserError, match="train=FILE"):
        split.shares(schema_of(), ["train", "eval", "test"])


def test_eval_rows_stay_when_test_gets_a_file():
    hashes = np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)
    schema = schema_of(split={"eval": 0.1, "test": 0.2})
    both, one = (split.assign(hashes, split.shares(schema, given)) for given in ([], ["test"]))
    assert ((both == 1) == (one == 1)).all()


@given(st.integers(0, 500), st.integers(0, 10**6))
def test_scattered_is_a_permutation(rows, seed):
    order = split.scattered(rows, seed)
    assert sorted(order.tolist()) == list(range(rows))
    assert (order == split.scattered(rows, seed)).all()


def test_scattered_depends_on_the_seed_and_mixes():
    a, b = split.scattered(10_000, 1), split.scattered(10_000, 2)
    assert (a != b).mean() > 0.99
    assert abs(np.corrcoef(a, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05

"""The split of a row, and the order in which training rows are written."""

import farmhash
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_tf.errors import UserError
from mtl_tf.schema import SPLITS, Schema
from pipelines import split


def schema_of(**more):
    fields = [{"name": "color", "kind": "categorical"}, {"name": "price", "kind": "numeric"}]
    tasks = [{"name": "click", "label": "clicked"}]
    return Schema.model_validate({"name": "t", "fields": fields, "tasks": tasks, **more})


def test_the_hash_depends_only_on_the_cells():
    columns = {"a": pa.array(["x", None, "x"]), "b": pa.array([1, 2, 1]), "c": pa.array("123")}
    columns["c"] = pa.array(["p", "q", "r"])
    found = split.row_hashes(columns, ["a", "b"])
    expected = [farmhash.Fingerprint64(text) for text in ("x\x1f1", "\x1f2", "x\x1f1")]
    assert found.tolist() == expected
    part = {name: column.slice(2) for name, column in columns.items()}
    assert split.row_hashes(part, ["a", "b"]).tolist() == expected[2:]


def test_the_key_is_all_that_the_schema_reads_by_default():
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


def test_plain_inputs_need_a_split():
    with pytest.raises(UserError, match="train=FILE"):
        split.shares(schema_of(), ["train", "eval", "test"])


def test_eval_rows_do_not_change_when_test_gets_a_file():
    hashes = np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)
    schema = schema_of(split={"eval": 0.1, "test": 0.2})
    both, one = (split.assign(hashes, split.shares(schema, given)) for given in ([], ["test"]))
    assert ((both == 1) == (one == 1)).all()


@given(st.integers(0, 500), st.integers(0, 10**6))
def test_a_shuffled_order_is_a_permutation(rows, seed):
    order = split.shuffled_order(rows, seed)
    assert sorted(order.tolist()) == list(range(rows))
    assert (order == split.shuffled_order(rows, seed)).all()


def test_a_shuffled_order_depends_on_the_seed_and_mixes():
    a, b = split.shuffled_order(10_000, 1), split.shuffled_order(10_000, 2)
    assert (a != b).mean() > 0.99
    assert abs(np.corrcoef(a, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05

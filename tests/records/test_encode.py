"""Encoded records against TensorFlow's own tf.train.Example and TFRecordWriter."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from mtl_tf.records import encode_blocks, encode_rows, frame
from tests.support.record_data import columns_of

IDS = st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**31 - 1]) | st.integers(0, 2**31 - 1)
FLOATS = st.floats(width=32, allow_nan=False)


@st.composite
def any_columns(draw):
    rows = draw(st.integers(1, 9))
    ids = st.lists(IDS, min_size=rows, max_size=rows)
    bags = st.lists(
        st.lists(IDS | st.just(-1), min_size=3, max_size=3), min_size=rows, max_size=rows
    )
    numbers = st.lists(FLOATS, min_size=rows, max_size=rows)
    bag = np.array(draw(bags), np.int32)
    weights = np.where(bag < 0, 0, np.array(draw(numbers), np.float32)[:, None])
    return {
        "id": np.array(draw(ids), np.int32),
        "number": np.array(draw(numbers), np.float32),
        "bag": bag,
        "bag__weights": weights.astype(np.float32),
        "label/" + "t" * 80: np.array(draw(numbers), np.float32),
    }


def trimmed(bag: np.ndarray) -> list[int]:
    values = bag.tolist()
    while values and values[-1] == -1:
        values.pop()
    return values


def features_of(record: bytes) -> dict[str, list]:
    """Return the features that TensorFlow's protocol buffer reads, by name."""
    feature = tf.train.Example.FromString(record).features.feature
    return {
        name: list(value.int64_list.value) or list(value.float_list.value)
        for name, value in feature.items()
    }


@given(any_columns())
def test_rows_are_what_tensorflow_reads(columns):
    records = encode_rows(columns)
    assert len(records) == len(columns["id"])
    for i, record in enumerate(records):
        got = features_of(record)
        assert got["id"] == [columns["id"][i]]
        assert got["number"] == [columns["number"][i]]
        assert got["bag"] == trimmed(columns["bag"][i])
        assert got["bag__weights"] == columns["bag__weights"][i][: len(got["bag"])].tolist()
        assert got["label/" + "t" * 80] == [columns["label/" + "t" * 80][i]]


@given(any_columns(), st.integers(1, 10))
def test_blocks_are_what_tensorflow_reads(columns, block_rows):
    records = encode_blocks(columns, block_rows)
    starts = range(0, len(columns["id"]), block_rows)
    assert len(records) == len(starts)
    for start, record in zip(starts, records, strict=True):
        got, rows = features_of(record), slice(start, start + block_rows)
        bags = [trimmed(bag) for bag in columns["bag"][rows]]
        assert got["id"] == columns["id"][rows].tolist()
        assert got["number"] == columns["number"][rows].tolist()
        assert got["bag"] == [value for bag in bags for value in bag]
        assert got["bag/lengths"] == [len(bag) for bag in bags]
        weights = [
            w[: len(bag)] for w, bag in zip(columns["bag__weights"][rows], bags, strict=True)
        ]
        assert got["bag__weights"] == np.concatenate(weights).tolist()


@given(any_columns())
def test_a_block_is_the_shortest_encoding(columns):
    (record,) = encode_blocks({name: columns[name] for name in ("id", "number")}, 100)
    example = tf.train.Example.FromString(record)
    assert len(record) == len(example.SerializeToString())


def test_rows_do_not_depend_on_their_neighbors():
    columns = columns_of(9)
    parts = [encode_rows({k: v[s] for k, v in columns.items()}) for s in (slice(4), slice(4, 9))]
    assert encode_rows(columns) == [*parts[0], *parts[1]]


@given(st.lists(st.binary(max_size=50)))
def test_framing_equals_tensorflows(tmp_path_factory, records):
    path = str(tmp_path_factory.getbasetemp() / "reference.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    reference = Path(path).read_bytes()
    assert frame(records) == reference
    assert gzip.decompress(frame(records, compress=True)) == reference
    assert frame(records, compress=True) == frame(records, compress=True)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.zeros(2), "b": np.zeros(3)}, "columns of equal length"),
        ({"a": np.array([1, -1], np.int32)}, "Ids must not be negative. Received: -1 in `a`"),
    ],
)
def test_columns_that_cannot_be_encoded(columns, message):
    with pytest.raises(ValueError, match=message):
        encode_rows(columns)


def test_no_records_are_no_bytes():
    # TensorFlow takes an empty gzip member for the end of the file.
    assert frame([], compress=True) == b""

"""Packed rows are the rows of the files, shuffled by seed, in memory or read again."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.errors import DataError, UserError
from mtl_tf.records import load_info
from mtl_tf.records.packed import PackedRows, Packing
from mtl_tf.records.read import translate_read_errors
from tests.support.record_data import TRANSFORM, assert_same, columns_of, read, write

ROW = 4 * (1 + 1 + 3 + 2 + 2 + 1 + 2 * 2)  # bytes: a value of every field, of bags all, and tasks
LAYOUTS = pytest.mark.parametrize("layout", ["block", "row"])
HELD = pytest.mark.parametrize("memory", [1 << 20, 0], ids=["held", "read again"])


def packed(folder, memory=1 << 20):
    return PackedRows(load_info(folder), "train", memory)


def unpacked(rows, *arguments):
    """Return the rows of an epoch, as `columns_of` does."""
    return read(rows.batches(*arguments).map(rows.unpack))


@LAYOUTS
@HELD
@pytest.mark.parametrize("compress", [False, True])
def test_an_order_has_every_row_once(tmp_path, layout, memory, compress):
    columns = columns_of(120)
    rows = packed(write(tmp_path, columns, layout, compress, shards=3), memory)
    got = unpacked(rows, 8, 1)
    assert not np.array_equal(got["price"], np.sort(got["price"]))
    order = np.argsort(got["price"])
    assert_same({name: values[order] for name, values in got.items()}, columns)


@LAYOUTS
@HELD
def test_a_seed_is_an_order(tmp_path, layout, memory):
    folder = write(tmp_path, columns_of(200), layout, shards=4)
    first = packed(folder, memory)
    orders = [unpacked(first, 8, seed)["price"].tolist() for seed in (1, 2, 3)]
    assert len({tuple(order) for order in orders}) == 3
    again = packed(folder, memory)
    assert [unpacked(again, 8, seed)["price"].tolist() for seed in (3, 1)] == [orders[2], orders[0]]


@HELD
def test_batches_are_full_and_the_rest_is_omitted(tmp_path, memory):
    rows = packed(write(tmp_path, columns_of(23)), memory)
    batches = rows.batches(10, 0)
    assert int(batches.cardinality()) == 2
    shape = (10,) if memory else (10, ROW // 4)
    assert batches.element_spec == tf.TensorSpec(shape, tf.int32)
    left_out = {frozenset(range(23)) - set(unpacked(rows, 10, seed)["price"]) for seed in range(5)}
    assert all(len(rest) == 3 for rest in left_out) and len(left_out) > 1


@HELD
def test_an_empty_batch_is_refused(tmp_path, memory):
    with pytest.raises(UserError, match=r"`batch_size` must be positive. Received: batch_size=0"):
        packed(write(tmp_path, columns_of(5)), memory).batches(0, 0)


def test_rows_in_memory_are_shuffled_over_the_whole_split(tmp_path):
    """A row is equally likely at any place of the order, wherever it is in the files."""
    count = 4000
    order = unpacked(packed(write(tmp_path, columns_of(count), block_rows=50)), 100, 7)["price"]
    assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 5 / np.sqrt(count)


def test_a_step_on_a_gpu_gets_rows_not_indices(tmp_path, monkeypatch):
    """Sent with the places, all rows would go to it again in every execution."""
    folder = write(tmp_path, columns_of(40))
    places = packed(folder)
    expected = [unpacked(places, 10, seed) for seed in (0, 1)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    rows = packed(folder)
    assert rows.batches(10, 0).element_spec == tf.TensorSpec((10, ROW // 4), tf.int32)
    for seed in (0, 1):
        assert_same(unpacked(rows, 10, seed), expected[seed])


def test_files_are_read_once_if_the_rows_fit(tmp_path):
    folder = write(tmp_path, columns_of(40))
    held, read_again = packed(folder, 40 * ROW), packed(folder, 40 * ROW - 1)
    assert (held.fits, read_again.fits) == (True, False)
    for rows in (held, read_again):
        assert len(unpacked(rows, 4, 0)["price"]) == 40
    for file in folder.glob("*.tfrecord"):
        file.unlink()
    assert len(unpacked(held, 4, 1)["price"]) == 40
    with pytest.raises(Exception, match="missing"):
        unpacked(read_again, 4, 1)


@HELD
def test_a_truncated_file_is_an_error(tmp_path, memory):
    folder = write(tmp_path, columns_of(40), layout="row")
    (file,) = folder.glob("*.tfrecord")
    content = file.read_bytes()
    (length,) = np.frombuffer(content[:8], np.uint64)
    file.write_bytes(content[16 + int(length) :])  # without the first record
    with (
        pytest.raises(DataError, match=r"is damaged \(.*rows.*dataset.json"),
        translate_read_errors(folder),
    ):
        unpacked(packed(folder, memory), 40, 0)


def test_numbers_alone_are_packed_too():
    features = [feature for feature in TRANSFORM.features if feature.kind == "number"]
    info = SimpleNamespace(
        layout="block",
        transform=SimpleNamespace(features=features),
        schema=SimpleNamespace(task_names=("click",)),
    )
    packing = Packing(info)
    columns = {name: columns_of(5)[name] for name in ("price", "label/click", "weight/click")}
    columns["price"][:3] = [np.nan, -np.inf, 1e-42]  # any bits
    matrix = packing.pack(columns)
    assert matrix.shape == (5, 3) and packing.width == 3
    x, y, weights = packing.unpack(matrix)
    assert list(x) == ["price"] and list(y) == list(weights) == ["click"]
    np.testing.assert_array_equal(x["price"], columns["price"])
    np.testing.assert_array_equal(y["click"][:, 0], columns["label/click"])

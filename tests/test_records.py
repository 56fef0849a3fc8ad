"""Records against TensorFlow's own tf.train.Example, TFRecordWriter and parser."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tf.errors import UserError
from mtl_tf.records import encode_blocks, encode_rows, frame, load_info
from mtl_tf.records.read import dataset
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform, Numbers
from mtl_tf.transform.fitted import make_table

SCHEMA = Schema.model_validate(
    {
        "name": "case",
        "fields": [
            {"name": "shop", "kind": "categorical", "hash_buckets": 1_000_000_000},
            {"name": "price", "kind": "numeric"},
            {"name": "tags", "kind": "multivalued", "hash_buckets": 1000, "max_values": 3},
            {
                "name": "seen",
                "kind": "multivalued",
                "hash_buckets": 9,
                "max_values": 2,
                "weights_column": "w",
            },
            {"name": "age", "kind": "numeric", "transform": "quantile"},
        ],
        "tasks": [{"name": "click", "label": "clicked"}, {"name": "watch", "label": "seconds"}],
    }
)
TRANSFORM = FittedTransform(
    SCHEMA,
    {name: make_table(SCHEMA, name, None) for name in ("shop", "tags", "seen")},
    {"price": Numbers(), "age": Numbers(boundaries=(0.0, 1.0))},
)


def columns_of(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Model inputs and labels; `price` tells the rows apart."""
    rng = np.random.default_rng(seed)
    bag = rng.integers(-1, 1000, (rows, 3)).astype(np.int32)
    bag[np.arange(3) >= rng.integers(0, 4, rows)[:, None]] = -1
    seen = rng.integers(0, 9, (rows, 2)).astype(np.int32)
    seen[np.arange(2) >= rng.integers(0, 3, rows)[:, None]] = -1
    return {
        "shop": (rng.integers(0, 2**30, rows) >> rng.integers(0, 30, rows)).astype(np.int32),
        "price": np.arange(rows, dtype=np.float32),
        "tags": bag,
        "seen": seen,
        "seen__weights": np.where(seen < 0, 0, rng.random((rows, 2))).astype(np.float32),
        "age": rng.integers(0, 4, rows).astype(np.int32),
        "label/click": rng.integers(0, 2, rows).astype(np.float32),
        "weight/click": np.ones(rows, np.float32),
        "label/watch": rng.random(rows).astype(np.float32),
        "weight/watch": rng.integers(0, 2, rows).astype(np.float32),
    }


def write(folder, columns, layout="block", compress=False, shards=1, block_rows=4, split="train"):
    """A dataset folder with the rows of `columns`, dealt to shards in turn."""
    rows, files = len(columns["price"]), []
    for shard in range(shards):
        part = {name: values[shard::shards] for name, values in columns.items()}
        records = encode_blocks(part, block_rows) if layout == "block" else encode_rows(part)
        files.append(f"{split}-{shard:05d}-of-{shards:05d}.tfrecord" + ".gz" * compress)
        # In two pieces, as two workers would write it.
        pieces = [records[: len(records) // 2], records[len(records) // 2 :]]
        data = b"".join(frame(piece, compress) for piece in pieces)
        (folder / files[-1]).write_bytes(data)
    entry = {"rows": rows, "files": files, "labelled": {"click": rows}, "positives": {"click": 1.0}}
    empty = {"rows": 0, "files": [], "labelled": {}, "positives": {}}
    info = {
        "format": 1,
        "schema": SCHEMA.to_json(),
        "transform": TRANSFORM.to_json(folder),
        "layout": layout,
        "block_rows": block_rows,
        "compression": "gzip" if compress else None,
        "splits": {"train": empty, "eval": empty, "test": empty} | {split: entry},
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def read(data: tf.data.Dataset) -> dict[str, np.ndarray]:
    """All rows of a dataset, as `columns_of` gives them."""
    columns: dict[str, list] = {}
    for features, labels, weights in data.as_numpy_iterator():
        batch = dict(features)
        for task in labels:
            assert labels[task].shape == (len(weights[task]), 1)
            batch |= {f"label/{task}": labels[task][:, 0], f"weight/{task}": weights[task]}
        for name, values in batch.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def assert_same(got, want):
    assert set(got) == set(want)
    for name, values in want.items():
        assert got[name].dtype == values.dtype, name
        np.testing.assert_array_equal(got[name], values, err_msg=name)


# ---- encoding ----------------------------------------------------------------------------

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
    """What TensorFlow's protocol buffer reads, by name."""
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


def test_rows_do_not_depend_on_their_neighbours():
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
def test_unfit_columns(columns, message):
    with pytest.raises(ValueError, match=message):
        encode_rows(columns)


def test_an_empty_piece_adds_nothing():
    # TensorFlow takes an empty gzip member for the end of the file.
    assert frame([], compress=True) == b""


# ---- reading back ------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["block", "row"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rows", [1, 23])
def test_read_back_in_order(tmp_path, layout, compress, rows):
    columns = columns_of(rows)
    write(tmp_path, columns, layout, compress)
    assert_same(read(dataset(tmp_path, "train", 5, shuffle=False)), columns)


@pytest.mark.parametrize("layout", ["block", "row"])
@pytest.mark.parametrize("compress", [False, True])
def test_shuffled_rows_are_the_same_rows(tmp_path, layout, compress):
    columns = columns_of(101)
    write(tmp_path, columns, layout, compress, shards=3)
    got = read(dataset(tmp_path, "train", 8, seed=1))
    assert not np.array_equal(got["price"], np.sort(got["price"]))
    order = np.argsort(got["price"])
    assert_same({name: values[order] for name, values in got.items()}, columns)


@settings(max_examples=8)
@given(
    rows=st.integers(1, 40),
    layout=st.sampled_from(["block", "row"]),
    compress=st.booleans(),
    shards=st.integers(1, 3),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_whatever_is_written_is_read(
    tmp_path_factory, rows, layout, compress, shards, batch_size, seed
):
    columns = columns_of(rows, seed)
    folder = write(tmp_path_factory.mktemp("data"), columns, layout, compress, shards)
    got = read(dataset(folder, "train", batch_size, seed=seed))
    order = np.argsort(got["price"])
    assert_same({name: values[order] for name, values in got.items()}, columns)


@pytest.mark.parametrize("layout", ["block", "row"])
def test_batches(tmp_path, layout):
    write(tmp_path, columns_of(23), layout)

    def sizes(data):
        return [len(weights["click"]) for *_, weights in data]

    assert sizes(dataset(tmp_path, "train", 10)) == [10, 10, 3]
    assert sizes(dataset(tmp_path, "train", 10, drop_remainder=True)) == [10, 10]
    repeated = dataset(tmp_path, "train", 10, repeat=True, drop_remainder=True)
    assert sizes(repeated.take(7)) == [10] * 7
    spec = dataset(tmp_path, "train", 10, drop_remainder=True).element_spec
    assert spec[0]["tags"].shape == (10, 3)
    assert spec[1]["click"].shape == (10, 1)


@pytest.mark.parametrize("layout", ["block", "row"])
def test_every_pass_has_its_order_and_a_seed_repeats_them(tmp_path, layout):
    write(tmp_path, columns_of(200), layout, shards=4)

    def passes(seed):
        data = dataset(tmp_path, "train", 16, seed=seed)
        return [read(data)["price"].tolist() for _ in range(3)]

    first = passes(seed=5)
    assert len({tuple(order) for order in first}) == 3
    assert passes(seed=5) == first
    assert passes(seed=6) != first


@pytest.mark.parametrize("layout", ["block", "row"])
def test_rows_are_mixed_across_shards_and_blocks(tmp_path, layout):
    """Neighbours after shuffling are as far apart in the files as chance would have it."""
    rows, shards, block_rows = 4000, 4, 50
    write(tmp_path, columns_of(rows), layout, shards=shards, block_rows=block_rows)
    row = read(dataset(tmp_path, "train", 64))["price"].astype(int)
    shard, block = row % shards, row // shards // block_rows
    # Of n random pairs a share p agrees, give or take sqrt(p (1 − p) / n): five of those.
    for place, kinds in ((shard, shards), (shard * 1000 + block, rows // block_rows)):
        agree = (place[1:] == place[:-1]).mean()
        assert abs(agree - 1 / kinds) < 5 * np.sqrt(1 / kinds / rows)
    assert abs(np.corrcoef(row, np.arange(rows))[0, 1]) < 5 / np.sqrt(rows)


# ---- dataset.json ------------------------------------------------------------------------


def test_info(tmp_path):
    info = load_info(write(tmp_path, columns_of(5), compress=True))
    assert info.schema == SCHEMA
    assert info.transform == TRANSFORM
    assert (info.layout, info.compression) == ("block", "gzip")
    assert info.splits["train"].rows == 5
    assert info.splits["train"].files == ("train-00000-of-00001.tfrecord.gz",)
    assert info.splits["train"].labelled == {"click": 5}
    assert info.raw["block_rows"] == 4


def damage_json(folder):
    (folder / "dataset.json").write_text("{")


def damage_format(folder):
    (folder / "dataset.json").write_text('{"format": 7}')


def damage_entry(folder):
    raw = json.loads((folder / "dataset.json").read_text())
    del raw["splits"]
    (folder / "dataset.json").write_text(json.dumps(raw))


def remove_json(folder):
    (folder / "dataset.json").unlink()


def remove_shard(folder):
    next(folder.glob("train-*")).unlink()


@pytest.mark.parametrize(
    ("damage", "split", "message"),
    [
        (remove_json, "train", "expected a dataset or run folder, with a dataset.json in it"),
        (damage_json, "train", r"dataset.json: cannot be read \(Expecting property name"),
        (damage_format, "train", "expected format 1. Received: 7"),
        (damage_entry, "train", "entry 'splits' is missing"),
        (remove_shard, "train", "train-00000-of-00001.tfrecord: the file is missing"),
        (None, "valid", "no split `valid`; choose one of: train, eval, test"),
        (None, "eval", "split `eval` has no rows; give it a share in the schema's `split`"),
    ],
)
def test_unfit_folders(tmp_path, damage, split, message):
    write(tmp_path, columns_of(5))
    if damage:
        damage(tmp_path)
    with pytest.raises(UserError, match=message):
        dataset(tmp_path, split, 2)


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder; `mtl-tf preprocess` makes"):
        load_info(tmp_path / "absent")


def test_batch_size_must_be_positive(tmp_path):
    with pytest.raises(UserError, match=r"`batch_size` must be positive\. Received: batch_size=0"):
        dataset(tmp_path, "train", 0)

"""A dataset folder of a few distinguishable rows, for the tests of records."""

import json

import numpy as np

from mtl_tf.records import encode_blocks, encode_rows, frame
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform, NumericTransform
from mtl_tf.transform.fitted import make_vocabulary

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
    {name: make_vocabulary(SCHEMA, name, None) for name in ("shop", "tags", "seen")},
    {"price": NumericTransform(), "age": NumericTransform(boundaries=(0.0, 1.0))},
)


def columns_of(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return model inputs and labels; every row has its own `price`."""
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
    """Write a dataset folder with the rows of `columns`, in turn to its shards."""
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


def read(data) -> dict[str, np.ndarray]:
    """Return all rows of a `tf.data.Dataset`, as `columns_of` does."""
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

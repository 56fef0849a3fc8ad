"""Serialized tf.Examples of either layout as columns, and columns as `fit` takes them."""

from __future__ import annotations

import tensorflow as tf

from mtl_tf.records.info import DatasetInfo
from mtl_tf.transform import Feature

Columns = dict[str, tf.Tensor]


def parser(info: DatasetInfo) -> Parser:
    """That of the dataset's layout."""
    return BlockParser(info) if info.layout == "block" else RowParser(info)


class Parser:
    """A batch of serialized Examples -> its rows' columns.

    Called, it gives ids as int64 `(rows,)`, numbers, labels and weights as float32
    `(rows,)`, and bags `(rows, max_values)`, by the names that they have in the files.
    """

    def __init__(self, info: DatasetInfo):
        self.features = info.transform.features
        self.tasks = info.schema.task_names
        self.bags = [feature for feature in self.features if feature.kind == "bag"]
        self.singles = {
            feature.name: tf.float32 if feature.kind == "number" else tf.int64
            for feature in self.features
            if feature.kind != "bag"
        }
        for task in self.tasks:
            self.singles |= {f"label/{task}": tf.float32, f"weight/{task}": tf.float32}

    def __call__(self, serialized: tf.Tensor) -> Columns:
        raise NotImplementedError

    def ragged(self, dtypes: dict[str, tf.DType]) -> dict[str, tf.io.RaggedFeature]:
        """How tf.io.parse_example reads lists: those of `dtypes` and the bags."""
        dtypes = dict(dtypes)
        for bag in self.bags:
            dtypes[bag.name] = tf.int64
            if bag.weighted:
                dtypes[f"{bag.name}__weights"] = tf.float32
        return {
            name: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
            for name, dtype in dtypes.items()
        }

    def structure(self, columns: Columns) -> tuple[Columns, Columns, Columns]:
        """(features, labels, weights) of dense columns."""
        names = [feature.name for feature in self.features]
        names += [f"{bag.name}__weights" for bag in self.bags if bag.weighted]
        features = {
            name: tf.cast(columns[name], tf.int32)
            if columns[name].dtype == tf.int64
            else columns[name]
            for name in names
        }
        labels = {task: columns[f"label/{task}"][:, None] for task in self.tasks}
        return features, labels, {task: columns[f"weight/{task}"] for task in self.tasks}


class RowParser(Parser):
    """A batch of serialized rows."""

    def __call__(self, serialized: tf.Tensor) -> Columns:
        specs = {name: tf.io.FixedLenFeature([], dtype) for name, dtype in self.singles.items()}
        columns = tf.io.parse_example(serialized, specs | self.ragged({}))
        for bag in self.bags:
            _pad(columns, bag, columns[bag.name].row_lengths())
        return columns


class BlockParser(Parser):
    """A batch of serialized blocks; their rows come out in one piece."""

    def __call__(self, serialized: tf.Tensor) -> Columns:
        dtypes = self.singles | {f"{bag.name}/lengths": tf.int64 for bag in self.bags}
        columns = tf.io.parse_example(serialized, self.ragged(dtypes))
        columns = {name: column.flat_values for name, column in columns.items()}
        for bag in self.bags:
            _pad(columns, bag, columns[f"{bag.name}/lengths"])
        return columns


def _pad(columns: Columns, bag: Feature, lengths: tf.Tensor) -> None:
    """Make the bag's ids, and its weights, dense: (rows, max_values)."""
    for name, padding in ((bag.name, -1), (f"{bag.name}__weights", 0.0)):
        if name in columns:
            values = columns[name]
            flat = values.flat_values if isinstance(values, tf.RaggedTensor) else values
            ragged = tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
            columns[name] = ragged.to_tensor(padding, shape=[None, bag.max_values])

"""From serialized tf.Examples of either layout to columns, and to the arguments of `fit`."""

from __future__ import annotations

import tensorflow as tf

from mtl_tf.records.info import DatasetInfo
from mtl_tf.transform import Feature

Columns = dict[str, tf.Tensor]


def parser(info: DatasetInfo) -> Parser:
    """Return the parser of the dataset's layout."""
    return BlockParser(info) if info.layout == "block" else RowParser(info)


class Parser:
    """Maps a batch of serialized Examples to its rows' columns, named as in the files.

    Ids are int64 `(rows,)`; numbers, labels and weights float32 `(rows,)`; multivalued ids
    and their weights `(rows, max_values)`.
    """

    def __init__(self, info: DatasetInfo):
        self.features = info.transform.features
        self.tasks = info.schema.task_names
        self.multivalued = [feature for feature in self.features if feature.kind == "bag"]
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
        """Return the specs of lists for `tf.io.parse_example`: of `dtypes` and multivalued ones."""
        dtypes = dict(dtypes)
        for each in self.multivalued:
            dtypes[each.name] = tf.int64
            if each.weighted:
                dtypes[f"{each.name}__weights"] = tf.float32
        return {
            name: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
            for name, dtype in dtypes.items()
        }

    def structure(self, columns: Columns) -> tuple[Columns, Columns, Columns]:
        """Return (features, labels, weights) of dense columns."""
        names = [feature.name for feature in self.features]
        names += [f"{each.name}__weights" for each in self.multivalued if each.weighted]
        features = {
            name: tf.cast(columns[name], tf.int32)
            if columns[name].dtype == tf.int64
            else columns[name]
            for name in names
        }
        labels = {task: columns[f"label/{task}"][:, None] for task in self.tasks}
        return features, labels, {task: columns[f"weight/{task}"] for task in self.tasks}


class RowParser(Parser):
    """Parses serialized rows."""

    def __call__(self, serialized: tf.Tensor) -> Columns:
        specs = {name: tf.io.FixedLenFeature([], dtype) for name, dtype in self.singles.items()}
        columns = tf.io.parse_example(serialized, specs | self.ragged({}))
        for each in self.multivalued:
            _pad(columns, each, columns[each.name].row_lengths())
        return columns


class BlockParser(Parser):
    """Parses serialized blocks; their rows are joined."""

    def __call__(self, serialized: tf.Tensor) -> Columns:
        dtypes = self.singles | {f"{each.name}/lengths": tf.int64 for each in self.multivalued}
        columns = tf.io.parse_example(serialized, self.ragged(dtypes))
        columns = {name: column.flat_values for name, column in columns.items()}
        for each in self.multivalued:
            _pad(columns, each, columns[f"{each.name}/lengths"])
        return columns


def _pad(columns: Columns, feature: Feature, lengths: tf.Tensor) -> None:
    """Make multivalued ids, and their weights, dense: (rows, max_values)."""
    for name, padding in ((feature.name, -1), (f"{feature.name}__weights", 0.0)):
        if name in columns:
            values = columns[name]
            flat = values.flat_values if isinstance(values, tf.RaggedTensor) else values
            ragged = tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
            columns[name] = ragged.to_tensor(padding, shape=[None, feature.max_values])

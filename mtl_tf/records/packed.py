"""A split's rows for training: packed into one matrix, and kept in memory if they fit."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mtl_tf.errors import UserError
from mtl_tf.records.info import DatasetInfo
from mtl_tf.records.parse import Columns, parser
from mtl_tf.records.read import (
    PREFETCHED,
    corrupt_dataset,
    finalize_batches,
    options,
    parse_records,
)


class Packing:
    """The columns of all features, labels and weights in one matrix.

    A batch of forty fields is fifty tensors. Shuffling and slicing these, and passing them
    to a compiled step, takes longer than doing so with one, which the step splits at no
    cost. The matrix is int32; float32 columns are stored bit by bit.

    Args:
        info: The dataset.
    """

    def __init__(self, info: DatasetInfo):
        self._parser = parser(info)
        self._ids, self._numbers = (
            [name for name, dtype in self._parser.singles.items() if dtype == wanted]
            for wanted in (tf.int64, tf.float32)
        )
        self._multivalued = {each.name: each.max_values for each in self._parser.multivalued}
        self._weights = {
            f"{each.name}__weights": each.max_values
            for each in self._parser.multivalued
            if each.weighted
        }

    @property
    def width(self) -> int:
        """Number of columns of the matrix."""
        singles = len(self._ids) + len(self._numbers)
        return singles + sum(self._multivalued.values()) + sum(self._weights.values())

    def parse(self, serialized: tf.Tensor) -> tf.Tensor:
        """Return the matrix of the rows of serialized Examples."""
        return self.pack(self._parser(serialized))

    def pack(self, columns: Columns) -> tf.Tensor:
        """Return the matrix `(rows, width)` of a parser's columns."""
        # Transposed: faster than `axis=1`, which copies number by number.
        found = [tf.transpose(tf.stack([columns[name] for name in self._numbers]))]
        found += [columns[name] for name in self._weights]
        found = [tf.bitcast(tf.concat(found, axis=1), tf.int32)]
        if self._ids:
            ids = tf.transpose(tf.stack([columns[name] for name in self._ids]))
            found.insert(0, tf.cast(ids, tf.int32))
        found += [tf.cast(columns[name], tf.int32) for name in self._multivalued]
        return tf.concat(found, axis=1)

    def unpack(self, matrix: tf.Tensor) -> tuple[Columns, Columns, Columns]:
        """Return `(features, labels, weights)` as `dataset` yields them."""
        widths = [*[1] * (len(self._ids) + len(self._numbers)), *self._weights.values()]
        names = [*self._ids, *self._numbers, *self._weights, *self._multivalued]
        parts = tf.split(matrix, [*widths, *self._multivalued.values()], axis=1)
        columns = {}
        for index, (name, part) in enumerate(zip(names, parts, strict=True)):
            if len(self._ids) <= index < len(widths):
                part = tf.bitcast(part, tf.float32)
            several = name in self._weights or name in self._multivalued
            columns[name] = part if several else part[:, 0]
        return self._parser.structure(columns)


class PackedRows:
    """The rows of a split, in a different order for every seed.

    A split of up to `memory` bytes is read once, and all its rows are shuffled. A larger one
    is read from its files again for every order, and shuffled as `dataset` does.

    Args:
        info: The dataset.
        split: `"train"`, `"eval"` or `"test"`.
        memory: Bytes of memory for the rows.

    Attributes:
        count: Number of rows.
        fits: True if they are kept in memory.

    Raises:
        UserError: No such split, no rows in it; from `batches`, a file is missing, or
            `batch_size` is not positive.
        DataError: From `batches`: a file has other rows than it should.
    """

    def __init__(self, info: DatasetInfo, split: str, memory: int):
        self.info, self.split = info, split
        self._packing = Packing(info)
        self.count = info.split(split).rows
        self.fits = self.count * self._packing.width * 4 <= memory
        self._held: tf.Tensor | None = None

    def batches(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Return full batches, for `unpack`; the rest of fewer rows is omitted."""
        if batch_size < 1:
            raise UserError(f"`batch_size` must be positive. Received: batch_size={batch_size}")
        if self.fits:
            return self._gathered(batch_size, seed)
        return finalize_batches(
            self._read(seed, batch_size), batch_size, self.count, drop_remainder=True
        )

    def unpack(self, batch: tf.Tensor) -> tuple[Columns, Columns, Columns]:
        """Return `(features, labels, weights)` of a batch, as `dataset` yields them."""
        rows = tf.gather(self._held, batch) if len(batch.shape) == 1 else batch
        return self._packing.unpack(rows)

    def _gathered(self, batch_size: int, seed: int) -> tf.data.Dataset:
        if self._held is None:
            self._held = self._load()
        held = self._held
        order = np.random.default_rng(seed).permutation(self.count).astype("int32")
        order = order[: self.count // batch_size * batch_size].reshape(-1, batch_size)
        batches = tf.data.Dataset.from_tensor_slices(order)
        if not tf.config.list_physical_devices("GPU"):
            # The step gathers the rows by index: a fiftieth of the data to pass on.
            return batches.with_options(options())

        # Otherwise all rows would be copied to the device again for every step.
        @tf.autograph.experimental.do_not_convert
        def gather(rows: tf.Tensor) -> tf.Tensor:
            return tf.gather(held, rows)

        return batches.map(gather).prefetch(PREFETCHED).with_options(options())

    def _read(self, seed: int | None, batch_size: int) -> tf.data.Dataset:
        return parse_records(self.info, self.split, batch_size, self._packing.parse, seed)

    def _load(self) -> tf.Tensor:
        """Return all rows, in the order of the files."""
        size = min(self.count, 1 << 14)
        batches = finalize_batches(self._read(None, size), size, self.count, drop_remainder=False)
        with tf.device("cpu"):
            held = tf.concat(list(batches), axis=0)
        if len(held) != self.count:
            raise corrupt_dataset(
                self.info.folder, f"{len(held)} rows; dataset.json says {self.count}"
            )
        return held

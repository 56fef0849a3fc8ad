"""A split's rows for training: packed into two matrices, and held in memory if they fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.records.info import DatasetInfo
from mtl_tf.records.parse import Columns, parser
from mtl_tf.records.read import damaged, finished, parsed

Matrices = tuple[tf.Tensor, tf.Tensor]
"""int32 `(rows, columns)` of ids and float32 `(rows, columns)` of all else."""

_CHUNK = 16  # batches that are drawn from memory at a time


class Packing:
    """Which column of two matrices holds what.

    A batch of forty fields is fifty tensors. To mix, cut and hand these to a compiled step
    takes longer than to do so with two, which the step takes apart at no cost.

    Args:
        info: The dataset.
    """

    def __init__(self, info: DatasetInfo):
        self._parser = parser(info)
        names: tuple[list[str], list[str]] = [], []
        for name, dtype in self._parser.singles.items():
            names[dtype == tf.float32].append(name)
        self._singles = names
        self._bags = (
            [bag.name for bag in self._parser.bags],
            [f"{bag.name}__weights" for bag in self._parser.bags if bag.weighted],
        )
        self._widths = {bag.name: bag.max_values for bag in self._parser.bags}
        self._widths |= {f"{name}__weights": width for name, width in self._widths.items()}

    @property
    def row_bytes(self) -> int:
        """Of a packed row."""
        singles = sum(map(len, self._singles))
        return 4 * (singles + sum(self._widths[name] for names in self._bags for name in names))

    def pack(self, columns: Columns) -> Matrices:
        """The columns that a parser gives, side by side."""
        ids, numbers = (
            self._side_by_side(columns, singles, bags)
            for singles, bags in zip(self._singles, self._bags, strict=True)
        )
        return tf.cast(ids, tf.int32), numbers

    def unpack(self, matrices: Matrices) -> tuple[Columns, Columns, Columns]:
        """`(features, labels, weights)` as `dataset` gives them."""
        columns = {}
        for matrix, singles, bags in zip(matrices, self._singles, self._bags, strict=True):
            columns |= {name: matrix[:, index] for index, name in enumerate(singles)}
            begin = len(singles)
            for name in bags:
                columns[name] = matrix[:, begin : begin + self._widths[name]]
                begin += self._widths[name]
        return self._parser.structure(columns)

    def _side_by_side(self, columns: Columns, singles: list[str], bags: list[str]) -> tf.Tensor:
        found = [columns[name] for name in bags]
        if singles:  # transposed: faster than `axis=1`, which copies number by number
            found.insert(0, tf.transpose(tf.stack([columns[name] for name in singles])))
        if not found:
            rows = tf.shape(columns[self._singles[1][0]])[0]  # every task has a label
            return tf.zeros((rows, 0), tf.int64)
        return found[0] if len(found) == 1 else tf.concat(found, axis=1)


class PackedRows:
    """The rows of a split, in another order for every seed.

    A split of up to `memory` bytes is read once, and an order is one of all its rows. A
    larger one is read from its files again for every order, and mixed as `dataset` does it.

    Args:
        info: The dataset.
        split: `"train"`, `"eval"` or `"test"`.
        memory: In bytes.

    Attributes:
        count: Number of rows.
        fits: Whether they are held in memory.
        unpack: Makes of a packed batch one as `dataset` gives it.
    """

    def __init__(self, info: DatasetInfo, split: str, memory: int):
        self.info, self.split = info, split
        self._packing = Packing(info)
        self.unpack = self._packing.unpack
        self.count = info.split(split).rows
        self.fits = self.count * self._packing.row_bytes <= memory
        self._held: Matrices | None = None

    def batches(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Full batches, packed; rows that are left over at the end are left out."""
        rows = self._drawn(seed, _CHUNK * batch_size) if self.fits else self._read(seed, batch_size)
        return finished(rows, batch_size, self.count, drop_remainder=True)

    def _read(self, seed: int | None, batch_size: int) -> tf.data.Dataset:
        return parsed(self.info, self.split, batch_size, self._packing.pack, seed)

    def _drawn(self, seed: int, chunk: int) -> tf.data.Dataset:
        if self._held is None:
            self._held = self._load()
        held = self._held
        order = tf.constant(np.random.default_rng(seed).permutation(self.count))

        def draw(begin: tf.Tensor) -> Any:
            return tuple(tf.gather(matrix, order[begin : begin + chunk]) for matrix in held)

        return tf.data.Dataset.range(0, self.count, chunk).map(draw)

    def _load(self) -> Matrices:
        """All rows, in the order of the files."""
        size = min(self.count, 1 << 14)
        batches = finished(self._read(None, size), size, self.count, drop_remainder=False)
        with tf.device("cpu"):
            pieces = list(zip(*batches, strict=True))
            held = tf.concat(pieces[0], axis=0), tf.concat(pieces[1], axis=0)
        if len(held[0]) != self.count:
            raise damaged(self.info.folder, f"{len(held[0])} rows; dataset.json says {self.count}")
        return held

"""Tables under masks, which are computed when the model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mtl_tf.compiler.ir.activations import mask_weights
from mtl_tf.compiler.ir.weights import Array, Weight, as_weight

_CHUNK = 1 << 16  # rows of a table that are in float64 at once


@dataclass(frozen=True)
class MaskedTable:
    """Rows of another table under masks: computed when the model is loaded, not stored.

        masked[first_p + i] = relu(tanh(g_p · s)) · s        s = source[start_p + i]

    for i < size_p. The parts, each under a mask of its own, are below each other. Several
    such tables may have one `source`; its `scale` is as with `Embed`.
    """

    source: Weight  # (rows, dim)
    g: Weight  # (parts, dim)
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    scale: Weight | None = None  # (rows, 1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", as_weight(self.source))
        object.__setattr__(self, "g", as_weight(self.g))

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), int(self.source.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def nbytes(self) -> int:
        return len(self) * self.shape[1] * self.dtype.itemsize

    def find(self, ids: Array) -> tuple[Array, Array]:
        """Returns which part these rows are in, and which rows of the source they are."""
        ends = np.cumsum(self.sizes)
        part = np.searchsorted(ends, ids, side="right")
        return part, np.subtract(self.starts, ends - self.sizes)[part] + ids

    @cached_property
    def nonzero_rows(self) -> Array:
        """True for each row that the mask does not close, `(rows,)`."""
        parts = zip(self.starts, self.sizes, self.g.float64(), strict=True)
        found = [self._is_open(start, start + size, g) for start, size, g in parts]
        return np.concatenate(found or [np.empty(0, bool)])

    @cached_property
    def has_different_rows(self) -> bool:
        """True if two rows differ."""
        few = self.rows(np.arange(min(2, len(self))))
        return bool((few != few[0]).any() or (self.rows(np.arange(len(self))) != few[0]).any())

    def _is_open(self, start: int, stop: int, g: Array) -> Array:
        """True for each row of the source that is open under one mask: where g·s > 0."""
        found = np.empty(stop - start, bool)
        for first in range(start, stop, _CHUNK):
            last = min(first + _CHUNK, stop)
            rows = self.source.array[first:last].astype(np.float64)
            rows = rows if self.scale is None else rows * self.scale.array[first:last]
            found[first - start : last - start] = rows @ g > 0
        return found

    def rows(self, ids: Array) -> Array:
        """These rows of the table, float64."""
        part, places = self.find(ids)
        rows = self.source.array[places].astype(np.float64)
        rows = rows if self.scale is None else rows * self.scale.array[places]
        return rows * mask_weights((rows * self.g.array[part]).sum(axis=-1, keepdims=True))

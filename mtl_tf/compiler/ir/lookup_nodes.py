"""The nodes of a plan that read features: lookups, numbers, and masks of them.

Readers take them from `nodes.py`, with all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mtl_tf.compiler.ir.activations import mask_weights

Array = np.ndarray


@dataclass(frozen=True)
class Feature:
    """One model input: `shape` without the batch dimension, None where not fixed.

    `once`: one row of it, which counts for every row of the other features.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] = ()
    once: bool = False


@dataclass(frozen=True, eq=False)
class MaskedTable:
    """Rows of another table under masks: made when the model is loaded, not stored.

        masked[first_p + i] = relu(tanh(g_p · s)) · s        s = source[start_p + i]

    for i < size_p. The parts, each under a mask of its own, are below each other. Several
    such tables may have one `source`; its `scale` is as with `Embed`.
    """

    source: Array  # (rows, dim)
    g: Array  # (parts, dim)
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    scale: Array | None = None  # (rows, 1)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), int(self.source.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def find(self, ids: Array) -> tuple[Array, Array]:
        """Which part these rows are in, and which rows of the source they are."""
        ends = np.cumsum(self.sizes)
        part = np.searchsorted(ends, ids, side="right")
        return part, np.subtract(self.starts, ends - self.sizes)[part] + ids

    @cached_property
    def open(self) -> Array:
        """Whether anything of a row is left, `(rows,)`."""
        return np.asarray(self.rows(np.arange(len(self))).any(axis=1))

    def rows(self, ids: Array) -> Array:
        """These rows of the table, float64."""
        part, places = self.find(ids)
        rows = self.source[places].astype(np.float64)
        rows = rows if self.scale is None else rows * self.scale[places]
        return rows * mask_weights((rows * self.g[part]).sum(axis=-1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Embed:
    """Rows of a table, one per field, side by side: row `ids + offset` of `table`.

    `capture` makes one node per field; the last pass joins them. With `pooling`
    (`sum` or `mean`) a field is a bag, `(n, values)` ids padded with -1:

        sum_l w_l · row_l          divided by sum_l w_l for `mean`; an empty bag is 0

    with w = 1, or the feature `<field>__weights` when `weighted`.

    Tables are shared by being the same object. A table of fewer bytes (`quantize_tables`)
    may have a `scale` per row, which its numbers are times.
    """

    name: str
    fields: tuple[str, ...]
    table: Array | MaskedTable  # (rows, dim)
    offsets: tuple[int, ...] = (0,)
    sizes: tuple[int, ...] = ()  # ids of each field, the whole table by default
    pooling: str | None = None
    weighted: bool = False
    scale: Array | None = None  # (rows, 1)

    def __post_init__(self) -> None:
        if not self.sizes:
            object.__setattr__(self, "sizes", (len(self.table),))
        if not len(self.fields) == len(self.offsets) == len(self.sizes):
            raise ValueError(f"{self.name}: fields, offsets and sizes differ in length")
        if self.pooling not in (None, "sum", "mean"):
            raise ValueError(f"{self.name}: unknown pooling {self.pooling!r}")

    def rows(self, ids: Array) -> Array:
        """These rows of the table, float64."""
        if isinstance(self.table, MaskedTable):
            return self.table.rows(ids)
        rows = self.table[ids].astype(np.float64)
        return rows if self.scale is None else rows * self.scale[ids]

    @property
    def stored(self) -> Array:
        """The table, or what it is made of."""
        return self.table.source if isinstance(self.table, MaskedTable) else self.table

    @property
    def dim(self) -> int:
        return int(self.table.shape[1])

    @property
    def width(self) -> int:
        return len(self.fields) * self.dim

    @property
    def features(self) -> tuple[str, ...]:
        weights = (f"{field}__weights" for field in self.fields if self.weighted)
        return (*self.fields, *weights)


@dataclass(frozen=True, eq=False)
class Block:
    """A product that a `Projected` holds: looked-up rows times a matrix.

    The matrix `(embed.width, units)` gives the sum's units from `start` on. A `bias`
    `(units,)` is part of every row of the first field.
    """

    embed: Embed  # without pooling
    matrix: Array
    start: int = 0
    bias: Array | None = None

    def __post_init__(self) -> None:
        if self.embed.pooling is not None or len(self.matrix) != self.embed.width:
            raise ValueError(f"a matrix {self.matrix.shape} does not fit {self.embed.name}")
        if self.bias is not None and self.bias.shape != self.matrix.shape[1:]:
            raise ValueError(f"a bias {self.bias.shape} does not fit {self.matrix.shape}")

    @property
    def stop(self) -> int:
        return self.start + int(self.matrix.shape[1])


@dataclass(frozen=True, eq=False)
class Projected:
    """Σ over blocks of embed · matrix, as one row per field, added up.

    A field's part of the product depends on the id alone. So it is computed for every
    id when the model is loaded, and a request adds up one row per field:

        projected[first_f + id] = row_f(id) · M_f        value = Σ_f projected[first_f + id_f]

    The rows of all blocks' fields are below each other, a row of zeros is the last, the
    blocks' units are side by side.
    What is stored is the blocks. A node that sums only some `fields` of them shares the
    projected table with others of the same `blocks`; a bias comes with its field.
    """

    name: str
    fields: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def width(self) -> int:
        return max(block.stop for block in self.blocks)

    @property
    def features(self) -> tuple[str, ...]:
        return self.fields

    @cached_property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Each field of the blocks: its first row in the projected table, and its ids."""
        found: dict[str, tuple[int, int]] = {}
        rows = 0
        for block in self.blocks:
            for field, size in zip(block.embed.fields, block.embed.sizes, strict=True):
                if field not in found:
                    found[field] = rows, size
                    rows += size
        return found

    @property
    def rows(self) -> int:
        return sum(size for _, size in self.layout.values()) + 1

    @property
    def offsets(self) -> tuple[int, ...]:
        return tuple(self.layout[field][0] for field in self.fields)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.layout[field][1] for field in self.fields)


@dataclass(frozen=True, eq=False)
class Numeric:
    """x·vector + bias per field, side by side; vectors and biases are `(fields, dim)`."""

    name: str
    fields: tuple[str, ...]
    vectors: Array
    biases: Array

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def width(self) -> int:
        return int(self.vectors.size)

    @property
    def features(self) -> tuple[str, ...]:
        return self.fields


@dataclass(frozen=True, eq=False)
class Mask:
    """Pieces of an `Embed` or `Numeric`, each times relu(tanh(g·piece)), side by side.

    The source's value is cut into pieces as wide as a row of `g`; output p is piece
    `pieces[p]` under mask `g[p]`. `capture` makes one node per field and reader.
    """

    name: str
    source: str
    g: Array  # (pieces of the output, dim)
    pieces: tuple[int, ...] = (0,)

    @property
    def dim(self) -> int:
        return int(self.g.shape[1])

    @property
    def width(self) -> int:
        return int(self.g.size)

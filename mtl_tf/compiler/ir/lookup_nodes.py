"""The nodes of a plan that read features: lookups, numeric fields, and masks of them.

Readers import them from `nodes.py`, with all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mtl_tf.compiler.ir.masked_table import MaskedTable
from mtl_tf.compiler.ir.node import Node
from mtl_tf.compiler.ir.weights import Array, Weight, as_weight


@dataclass(frozen=True)
class InputSpec:
    """One model input: `shape` without the batch dimension, None where not fixed.

    `per_request`: a request has one row of it, for all rows of the other inputs.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] = ()
    per_request: bool = False


@dataclass(frozen=True)
class Embed(Node):
    """Rows of a table, one per field, side by side: row `ids + offset` of `table`.

    `capture` makes one node per field; the last pass fuses them. With `pooling`
    (`sum` or `mean`) a field is multivalued, `(n, values)` ids padded with -1:

        sum_l w_l · row_l          divided by sum_l w_l for `mean`; 0 without a value

    with w = 1, or the feature `<field>__weights` when `weighted`.

    Lookups share a table by its name. A quantized table may have a `scale` per row, which
    its numbers are multiplied by.
    """

    kind = "embed"

    fields: tuple[str, ...]
    table: Weight | MaskedTable  # (rows, dim)
    offsets: tuple[int, ...] = (0,)
    sizes: tuple[int, ...] = ()  # ids of each field, the whole table by default
    pooling: str | None = None
    weighted: bool = False
    scale: Weight | None = None  # (rows, 1)

    def __post_init__(self) -> None:
        if not isinstance(self.table, MaskedTable):
            object.__setattr__(self, "table", as_weight(self.table))
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
        rows = self.table.array[ids].astype(np.float64)
        return rows if self.scale is None else rows * self.scale.array[ids]

    @property
    def base_table(self) -> Weight:
        """The table, or the one that a masked table is computed from."""
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

    def describe(self) -> dict[str, Any]:
        entry = super().describe() | {"fields": list(self.fields), "rows": len(self.table)}
        entry |= {"pooling": self.pooling, "weighted": self.weighted}
        if isinstance(self.table, MaskedTable):
            entry["masks"] = len(self.table.g)
        if self.table.dtype in (np.float16, np.int8):
            entry["dtype"] = str(self.table.dtype)
        return entry


@dataclass(frozen=True)
class ProjectedTerm:
    """A product that a `ProjectedLookup` holds: looked-up rows times a matrix.

    The matrix `(embed.width, units)` makes the sum's units from `start` on. A `bias`
    `(units,)` is part of every row of the first field.
    """

    embed: Embed  # without pooling
    matrix: Weight
    start: int = 0
    bias: Weight | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", as_weight(self.matrix))
        if self.embed.pooling is not None or len(self.matrix) != self.embed.width:
            raise ValueError(f"a matrix {self.matrix.shape} does not fit {self.embed.name}")
        if self.bias is not None:
            object.__setattr__(self, "bias", as_weight(self.bias))
            if self.bias.shape != self.matrix.shape[1:]:
                raise ValueError(f"a bias {self.bias.shape} does not fit {self.matrix.shape}")

    @property
    def stop(self) -> int:
        return self.start + int(self.matrix.shape[1])


@dataclass(frozen=True)
class ProjectedLookup(Node):
    """Σ over terms of embed · matrix, as one row per field, added up.

    A field's part of the product depends on the id alone. So it is computed for every
    id when the model is loaded, and a request adds up one row per field:

        projected[first_f + id] = row_f(id) · M_f        value = Σ_f projected[first_f + id_f]

    The rows of all terms' fields are below each other, a row of zeros is the last, the
    terms' units are side by side. The terms are what is stored. A node that sums only some
    `fields` of them shares the projected table with others of the same `terms`; a bias
    belongs to its field.
    """

    kind = "projected"

    fields: tuple[str, ...]
    terms: tuple[ProjectedTerm, ...]

    @property
    def width(self) -> int:
        return max(term.stop for term in self.terms)

    @property
    def features(self) -> tuple[str, ...]:
        return self.fields

    @cached_property
    def layout(self) -> dict[str, tuple[int, int]]:
        """Each field of the terms: its first row in the projected table, and its ids."""
        found: dict[str, tuple[int, int]] = {}
        rows = 0
        for term in self.terms:
            for field, size in zip(term.embed.fields, term.embed.sizes, strict=True):
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

    def describe(self) -> dict[str, Any]:
        products = [list(term.matrix.shape) for term in self.terms]
        entry = {"fields": list(self.fields), "rows": self.rows, "products": products}
        return super().describe() | entry


@dataclass(frozen=True)
class Numeric(Node):
    """x·vector + bias per field, side by side; vectors and biases are `(fields, dim)`."""

    kind = "numeric"

    fields: tuple[str, ...]
    vectors: Weight
    biases: Weight

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", as_weight(self.vectors))
        object.__setattr__(self, "biases", as_weight(self.biases))

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def width(self) -> int:
        return self.vectors.size

    @property
    def features(self) -> tuple[str, ...]:
        return self.fields

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"fields": list(self.fields)}


@dataclass(frozen=True)
class Mask(Node):
    """Pieces of an `Embed` or `Numeric`, each times relu(tanh(g·piece)), side by side.

    The source's value is cut into pieces as wide as a row of `g`; output p is piece
    `pieces[p]` under mask `g[p]`. `capture` makes one node per field and reader.
    """

    kind = "mask"

    source: str
    g: Weight  # (pieces of the output, dim)
    pieces: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "g", as_weight(self.g))

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        return (self.g,)  # without a search: there is one mask per field and reader

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def dim(self) -> int:
        return int(self.g.shape[1])

    @property
    def width(self) -> int:
        return self.g.size

    def check(self, widths: Mapping[str, int]) -> None:
        count = widths[self.source] / self.dim
        if len(self.pieces) != len(self.g) or max(self.pieces) >= count:
            raise ValueError(f"{self.name}: masks {self.pieces} do not fit {self.source}")

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"source": self.source, "masks": len(self.g)}

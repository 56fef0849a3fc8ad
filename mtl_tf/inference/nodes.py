"""The nodes of a plan: what each computes for a batch of n rows.

A node's value is one matrix `(n, width)`. Passes make new nodes; they never change
one, and never change an array in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mtl_tf.inference.activations import ACTIVATIONS, LINKS

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
class Embed:
    """Rows of a table, one per field, side by side: row `ids + offset` of `table`.

    `capture` makes one node per field; the last pass joins them. With `pooling`
    (`sum` or `mean`) a field is a bag, `(n, values)` ids padded with -1:

        sum_l w_l · row_l          divided by sum_l w_l for `mean`; an empty bag is 0

    with w = 1, or the feature `<field>__weights` when `weighted`.

    Tables are shared by being the same array. A table of fewer bytes (`store_tables`)
    may have a `scale` per row, which its numbers are times.
    """

    name: str
    fields: tuple[str, ...]
    table: Array  # (rows, dim)
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
        rows = self.table[ids].astype(np.float64)
        return rows if self.scale is None else rows * self.scale[ids]

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

    The matrix `(embed.width, units)` gives the sum's units from `start` on.
    """

    embed: Embed  # without pooling
    matrix: Array
    start: int = 0

    def __post_init__(self) -> None:
        if self.embed.pooling is not None or len(self.matrix) != self.embed.width:
            raise ValueError(f"a matrix {self.matrix.shape} does not fit {self.embed.name}")

    @property
    def stop(self) -> int:
        return self.start + int(self.matrix.shape[1])


@dataclass(frozen=True, eq=False)
class Projected:
    """Σ over blocks of embed · matrix, as one row per field, added up.

    A field's part of the product depends on the id alone. So it is computed for every
    id when the model is loaded, and a request adds up one row per field:

        projected[first_f + id] = row_f(id) · M_f        value = Σ_f projected[first_f + id_f]

    The rows of all blocks' fields are below each other, the blocks' units side by side.
    What is stored is the blocks. A node that sums only some `fields` of them shares the
    projected table with others of the same `blocks`.

    Many rows are faster multiplied: a request of more than `most` rows is.
    """

    name: str
    fields: tuple[str, ...]
    blocks: tuple[Block, ...]
    most: int | None = None

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
        return sum(size for _, size in self.layout.values())

    def matrix(self, block: Block) -> Array | None:
        """The block's matrix on rows of this node's `fields`.

        None where these rows are not next to each other, or not where the projected ones
        are: one index would not do for both.
        """
        embed, count = block.embed, len(self.fields)
        first = embed.fields.index(self.fields[0]) if self.fields[0] in embed.fields else 0
        same = slice(first, first + count)
        if (embed.fields[same], embed.offsets[same]) != (self.fields, self.offsets):
            return None
        return block.matrix[first * embed.dim : (first + count) * embed.dim]

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


@dataclass(frozen=True, eq=False)
class Edge:
    """One summand of an `Affine`: gate ⊙ (source · weight).

    `weight` is a matrix `(rows, units)`, a diagonal `(units,)` or a scalar `()`;
    `gate` is None, a scalar `()` or a vector `(units,)`. A matrix reads the source's
    units `start` … `start + rows`.
    """

    source: str
    weight: Array
    gate: Array | None = None
    start: int = 0

    @property
    def folded(self) -> Array:
        """The weight with the gate in it."""
        return self.weight if self.gate is None else self.weight * self.gate

    @property
    def stop(self) -> int | None:
        """End of the units that a matrix reads."""
        return self.start + len(self.weight) if self.weight.ndim == 2 else None


@dataclass(frozen=True, eq=False)
class Affine:
    """activation(Σ over edges + bias). Without edges it is a constant.

    Several sources under one matrix are their concatenation, the matrix cut by rows.
    """

    name: str
    edges: tuple[Edge, ...]
    bias: Array
    activation: str = "linear"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"{self.name}: unknown activation {self.activation!r}")

    @property
    def width(self) -> int:
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Mix:
    """Σ_k softmax(gate)_k · source_k: a mixture of experts of equal width."""

    name: str
    experts: tuple[str, ...]
    gate: str
    width: int


@dataclass(frozen=True, eq=False)
class Operand:
    """What an `Opaque` node is handed: features, a concatenation, or a stack of them.

    `names` holds, for a `feature`, its name; for a `vector` `(n, D)`, the nodes side by
    side; for a `stack` `(n, R, D)`, R groups of nodes.
    """

    kind: str  # "feature", "vector" or "stack"
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Opaque:
    """A layer without a capture function, as it is: `function(*operands)`.

    Its value may have any shape `(n, ...)`; only another `Opaque` reads one that is
    not a matrix. `layer` owns the variables.
    """

    name: str
    operands: tuple[Operand, ...]
    function: Callable[..., Any]
    layer: Any
    shape: tuple[int | None, ...]  # without the batch dimension, None where not fixed

    @property
    def width(self) -> int:
        return math.prod(size or 1 for size in self.shape)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(o.names[0][0] for o in self.operands if o.kind == "feature")


@dataclass(frozen=True, eq=False)
class Output:
    """A task's score: link(unit `unit` of the source), `(n,)`.

    With `times`, further sources and their units, it is the product of all links.
    """

    name: str
    task: str
    source: str
    link: str = "sigmoid"
    unit: int = 0
    times: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise ValueError(f"{self.name}: unknown link {self.link!r}")

    @property
    def factors(self) -> tuple[tuple[str, int], ...]:
        """Every source with its unit."""
        return ((self.source, self.unit), *self.times)


Node = Embed | Projected | Numeric | Mask | Affine | Mix | Opaque | Output


def sources_of(node: Node) -> tuple[str, ...]:
    """Names of the nodes that `node` reads, each once."""
    names: tuple[str, ...] = ()
    if isinstance(node, Affine):
        names = tuple(edge.source for edge in node.edges)
    elif isinstance(node, Mask):
        names = (node.source,)
    elif isinstance(node, Output):
        names = tuple(source for source, _ in node.factors)
    elif isinstance(node, Mix):
        names = (*node.experts, node.gate)
    elif isinstance(node, Opaque):
        names = tuple(
            n for o in node.operands if o.kind != "feature" for group in o.names for n in group
        )
    return tuple(dict.fromkeys(names))


def tables_of(node: Node) -> tuple[Embed, ...]:
    """The lookups whose tables the graph of a node holds."""
    if isinstance(node, Projected):
        return tuple(block.embed for block in node.blocks)
    return (node,) if isinstance(node, Embed) else ()


def width_of(node: Node) -> int:
    """Columns of a node's value."""
    return 1 if isinstance(node, Output) else node.width

"""The nodes of a plan: what each computes for a batch of n rows.

A node's value is one matrix `(n, width)`. Passes make new nodes; they never change
one, and never change an array in place. What reads features is in `input_nodes.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mtl_tf.compiler.ir.activations import ACTIVATIONS, LINKS
from mtl_tf.compiler.ir.lookup_nodes import (
    Array,
    Block,
    Embed,
    Feature,
    Mask,
    MaskedTable,
    Numeric,
    Projected,
)

__all__ = [
    "Affine",
    "Array",
    "Block",
    "Edge",
    "Embed",
    "Feature",
    "Mask",
    "MaskedTable",
    "Mix",
    "Node",
    "Numeric",
    "Opaque",
    "Operand",
    "Output",
    "Place",
    "Projected",
    "sources_of",
    "tables_of",
    "width_of",
]


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
    def is_plain(self) -> bool:
        """Whether it is a matrix without a gate."""
        return self.weight.ndim == 2 and self.gate is None

    @property
    def is_identity(self) -> bool:
        """Whether it hands its source on unchanged."""
        return self.gate is None and self.weight.ndim == 0 and float(self.weight) == 1.0

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


Place = tuple[str, int]  # a node, and the first of its units that are meant


@dataclass(frozen=True, eq=False)
class Mix:
    """Σ_e softmax(gate_r)_e · expert_e for each reader r: their mixtures side by side.

    An expert is `units` units of a node from a place on; a gate, one per reader, as many
    units as there are experts. The value is `(n, readers · units)`.
    """

    name: str
    experts: tuple[Place, ...]
    gates: tuple[Place, ...]
    units: int

    @property
    def width(self) -> int:
        return self.units * len(self.gates)


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
    times: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise ValueError(f"{self.name}: unknown link {self.link!r}")

    @property
    def factors(self) -> tuple[Place, ...]:
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
        names = tuple(source for source, _ in (*node.experts, *node.gates))
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

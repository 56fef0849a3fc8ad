"""The nodes of a plan: what each computes for a batch of n rows.

All of them are imported from here. Sums are in `affine.py`, nodes that read features in
`lookup_nodes.py`; mixtures, opaque layers and outputs are below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtl_tf.compiler.ir.activations import LINKS
from mtl_tf.compiler.ir.affine import Affine, Edge
from mtl_tf.compiler.ir.lookup_nodes import (
    Embed,
    InputSpec,
    Mask,
    Numeric,
    ProjectedLookup,
    ProjectedTerm,
)
from mtl_tf.compiler.ir.masked_table import MaskedTable
from mtl_tf.compiler.ir.node import Node, Relocate, UnitRef
from mtl_tf.compiler.ir.row_product import RowProduct
from mtl_tf.compiler.ir.weights import Array, Weight

__all__ = [
    "Affine",
    "Array",
    "Broadcast",
    "Edge",
    "Embed",
    "InputSpec",
    "Mask",
    "MaskedTable",
    "Mixture",
    "Node",
    "Numeric",
    "Opaque",
    "Operand",
    "Output",
    "ProjectedLookup",
    "ProjectedTerm",
    "RowProduct",
    "UnitRef",
    "Weight",
    "lookups_in",
]


@dataclass(frozen=True)
class Mixture(Node):
    """Σ_e softmax(gate_r)_e · expert_e for each reader r: their mixtures side by side.

    An expert is `units` units of a node, from a given one on; a gate, one per reader, as
    many units as there are experts. The value is `(n, readers · units)`.
    """

    kind = "mix"

    experts: tuple[UnitRef, ...]
    gates: tuple[UnitRef, ...]
    units: int

    @property
    def inputs(self) -> tuple[str, ...]:
        return _unique(source for source, _ in (*self.experts, *self.gates))

    @property
    def width(self) -> int:
        return self.units * len(self.gates)

    def check(self, widths: Mapping[str, int]) -> None:
        ends = [(place, self.units) for place in self.experts]
        ends += [(place, len(self.experts)) for place in self.gates]
        if any(start + units > widths[source] for (source, start), units in ends):
            raise ValueError(f"{self.name}: a node is too narrow for its experts or gates")

    def relocated(self, place: Relocate) -> Mixture:
        experts, gates = (tuple(place(*ref) for ref in each) for each in (self.experts, self.gates))
        return replace(self, experts=experts, gates=gates)

    def describe(self) -> dict[str, Any]:
        experts, gates = (list(map(list, each)) for each in (self.experts, self.gates))
        return super().describe() | {"experts": experts, "gates": gates}


@dataclass(frozen=True)
class Broadcast(Node):
    """A node that is computed once per request, `(1, width)`, repeated for every row."""

    kind = "broadcast"

    source: str
    units: int

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def width(self) -> int:
        return self.units

    def check(self, widths: Mapping[str, int]) -> None:
        if widths[self.source] != self.units:
            raise ValueError(f"{self.name}: {self.source} is {widths[self.source]} units wide")

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"source": self.source}


@dataclass(frozen=True)
class Operand:
    """An argument of an `Opaque` node: a feature, a concatenation, or a stack of them.

    `names` holds, for a `feature`, its name; for a `vector` `(n, D)`, the nodes side by
    side; for a `stack` `(n, R, D)`, R groups of nodes. `repeated`: a feature of one row per
    request is repeated for every row.
    """

    kind: str  # "feature", "vector" or "stack"
    names: tuple[tuple[str, ...], ...]
    repeated: bool = False


@dataclass(frozen=True)
class Opaque(Node):
    """A layer without a capture function, as it is: `function(*operands)`.

    Its value may have any shape `(n, ...)`; only another `Opaque` reads one that is
    not a matrix. `layer` owns the variables.
    """

    kind = "opaque"

    operands: tuple[Operand, ...]
    function: Callable[..., Any]
    layer: Any
    shape: tuple[int | None, ...]  # without the batch dimension, None where not fixed

    @property
    def inputs(self) -> tuple[str, ...]:
        vectors = (operand for operand in self.operands if operand.kind != "feature")
        return _unique(name for operand in vectors for group in operand.names for name in group)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(o.names[0][0] for o in self.operands if o.kind == "feature")

    @property
    def width(self) -> int:
        return math.prod(size or 1 for size in self.shape)

    def describe(self) -> dict[str, Any]:
        layer = {"layer": type(self.layer).__name__, "features": list(self.features)}
        return super().describe() | layer | {"sources": list(self.inputs)}


@dataclass(frozen=True)
class Output(Node):
    """A task's score: link(unit `unit` of the source), `(n,)`.

    With `times`, further sources and their units, it is the product of all links. `scale`
    is what a difference of 1 in a task's tower is worth: it says which differences matter.
    """

    kind = "output"

    task: str
    source: str
    link: str = "sigmoid"
    unit: int = 0
    times: tuple[UnitRef, ...] = ()
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.link not in LINKS:
            raise ValueError(f"{self.name}: unknown link {self.link!r}")

    @property
    def factors(self) -> tuple[UnitRef, ...]:
        """Every source with its unit."""
        return ((self.source, self.unit), *self.times)

    @property
    def inputs(self) -> tuple[str, ...]:
        return _unique(source for source, _ in self.factors)

    @property
    def width(self) -> int:
        return 1

    def check(self, widths: Mapping[str, int]) -> None:
        for source, unit in self.factors:
            if unit >= widths[source]:
                raise ValueError(f"{self.name}: {source} has no unit {unit}")

    def relocated(self, place: Relocate) -> Output:
        (source, unit), *times = (place(*factor) for factor in self.factors)
        return replace(self, source=source, unit=unit, times=tuple(times))

    def describe(self) -> dict[str, Any]:
        entry = {"task": self.task, "source": self.source, "link": self.link, "unit": self.unit}
        return super().describe() | entry | {"times": list(map(list, self.times))}


def lookups_in(node: Node) -> tuple[Embed, ...]:
    """The lookups whose tables the graph of a node holds."""
    if isinstance(node, ProjectedLookup):
        return tuple(term.embed for term in node.terms)
    return (node,) if isinstance(node, Embed) else ()


def _unique(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))

"""The nodes of a plan: what each computes for a batch of n rows.

Here are sums, mixtures, opaque layers and outputs; nodes that read features are in
`lookup_nodes.py`, and imported from here with all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mtl_tf.compiler.ir.activations import ACTIVATIONS, LINKS
from mtl_tf.compiler.ir.lookup_nodes import (
    Embed,
    InputSpec,
    Mask,
    MaskedTable,
    Numeric,
    ProjectedLookup,
    ProjectedTerm,
)
from mtl_tf.compiler.ir.node import Node, Relocate, UnitRef
from mtl_tf.compiler.ir.weights import Array, Weight, as_weight

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
    "UnitRef",
    "Weight",
    "lookups_in",
]


@dataclass(frozen=True)
class Edge:
    """One summand of an `Affine`: gate ⊙ (source · weight).

    `weight` is a matrix `(rows, units)`, a diagonal `(units,)` or a scalar `()`;
    `gate` is None, a scalar `()` or a vector `(units,)`. A matrix reads the source's
    units `start` … `start + rows`. Arrays become weights.
    """

    source: str
    weight: Weight
    gate: Weight | None = None
    start: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_weight(self.weight))
        if self.gate is not None:
            object.__setattr__(self, "gate", as_weight(self.gate))

    @property
    def folded(self) -> Array:
        """The weight times the gate."""
        return self.weight.array if self.gate is None else self.weight.array * self.gate.array

    @property
    def is_matrix(self) -> bool:
        """True for a matrix; a diagonal or a scalar reads all of its source."""
        return self.weight.ndim == 2

    @property
    def is_plain(self) -> bool:
        """True for a matrix without a gate."""
        return self.is_matrix and self.gate is None

    @property
    def is_identity(self) -> bool:
        """True if it passes its source on unchanged."""
        return self.gate is None and self.weight.ndim == 0 and float(self.weight.array) == 1.0

    @property
    def stop(self) -> int | None:
        """End of the units that a matrix reads."""
        return self.start + len(self.weight) if self.is_matrix else None

    def check(self, reader: str, units: int, width: int) -> None:
        """`ValueError` if it does not fit its source's `width` and its reader's `units`."""
        shape = self.weight.shape
        if self.is_matrix:
            good = shape[1] == units and self.start + shape[0] <= width
        else:
            good = shape in ((), (units,)) and width == units
        if self.gate is not None:
            good = good and self.gate.shape in ((), (units,))
        if not good:
            raise ValueError(
                f"{reader}: an edge {shape} from {self.source} (width {width}) "
                f"does not fit {units} units"
            )

    def describe(self) -> dict[str, Any]:
        """Its entry in `plan.json`."""
        return {
            "source": self.source,
            "start": self.start,
            "weight": list(self.weight.shape),
            "gate": None if self.gate is None else list(self.gate.shape),
            "open": bool(self.folded.any()),
        }


@dataclass(frozen=True)
class Affine(Node):
    """activation(Σ over edges + bias). Without edges it is a constant.

    Several sources under one matrix are their concatenation, the matrix cut by rows.
    """

    kind = "affine"

    edges: tuple[Edge, ...]
    bias: Weight
    activation: str = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", as_weight(self.bias))
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"{self.name}: unknown activation {self.activation!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self._by_source)

    @property
    def width(self) -> int:
        return len(self.bias)

    def edges_from(self, source: str) -> Sequence[Edge]:
        """Returns the edges that read `source`."""
        return self._by_source.get(source, ())

    @cached_property
    def _by_source(self) -> Mapping[str, Sequence[Edge]]:
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.source, []).append(edge)
        return found

    def check(self, widths: Mapping[str, int]) -> None:
        for edge in self.edges:
            edge.check(self.name, self.width, widths[edge.source])

    def relocated(self, place: Relocate) -> Affine:
        """Its matrices on the units where they are now; what a diagonal reads never moves."""
        edges = []
        for edge in self.edges:
            if edge.is_matrix:
                source, start = place(edge.source, edge.start)
                edge = replace(edge, source=source, start=start)
            edges.append(edge)
        return replace(self, edges=tuple(edges))

    def describe(self) -> dict[str, Any]:
        edges = [edge.describe() for edge in self.edges]
        return super().describe() | {"activation": self.activation, "edges": edges}


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

    With `times`, further sources and their units, it is the product of all links.
    """

    kind = "output"

    task: str
    source: str
    link: str = "sigmoid"
    unit: int = 0
    times: tuple[UnitRef, ...] = ()

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

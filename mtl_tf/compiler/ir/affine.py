"""Weighted sums of other nodes: the node that layers and towers become, and its edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.compiler.ir.node import Node, Relocate
from mtl_tf.compiler.ir.weights import Array, Weight, as_weight


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

    @cached_property
    def is_open(self) -> bool:
        """True if it has any weight: an edge without reads nothing."""
        return self.weight.any() if self.gate is None else bool(self.folded.any())

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
            "open": self.is_open,
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

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        # Without a search: there is one edge per field and sub-network.
        gates = (edge.gate for edge in self.edges if edge.gate is not None)
        return (*(edge.weight for edge in self.edges), *gates, self.bias)

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

"""`RowProduct`: a table of which a row is multiplied by a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtl_tf.compiler.ir.node import Node, Relocate, UnitRef
from mtl_tf.compiler.ir.weights import Weight, as_weight


@dataclass(frozen=True)
class RowProduct(Node):
    """Σ_u x_u · table[id]_u, `(n, 1)`: units of a node times the row of a field's id.

    A function of the source that differs from id to id, such as the quantiles of a group.
    The table is no embedding: nothing masks, projects or quantizes it.
    """

    kind = "row_product"

    source: UnitRef
    field: str
    table: Weight  # (ids, units)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", as_weight(self.table))

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.source[0],)

    @property
    def features(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def width(self) -> int:
        return 1

    @property
    def part(self) -> tuple[str, int, int]:
        """The units that it reads: their node, the first one and the end."""
        source, start = self.source
        return source, start, start + self.table.shape[1]

    def check(self, widths: Mapping[str, int]) -> None:
        source, _, stop = self.part
        if stop > widths[source]:
            raise ValueError(f"{self.name}: {source} has fewer than {stop} units")

    def relocated(self, place: Relocate) -> RowProduct:
        return replace(self, source=place(*self.source))

    def describe(self) -> dict[str, Any]:
        source, start = self.source
        entry = {"source": source, "start": start, "fields": [self.field], "ids": len(self.table)}
        return super().describe() | entry

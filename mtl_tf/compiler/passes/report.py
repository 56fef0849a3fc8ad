"""What a pass removed, and what that saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Embed
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import Cost


@dataclass(frozen=True)
class PassReport:
    """What one pass removed, and the plan's cost before and after it.

    Attributes:
        nodes, edges, features: by name; an edge is `from -> to`.
        units: units of affines.
        rows: ids whose row became zero for every reader of their field.
        way: which of the ways to apply the pass was the fastest, of those in `PASSES`.
    """

    name: str
    before: Cost
    after: Cost
    nodes: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    units: int = 0
    rows: int = 0
    way: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, as `export_report.json` holds them."""
        return {
            "name": self.name,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "removed": {
                "nodes": list(self.nodes),
                "edges": list(self.edges),
                "features": list(self.features),
                "units": self.units,
                "rows": self.rows,
            },
        }


def report(
    name: str, before: Plan, after: Plan, cost_before: Cost, cost_after: Cost, renamed: bool
) -> PassReport:
    """Returns what the pass `name` removed; of a pass that renames nodes, features only."""
    features = _missing(before.features, after.features)
    if renamed:
        return PassReport(name, cost_before, cost_after, features=features)
    return PassReport(
        name,
        cost_before,
        cost_after,
        nodes=_missing(before.by_name, after.by_name),
        edges=_missing(_edges(before), _edges(after)),
        features=features,
        units=_units(before) - _units(after),
        rows=max(0, _empty_rows(after) - _empty_rows(before)),
    )


def _missing(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    kept = set(after)
    return tuple(name for name in before if name not in kept)


def _edges(plan: Plan) -> list[str]:
    return [f"{source} -> {node.name}" for node in plan.nodes for source in node.inputs]


def _units(plan: Plan) -> int:
    return sum(node.width for node in plan.nodes if isinstance(node, Affine))


def _empty_rows(plan: Plan) -> int:
    """Ids of fields that some node still reads, with nothing but zeros for them."""
    used: dict[str, np.ndarray] = {}
    for node in plan.nodes:
        if isinstance(node, Embed) and len(node.fields) == 1 and node.pooling is None:
            rows = node.table.nonzero_rows
            used[node.fields[0]] = rows | used.get(node.fields[0], np.zeros_like(rows))
    return sum(int((~rows).sum()) for rows in used.values())

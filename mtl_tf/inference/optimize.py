"""All passes in order, and a report of what each did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mtl_tf.inference import passes
from mtl_tf.inference.cost import Cost, cost
from mtl_tf.inference.nodes import Affine, Embed, Node, Projected, sources_of
from mtl_tf.inference.plan import Plan

_FEW, _MANY = 8, 4096  # rows: what is faster for fewer is not chosen, nor bounded above
_UNNOTICED = 16 << 20  # bytes more that no server notices
_UNNAMED = "fuse"  # gives new names to what it keeps: nothing of it has left


@dataclass(frozen=True)
class PassReport:
    """What one pass removed, and the plan's cost before and after it.

    nodes, edges (`from -> to`) and features by name; units: units of affines; rows:
    ids whose row became zero for every reader of their field.
    """

    name: str
    before: Cost
    after: Cost
    nodes: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    units: int = 0
    rows: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `export_report.json` holds them."""
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


def optimize(
    plan: Plan,
    tasks: Sequence[str] | None = None,
    *,
    batch: int = 64,
    table_budget: int | None = None,
    context: Collection[str] = (),
) -> tuple[Plan, list[PassReport]]:
    """The plan with every pass applied, and one report per pass.

    Args:
        plan: as `capture` gives it.
        tasks: the tasks to keep, all by default; an unknown one is a `UserError`, and so
            is one whose every input is closed.
        batch: rows per request that the choices between alternatives are made for.
        table_budget: bytes that masked tables may take, stored, and as many that projected
            ones may take in memory; see `passes.fold_masks` and `passes.project_tables`. By
            default no more than the plan, or 16 MiB.
        context: fields to put first, so that `split_sides` cuts matrices in two.
    """
    projected = max(_UNNOTICED, cost(plan).bytes) if table_budget is None else table_budget
    steps: list[tuple[str, Callable[[Plan], Plan]]] = [
        ("fold_gates", passes.fold_gates),
        ("keep_tasks", partial(passes.keep_tasks, tasks=tasks)),
        ("fold_constants", passes.fold_constants),
        ("drop_unread", _drop_to_fixpoint),
        ("fold_masks", partial(passes.fold_masks, table_budget=table_budget)),
        ("drop_unread", _drop_to_fixpoint),
        ("fold_numbers", passes.fold_numbers),
        ("fuse", partial(_fused, batch=batch, context=context, budget=projected)),
    ]
    reports = []
    for name, step in steps:
        before, plan = plan, step(plan)
        reports.append(_report(name, before, plan))
    return plan, reports


def _fused(plan: Plan, batch: int, context: Collection[str], budget: int) -> Plan:
    """`fuse`, of the plan as it is, with its linear sums folded, with its tables projected.

    What is estimated fastest, of the alternatives that take hardly more bytes.
    """
    linear = passes.fold_linear(plan)
    starts = [plan] if len(linear.nodes) == len(plan.nodes) else [plan, linear]
    multiplied = [passes.fuse(start, batch, context) for start in starts]
    costs = [cost(each) for each in multiplied]
    allowed = [i for i, each in enumerate(costs) if each.bytes <= costs[0].bytes + _UNNOTICED]
    best = min(allowed, key=lambda i: costs[i].microseconds(batch))
    gains = [(0.0, multiplied[best])]
    for start in starts:
        for together in (True, False):
            projected = passes.project_tables(start, budget, together, context)
            if projected is not start:
                added = passes.fuse(projected, batch, context)
                gains += _gain(added, costs[best], batch)
    return max(gains, key=lambda gain: gain[0])[1]


def _gain(added: Plan, multiplied: Cost, batch: int) -> list[tuple[float, Plan]]:
    """Microseconds that adding up rows gains where it is faster, and the plan that does so.

    Larger requests are multiplied. Nothing if that cannot be, or is most of them.
    """
    estimate = cost(added)
    most = estimate.faster_up_to(multiplied)
    if most < _FEW or estimate.bytes > multiplied.bytes + _UNNOTICED:
        return []
    rows = int(min(batch, most))
    gain = multiplied.microseconds(rows) - estimate.microseconds(rows)
    if most >= _MANY:
        return [(gain, added)]
    nodes = [_up_to(node, int(most)) for node in added.nodes]
    return [] if None in nodes else [(gain, added.with_nodes(filter(None, nodes)))]


def _up_to(node: Node, most: int) -> Node | None:
    """A sum of projected rows for up to `most` rows; None where it cannot be multiplied."""
    if not isinstance(node, Projected):
        return node
    starts = {block.start for block in node.blocks}
    if len(starts) < len(node.blocks) or any(node.matrix(b) is None for b in node.blocks):
        return None
    return replace(node, most=most)


def _drop_to_fixpoint(plan: Plan) -> Plan:
    """`drop_unread` and `fold_constants` in turn, while they find something."""
    while True:
        smaller = passes.fold_constants(passes.drop_unread(plan))
        if _size(smaller) == _size(plan):
            return smaller
        plan = smaller


def _size(plan: Plan) -> tuple[int, int, int]:
    return len(plan.nodes), len(_edges(plan)), _units(plan)


def _edges(plan: Plan) -> list[str]:
    return [f"{source} -> {node.name}" for node in plan.nodes for source in sources_of(node)]


def _units(plan: Plan) -> int:
    return sum(node.width for node in plan.nodes if isinstance(node, Affine))


def _empty_rows(plan: Plan) -> int:
    """Ids of fields that some node still reads, with nothing but zeros for them."""
    used: dict[str, np.ndarray] = {}
    for node in plan.nodes:
        if isinstance(node, Embed) and len(node.fields) == 1 and node.pooling is None:
            rows = node.table.any(axis=1)
            used[node.fields[0]] = rows | used.get(node.fields[0], np.zeros_like(rows))
    return sum(int((~rows).sum()) for rows in used.values())


def _report(name: str, before: Plan, after: Plan) -> PassReport:
    left: dict[str, Any] = {"features": _gone(before.features, after.features)}
    if name != _UNNAMED:
        left |= {
            "nodes": _gone(before.by_name, after.by_name),
            "edges": _gone(_edges(before), _edges(after)),
            "units": _units(before) - _units(after),
            "rows": max(0, _empty_rows(after) - _empty_rows(before)),
        }
    return PassReport(name, cost(before), cost(after), **left)


def _gone(before: Any, after: Any) -> tuple[str, ...]:
    kept = set(after)
    return tuple(name for name in before if name not in kept)

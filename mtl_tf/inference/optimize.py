"""All passes in order, and a report of what each did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mtl_tf.inference import passes
from mtl_tf.inference.cost import Cost, cost
from mtl_tf.inference.nodes import Affine, Embed, sources_of
from mtl_tf.inference.plan import Plan

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
    batch: int = 32,
    table_budget: int | None = None,
    context: Collection[str] = (),
) -> tuple[Plan, list[PassReport]]:
    """The plan with every pass applied, and one report per pass.

    Args:
        plan: as `capture` gives it.
        tasks: the tasks to keep, all by default; an unknown one is a `UserError`, and so
            is one whose every input is closed.
        batch: rows per request that the choices between alternatives are made for.
        table_budget: bytes that masked tables may take; see `passes.fold_masks`.
        context: fields to put first, so that `split_sides` cuts matrices in two.
    """
    steps: list[tuple[str, Callable[[Plan], Plan]]] = [
        ("fold_gates", passes.fold_gates),
        ("keep_tasks", partial(passes.keep_tasks, tasks=tasks)),
        ("fold_constants", passes.fold_constants),
        ("drop_unread", _drop_to_fixpoint),
        ("fold_masks", partial(passes.fold_masks, table_budget=table_budget)),
        ("drop_unread", _drop_to_fixpoint),
        ("fold_numbers", passes.fold_numbers),
        ("fuse", partial(_fused, batch=batch, context=context)),
    ]
    reports = []
    for name, step in steps:
        before, plan = plan, step(plan)
        reports.append(_report(name, before, plan))
    return plan, reports


def _fused(plan: Plan, batch: int, context: Collection[str]) -> Plan:
    """`fuse`, of the plan as it is or with its linear sums folded: what is estimated faster."""
    fused = passes.fuse(plan, batch, context)
    linear = passes.fold_linear(plan)
    if len(linear.nodes) == len(plan.nodes):
        return fused
    folded = passes.fuse(linear, batch, context)
    now, then = cost(fused), cost(folded)
    small = then.bytes - now.bytes <= _UNNOTICED
    return folded if small and then.microseconds(batch) < now.microseconds(batch) else fused


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

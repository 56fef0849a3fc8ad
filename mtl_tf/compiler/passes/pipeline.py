"""All passes in order, and a report of what each did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from mtl_tf.compiler import passes
from mtl_tf.compiler.ir.nodes import Affine, Embed, MaskedTable, sources_of
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import Cost, cost

_UNNOTICED = 16 << 20  # bytes more that no server notices
_SIZES = (1, 64, 512)  # rows of the requests that a graph is for if nobody says
# These give new names to what they keep: nothing of it has left.
_UNNAMED = ("fold_linear", "fuse_mixtures", "project_tables", "fuse")


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
    batch: int | None = None,
    table_budget: int | None = None,
    context: Collection[str] = (),
) -> tuple[Plan, list[PassReport]]:
    """The plan with every pass applied, and one report per pass, in their order.

    Every plan is fused in the end. Where that is estimated to be faster, `fuse_mixtures`,
    `fold_linear` and `project_tables` come before `fuse`; `materialize_masks` after it where it
    makes the export smaller.

    Args:
        plan: as `capture` gives it.
        tasks: the tasks to keep, all by default; an unknown one is a `UserError`, and so
            is one whose every input is closed.
        batch: rows per request that the choices between alternatives are made for; by
            default they suit 1, 64 and 512 alike.
        table_budget: bytes of memory that masked tables may take, and as many for projected
            ones; see `passes.fold_masks` and `passes.project_tables`. By
            default no more than the plan, or 16 MiB.
        context: fields to put first, so that `split_context` cuts matrices in two.
    """
    way = _ways(plan, tasks, batch, table_budget, context)[0]
    way = way.perhaps("materialize_masks", passes.materialize_masks)
    return way.plan, [*way.reports]


def alternatives(plan: Plan, *, batch: int = 64) -> list[tuple[str, Plan]]:
    """What `optimize` chooses from: the optional passes of each, and the plan.

    In the order of their estimated time for `batch` rows: the first is the one it takes.
    """
    optional = ("fuse_mixtures", "fold_linear", "project_tables")
    ways = _ways(plan, None, batch, None, ())
    return [
        (", ".join(r.name for r in way.reports if r.name in optional) or "fuse", way.plan)
        for way in ways
    ]


def _ways(
    plan: Plan,
    tasks: Sequence[str] | None,
    batch: int | None,
    table_budget: int | None,
    context: Collection[str],
) -> list[_Way]:
    """Every way to the end that is considered, that of the least estimated time first."""
    sizes = _SIZES if batch is None else (batch,)
    usual = sorted(sizes)[len(sizes) // 2]
    budget = max(_UNNOTICED, cost(plan).bytes) if table_budget is None else table_budget
    steps: list[tuple[str, Callable[[Plan], Plan]]] = [
        ("fold_gates", passes.fold_gates),
        ("select_tasks", partial(passes.select_tasks, tasks=tasks)),
        ("fold_constants", passes.fold_constants),
        ("eliminate_dead", _drop_to_fixpoint),
        ("fold_masks", partial(passes.fold_masks, table_budget=table_budget)),
        ("eliminate_dead", _drop_to_fixpoint),
        ("fold_numeric", passes.fold_numeric),
    ]
    way = _Way(plan, cost(plan))
    for name, step in steps:
        way = way.then(name, step)
    way = way.perhaps("fuse_mixtures", partial(passes.fuse_mixtures, batch=usual))
    fused = _fused(way, usual, context, budget)
    # Of several sizes each counts alike: by how many times its requests take longer.
    return sorted(fused, key=lambda each: math.prod(map(each.cost.microseconds, sizes)))


@dataclass(frozen=True, eq=False)
class _Way:
    """A plan, what it costs, and the reports of the passes that made it."""

    plan: Plan
    cost: Cost
    reports: tuple[PassReport, ...] = ()

    def then(self, name: str, step: Callable[[Plan], Plan]) -> _Way:
        """One pass further."""
        plan = step(self.plan)
        after = cost(plan)
        report = PassReport(name, self.cost, after, **_left(name, self.plan, plan))
        return _Way(plan, after, (*self.reports, report))

    def perhaps(self, name: str, step: Callable[[Plan], Plan]) -> _Way:
        """One pass further, where it changes anything."""
        further = self.then(name, step)
        return self if further.plan is self.plan else further


def _fused(way: _Way, batch: int, context: Collection[str], budget: int) -> list[_Way]:
    """`fuse`, of the plan as it is, with its linear sums folded, with its tables projected.

    Those that take hardly more bytes.
    """
    fuse = partial(passes.fuse, batch=batch, context=context)
    multiplied = [way, way.perhaps("fold_linear", passes.fold_linear)]
    added = [
        each.perhaps(
            "project_tables",
            partial(passes.project_tables, budget=budget, together=together, context=context),
        )
        for each, together in product(multiplied, (True, False))
    ]
    fused = [each.then("fuse", fuse) for each in dict.fromkeys([*multiplied, *added])]
    most = fused[0].cost.bytes + _UNNOTICED
    return [each for each in fused if each.cost.bytes <= most]


def _drop_to_fixpoint(plan: Plan) -> Plan:
    """`eliminate_dead` and `fold_constants` in turn, while they find something."""
    while True:
        smaller = passes.fold_constants(passes.eliminate_dead(plan))
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
            table = node.table
            rows = table.open if isinstance(table, MaskedTable) else table.any(axis=1)
            used[node.fields[0]] = rows | used.get(node.fields[0], np.zeros_like(rows))
    return sum(int((~rows).sum()) for rows in used.values())


def _left(name: str, before: Plan, after: Plan) -> dict[str, Any]:
    """What a pass removed, as `PassReport` holds it."""
    left: dict[str, Any] = {"features": _gone(before.features, after.features)}
    if name not in _UNNAMED:
        left |= {
            "nodes": _gone(before.by_name, after.by_name),
            "edges": _gone(_edges(before), _edges(after)),
            "units": _units(before) - _units(after),
            "rows": max(0, _empty_rows(after) - _empty_rows(before)),
        }
    return left


def _gone(before: Any, after: Any) -> tuple[str, ...]:
    kept = set(after)
    return tuple(name for name in before if name not in kept)

"""What each task reads, and what each sub-network shares: the answer a person wants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mtl_tf.compiler import passes
from mtl_tf.compiler.ir.mask_share import MaskShares, mask_shares
from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Embed, Mask, Node, Numeric, Output
from mtl_tf.compiler.ir.plan import Plan


def sharing(plan: Plan) -> dict[str, Any]:
    """Returns fields per task and reader, and connections per level, open or closed.

    Of a plan from `capture`:
    - `tasks`: task -> the fields that can change its score, in the model's order.
    - `fields`: reader -> field -> share of the field's ids that the mask lets through,
      0.0 where it is closed whatever the row holds (1.0 without a mask; a number is 0.0
      or 1.0), or where the gates of all its dimensions are.
    - `connections`: level -> reader -> source -> share of the units whose gate is open,
      0.0 where the connection is closed (1.0 without a gate).
    - `labels`: sub-network -> the task that it belongs to (see `owners`), or `shared`;
      numbered where a level has several of them.
    """
    plan = passes.fold_dimension_gates(plan)
    shares = mask_shares(plan)
    levels: dict[str, dict[str, dict[str, float]]] = {}
    fields: dict[str, dict[str, float]] = {}
    for node in plan.nodes:
        if not isinstance(node, Affine):
            continue
        for edge in node.edges:
            source = plan.by_name[edge.source]
            read = _field_of(plan, source)
            if read is not None:
                fields.setdefault(node.name, {})[read] = _share_of(source, edge, shares)
            else:
                level = levels.setdefault(_split(node.name)[0], {})
                level.setdefault(node.name, {})[edge.source] = _open_units(edge)
    cells = {name: readers for name, readers in levels.items() if _is_level(readers)}
    owner = owners(plan, [*fields, *(cell for level in cells.values() for cell in level)])
    return {
        "tasks": _read_by(plan, shares),
        "fields": fields,
        "connections": cells,
        "labels": labels(owner, {cell: _split(cell)[0] for cell in owner}),
    }


def _read_by(plan: Plan, shares: MaskShares) -> dict[str, list[str]]:
    """Task -> the fields that reach it once everything closed is removed."""
    kept = passes.fold_masks(passes.fold_gates(plan), table_budget=0, shares=shares)
    kept = passes.eliminate_dead(kept)
    reaches = _reaches(kept)
    fields = [name for name in kept.features if not name.endswith("__weights")]
    found: dict[str, set[str]] = {task: set() for task in kept.tasks}
    for node in kept.nodes:
        for task in np.flatnonzero(reaches[node.name].any(axis=0)):
            found[kept.tasks[task]].update(node.features)
    return {task: [name for name in fields if name in read] for task, read in found.items()}


def _reaches(plan: Plan) -> dict[str, Array]:
    """True where a unit of a node reaches a task, `(units, tasks)`."""
    found = {node.name: np.zeros((node.width, len(plan.tasks)), bool) for node in plan.nodes}
    for node in reversed(plan.nodes):
        here = found[node.name]
        if isinstance(node, Output):
            for source, unit in node.factors:
                found[source][unit, plan.tasks.index(node.task)] = True
        elif isinstance(node, Affine):
            for edge in node.edges:
                weight = edge.folded != 0
                if edge.is_matrix:  # counted in float32, which is exact for so few
                    users = weight.astype(np.float32) @ here.astype(np.float32) > 0
                    found[edge.source][edge.start : edge.stop] |= users
                else:
                    found[edge.source] |= here & weight.reshape(-1, 1)
        else:
            for source in node.inputs:
                found[source] |= here.any(axis=0)
    return found


def _field_of(plan: Plan, node: Node) -> str | None:
    if isinstance(node, Mask):
        node = plan.by_name[node.source]
    return node.fields[0] if isinstance(node, (Embed, Numeric)) else None


def _share_of(node: Node, edge: Edge, shares: MaskShares) -> float:
    share = shares.get(node.name) if edge.is_open else 0.0
    return 1.0 if share is None else share


def _open_units(edge: Edge) -> float:
    if edge.gate is None:
        return 1.0
    return float((edge.gate.array != 0).mean())


def _split(name: str) -> tuple[str, str]:
    """`Level_2/1` -> (`Level_2`, `1`)."""
    layer, _, index = name.rpartition("/")
    return layer or name, index


def _is_level(readers: dict[str, Any]) -> bool:
    return all(re.fullmatch(r"\d+", _split(name)[1]) for name in readers)


def owners(plan: Plan, cells: Iterable[str]) -> dict[str, str | None]:
    """The task that each cell belongs to; None where it is shared.

    It is the only task that the cell leads to, or else the only one whose tower reads
    the last cell of the same index. Towers that choose among all cells have none.
    """
    cells = tuple(cells)
    by_index: dict[str, set[str]] = {}
    for output in plan.outputs:
        if output.times:  # no cell is a product's own
            continue
        name: str | None = output.source
        while name and (name not in cells or _only_routes(plan.by_name[name])):
            name = _own_source(plan.by_name[name])
        if name:
            by_index.setdefault(_split(name)[1], set()).add(output.task)
    own = [output for output in plan.outputs if not output.times]
    leads = {output.task: plan.ancestors([output.name]) for output in own}
    found: dict[str, str | None] = {}
    for cell in cells:
        tasks = {task for task, nodes in leads.items() if cell in nodes}
        if len(tasks) > 1:
            tasks = by_index.get(_split(cell)[1], set())
        found[cell] = next(iter(tasks)) if len(tasks) == 1 else None
    return found


def labels(owner: Mapping[str, str | None], level: Mapping[str, Any]) -> dict[str, str]:
    """What to call each cell: its task or `shared`, numbered where a level has several."""
    peers = Counter((task, level[cell]) for cell, task in owner.items())
    return {
        cell: (task or "shared") + (f" {_split(cell)[1]}" if peers[task, level[cell]] > 1 else "")
        for cell, task in owner.items()
    }


def _only_routes(node: Node) -> bool:
    """True if it only sums what gates let through, as SNR's connections do."""
    return (
        isinstance(node, Affine)
        and node.activation == "linear"
        and not node.bias.any()
        and any(edge.gate is not None for edge in node.edges)
    )


def _own_source(node: Node) -> str | None:
    """The only source, or the one of the node's own index where it stitches several."""
    if not isinstance(node, Affine) or _only_routes(node):
        return None
    sources = list(dict.fromkeys(edge.source for edge in node.edges))
    if len(sources) > 1:
        sources = [name for name in sources if _split(name)[1] == _split(node.name)[1]]
    return sources[0] if len(sources) == 1 else None

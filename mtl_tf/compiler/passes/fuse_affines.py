"""Units of one level are regrouped by what they read: a half of `fuse`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import count

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Mixture, Node, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import UnitMap, is_movable, joined_name, levels
from mtl_tf.compiler.passes.unit_groups import Group, Units, best_groups

Cuts = dict[str, set[int]]  # regrouped node -> where one of its parts ends and the next begins


def fuse_affines(plan: Plan, batch: int) -> Plan:
    """Regroups the units of all affines that read and are read through matrices."""
    moved, cuts = UnitMap(), Cuts()
    nodes: list[Node] = []
    for level in levels(plan):
        widths = {node.name: node.width for node in nodes}
        joinable: dict[str, list[Affine]] = {}
        for node in level:
            if isinstance(node, Affine) and node.edges and is_movable(plan, node):
                joinable.setdefault(node.activation, []).append(node)
            else:
                nodes.append(_reading(node, moved, widths))
        taken = {node.name for node in nodes}
        for activation, affines in joinable.items():
            segments = _segments(affines, moved, cuts)
            parts = [
                part
                for node in affines
                for part in _parts(node, _is_mixed(plan, node), moved, widths, segments)
            ]
            for group in best_groups(parts, batch):
                name = _name(group, plan, taken)
                taken.add(name)
                nodes.append(_node(name, group, activation))
                cuts[name] = _note(group, name, moved)
    return plan.with_nodes(nodes)


def _note(group: Group, name: str, moved: UnitMap) -> set[int]:
    """Notes where the units of a group are now; returns where its parts begin and end."""
    start, cuts = 0, {0}
    for part in group:
        moved.add(part.origin, part.units, name, start)
        start += len(part.units)
        cuts.add(start)
    return cuts


def _reading(node: Node, moved: UnitMap, widths: Mapping[str, int]) -> Node:
    """A node that is not regrouped, reading the regrouped ones."""
    if not isinstance(node, Affine):
        return node.relocated(moved.place)
    if not any(edge.source in moved for edge in node.edges):
        return node
    others = [edge for edge in node.edges if edge.source not in moved]
    on_moved = replace(node, edges=tuple(edge for edge in node.edges if edge.source in moved))
    matrices = _on_whole_sources(on_moved, moved, widths)
    return replace(node, edges=(*others, *_trimmed(matrices)))


def _on_whole_sources(node: Affine, moved: UnitMap, widths: Mapping[str, int]) -> dict[str, Array]:
    """One matrix per source as it is now, zero in the rows that the node does not read."""
    found: dict[str, Array] = {}
    for edge in node.edges:
        for part in moved.edges(edge):
            if part.source not in found:
                shape = (widths[part.source], node.width)
                found[part.source] = np.zeros(shape, edge.weight.dtype)
            found[part.source][part.start : part.stop] += part.weight.array
    return found


def _segments(affines: Iterable[Affine], moved: UnitMap, cuts: Cuts) -> dict[str, Array]:
    """Where each source is cut by what was one node before, or is read apart."""
    found: Cuts = {}
    for node in affines:
        for edge in node.edges:
            for part in moved.ranges(edge.source):
                found[part.node] = cuts[part.node]
            if edge.source not in moved:
                found.setdefault(edge.source, set()).update((edge.start, edge.stop or 0))
    return {name: np.array(sorted(cut)) for name, cut in found.items()}


def _is_mixed(plan: Plan, node: Affine) -> bool:
    return any(isinstance(user, Mixture) for user in plan.users[node.name])


def _parts(
    node: Affine,
    whole: bool,
    moved: UnitMap,
    widths: Mapping[str, int],
    segments: Mapping[str, Array],
) -> Iterator[Units]:
    """The node's units, cut by the set of segments that they read; one part if `whole`."""
    matrices = _on_whole_sources(node, moved, widths)
    is_read = {name: matrix != 0 for name, matrix in matrices.items()}
    columns = [
        np.logical_or.reduceat(is_read[name][: cut[-1]], cut[:-1], axis=0)
        if name in is_read
        else np.zeros((len(cut) - 1, node.width), bool)
        for name, cut in segments.items()
    ]
    read = np.concatenate(columns)
    if whole:
        read[:] = read.any(axis=1, keepdims=True)
    patterns: dict[bytes, list[int]] = {}
    for unit, pattern in enumerate(np.packbits(read, axis=0).T):
        patterns.setdefault(pattern.tobytes(), []).append(unit)
    rows = {name: _rows_read(matrix) for name, matrix in is_read.items()}
    for pattern, members in patterns.items():
        units = np.array(members)
        extents = {
            name: (int(first[units].min()), int(last[units].max()))
            for name, (first, last) in rows.items()
            if last[units].any()
        }
        yield Units(node.name, units, pattern, extents, matrices, node.bias.array[units])


def _rows_read(is_read: Array) -> tuple[Array, Array]:
    """Of each column the first row that is read, and the end; the row count and 0 for none."""
    count = len(is_read)
    some = is_read.any(axis=0)
    first = np.where(some, is_read.argmax(axis=0), count)
    return first, np.where(some, count - is_read[::-1].argmax(axis=0), 0)


def _node(name: str, group: Group, activation: str) -> Affine:
    width = sum(len(part.units) for part in group)
    matrices: dict[str, Array] = {}
    start = 0
    for part in group:
        for source in part.extents:
            matrix = part.matrices[source]
            if source not in matrices:
                matrices[source] = np.zeros((len(matrix), width), matrix.dtype)
            matrices[source][:, start : start + len(part.units)] = matrix[:, part.units]
        start += len(part.units)
    bias = Weight(np.concatenate([part.bias for part in group]))
    return Affine(name, tuple(_trimmed(matrices)), bias, activation)


def _trimmed(matrices: Mapping[str, Array]) -> Iterable[Edge]:
    for source, matrix in matrices.items():
        rows = np.flatnonzero(matrix.any(axis=1))
        if len(rows):
            yield Edge(source, Weight(matrix[rows[0] : rows[-1] + 1]), start=int(rows[0]))


def _name(group: Sequence[Units], plan: Plan, taken: Set[str]) -> str:
    """The node's own name where it stayed whole; otherwise where its units came from."""
    first = group[0]
    if len(group) == 1 and len(first.units) == plan.by_name[first.origin].width:
        return first.origin
    whole = joined_name(list(dict.fromkeys(part.origin for part in group)))
    number = next(i for i in count(1) if _numbered(whole, i) not in taken)
    return _numbered(whole, number)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}#{number}"

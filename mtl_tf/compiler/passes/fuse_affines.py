"""The other half of pass 7: units of one level, regrouped by what they read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Mix, Node, Output, width_of
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import at_places, is_movable, joined_name, levels
from mtl_tf.compiler.passes.unit_groups import Group, Units, best_groups

Cuts = dict[str, set[int]]  # new node -> where one of its parts ends and the next begins


@dataclass(frozen=True, eq=False)
class _Moved:
    """Units of an old node that are now in one new node."""

    node: str
    places: Array  # of each unit, in the new node
    units: Array  # in the old node


Places = dict[str, list[_Moved]]  # old node -> where its units are


def fuse_affines(plan: Plan, batch: int) -> Plan:
    """Regroups the units of all affines that read and are read through matrices."""
    places: Places = {}
    cuts: Cuts = {}
    nodes: list[Node] = []
    for level in levels(plan):
        widths = {node.name: width_of(node) for node in nodes}
        joinable: dict[str, list[Affine]] = {}
        for node in level:
            if isinstance(node, Affine) and node.edges and is_movable(plan, node):
                joinable.setdefault(node.activation, []).append(node)
            else:
                nodes.append(_reading(node, places, widths))
        taken = {node.name for node in nodes}
        for activation, affines in joinable.items():
            segments = _segments(affines, places, cuts)
            parts = [
                part
                for node in affines
                for part in _parts(node, _is_mixed(plan, node), places, widths, segments)
            ]
            for group in best_groups(parts, batch):
                name = _name(group, plan, taken)
                taken.add(name)
                nodes.append(_node(name, group, activation))
                cuts[name] = _move(name, group, places)
    return plan.with_nodes(nodes)


def _move(name: str, group: Group, places: Places) -> set[int]:
    """Note where the group's units are from now on; return the ends of its parts."""
    ends = np.cumsum([len(part.units) for part in group])
    moved: dict[str, list[tuple[Array, Array]]] = {}
    for part, end in zip(group, ends, strict=True):
        here = np.arange(end - len(part.units), end)
        moved.setdefault(part.origin, []).append((here, part.units))
    for origin, parts in moved.items():
        here, units = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        places.setdefault(origin, []).append(_Moved(name, here, units))
    return {0, *ends.tolist()}


def _reading(node: Node, places: Places, widths: Mapping[str, int]) -> Node:
    """A node that stays, reading the regrouped ones."""
    if isinstance(node, (Mix, Output)):
        return at_places(node, lambda source, unit: _moved(source, unit, places))
    if isinstance(node, Affine) and any(edge.source in places for edge in node.edges):
        stay = [edge for edge in node.edges if edge.source not in places]
        moved = replace(node, edges=tuple(e for e in node.edges if e.source in places))
        matrices = _on_whole_sources(moved, places, widths)
        return replace(node, edges=(*stay, *_trimmed(matrices)))
    return node


def _moved(source: str, unit: int, places: Places) -> tuple[str, int]:
    """The node and unit where this unit is now."""
    for moved in places.get(source, ()):
        if unit in moved.units:
            return moved.node, int(moved.places[moved.units == unit][0])
    return source, unit


def _on_whole_sources(node: Affine, places: Places, widths: Mapping[str, int]) -> dict[str, Array]:
    """One matrix per source as it is now, zero in the rows that the node does not read."""
    found: dict[str, Array] = {}
    for edge in node.edges:
        stop = edge.start + len(edge.weight)
        every = np.arange(stop)
        for moved in places.get(edge.source, [_Moved(edge.source, every, every)]):
            if moved.node not in found:
                shape = (widths[moved.node], node.width)
                found[moved.node] = np.zeros(shape, edge.weight.dtype)
            read = (moved.units >= edge.start) & (moved.units < stop)
            found[moved.node][moved.places[read]] += edge.weight[moved.units[read] - edge.start]
    return found


def _segments(affines: Iterable[Affine], places: Places, cuts: Cuts) -> dict[str, Array]:
    """Where each source is cut by what was one node before, or is read apart."""
    found: Cuts = {}
    for node in affines:
        for edge in node.edges:
            for moved in places.get(edge.source, ()):
                found[moved.node] = cuts[moved.node]
            if edge.source not in places:
                found.setdefault(edge.source, set()).update((edge.start, edge.stop or 0))
    return {name: np.array(sorted(cut)) for name, cut in found.items()}


def _is_mixed(plan: Plan, node: Affine) -> bool:
    return any(isinstance(reader, Mix) for reader in plan.readers[node.name])


def _parts(
    node: Affine,
    whole: bool,
    places: Places,
    widths: Mapping[str, int],
    segments: Mapping[str, Array],
) -> Iterator[Units]:
    """The node's units, cut by the set of segments that they read; one part if `whole`."""
    matrices = _on_whole_sources(node, places, widths)
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
        yield Units(node.name, units, pattern, extents, matrices, node.bias[units])


def _rows_read(is_read: Array) -> tuple[Array, Array]:
    """Of each column the first row that is read, and the end; no row below, and 0, for none."""
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
    bias = np.concatenate([part.bias for part in group])
    return Affine(name, tuple(_trimmed(matrices)), bias, activation)


def _trimmed(matrices: Mapping[str, Array]) -> Iterable[Edge]:
    for source, matrix in matrices.items():
        rows = np.flatnonzero(matrix.any(axis=1))
        if len(rows):
            yield Edge(source, matrix[rows[0] : rows[-1] + 1], start=int(rows[0]))


def _name(group: Group, plan: Plan, taken: Set[str]) -> str:
    """The node's own name where it stayed whole; otherwise where its units came from."""
    first = group[0]
    if len(group) == 1 and len(first.units) == width_of(plan.by_name[first.origin]):
        return first.origin
    whole = joined_name(list(dict.fromkeys(part.origin for part in group)))
    number = next(i for i in count(1) if _numbered(whole, i) not in taken)
    return _numbered(whole, number)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}#{number}"

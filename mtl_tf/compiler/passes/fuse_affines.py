"""The other half of pass 7: units of one level, regrouped by what they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from itertools import count, pairwise

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Array, Edge, Mix, Node, Output, width_of
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import at_places, is_movable, joined_name, levels
from mtl_tf.compiler.passes.unit_groups import Group, Units, best_groups


Places = dict[str, list[tuple[str, int, Array]]]  # origin -> (new node, first unit, units)


def fuse_affines(plan: Plan, batch: int) -> Plan:
    """Regroups the units of all affines that read and are read through matrices."""
    places: Places = {}
    nodes: list[Node] = []
    for level in levels(plan):
        widths = {node.name: width_of(node) for node in nodes}
        joinable: dict[str, list[Affine]] = {}
        for node in level:
            if isinstance(node, Affine) and node.edges and is_movable(plan, node):
                joinable.setdefault(node.activation, []).append(node)
            else:
                nodes.append(_reading(node, places, widths))
        for activation, affines in joinable.items():
            cuts = _segments(affines, places)
            parts = [
                part
                for node in affines
                for part in _parts(node, _is_mixed(plan, node), places, widths, cuts)
            ]
            taken = {node.name for node in nodes}
            for group in best_groups(parts, batch):
                name = _name(group, plan, taken)
                taken.add(name)
                nodes.append(_node(name, group, activation))
                start = 0
                for part in group:
                    places.setdefault(part.origin, []).append((name, start, part.units))
                    start += len(part.units)
    return plan.with_nodes(nodes)


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
    for name, start, units in places.get(source, ()):
        if unit in units:
            return name, start + int(np.flatnonzero(units == unit)[0])
    return source, unit


def _on_whole_sources(node: Affine, places: Places, widths: Mapping[str, int]) -> dict[str, Array]:
    """One matrix per source as it is now, zero in the rows that the node does not read."""
    found: dict[str, Array] = {}
    for edge in node.edges:
        rows = np.arange(edge.start, edge.start + len(edge.weight))
        here = [(edge.source, 0, np.arange(edge.start + len(edge.weight)))]
        for name, start, units in places.get(edge.source, here):
            if name not in found:
                found[name] = np.zeros((widths[name], node.width), edge.weight.dtype)
            read = np.isin(units, rows)
            found[name][start + np.flatnonzero(read)] += edge.weight[units[read] - edge.start]
    return found


def _segments(affines: Iterable[Affine], places: Places) -> dict[str, list[int]]:
    """Where each source is cut by what was one node before, or is read apart."""
    cuts: dict[str, set[int]] = {}
    for node in affines:
        for edge in node.edges:
            for name, start, units in places.get(edge.source, ()):
                cuts.setdefault(name, set()).update((start, start + len(units)))
            if edge.source not in places:
                cuts.setdefault(edge.source, set()).update((edge.start, edge.stop or 0))
    return {name: sorted(cut) for name, cut in cuts.items()}


def _is_mixed(plan: Plan, node: Affine) -> bool:
    return any(isinstance(reader, Mix) for reader in plan.readers[node.name])


def _parts(
    node: Affine,
    whole: bool,
    places: Places,
    widths: Mapping[str, int],
    cuts: Mapping[str, list[int]],
) -> list[Units]:
    """The node's units, cut by the set of segments that they read; one part if `whole`."""
    matrices = _on_whole_sources(node, places, widths)
    segments = [
        (name, start, stop)
        for name in matrices
        for start, stop in pairwise(cuts[name])
        if matrices[name][start:stop].any()
    ]
    read = np.array([matrices[name][a:b].any(axis=0) for name, a, b in segments], bool)
    read = read.reshape(len(segments), node.width)
    if whole:
        read[:] = read.any(axis=1, keepdims=True)
    parts = []
    for pattern in dict.fromkeys(map(tuple, read.T)):
        units = np.flatnonzero(np.all(np.array(pattern, bool) == read.T, axis=1))
        reads = [segment[:2] for segment, reads in zip(segments, pattern, strict=True) if reads]
        on = {name: matrices[name][:, units] for name in dict(reads)}
        parts.append(Units(node.name, units, frozenset(reads), on, node.bias[units]))
    return parts


def _node(name: str, group: Group, activation: str) -> Affine:
    width = sum(len(part.units) for part in group)
    matrices: dict[str, Array] = {}
    start = 0
    for part in group:
        for source, matrix in part.matrices.items():
            if source not in matrices:
                matrices[source] = np.zeros((len(matrix), width), matrix.dtype)
            matrices[source][:, start : start + len(part.units)] = matrix
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

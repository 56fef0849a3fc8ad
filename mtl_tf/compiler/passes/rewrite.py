"""What several passes share: where units were moved to, and small rewrites of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from operator import is_

import numpy as np

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Array,
    Edge,
    Embed,
    Mixture,
    Node,
    Output,
    ProjectedLookup,
    UnitRef,
    Weight,
)
from mtl_tf.compiler.ir.plan import Plan


@dataclass(frozen=True)
class MovedUnits:
    """Units `first` … `stop` of an old node are those of `node` from `start` on."""

    first: int
    stop: int
    node: str
    start: int


class UnitMap:
    """Where the units of replaced nodes are now.

    >>> moved = UnitMap()
    >>> moved.add("a", np.array([0, 1, 5]), "ab", 10)
    >>> moved.place("a", 5), moved.place("b", 5)
    (('ab', 12), ('b', 5))
    >>> [(m.first, m.stop, m.start) for m in moved.ranges("a")]
    [(0, 2, 10), (5, 6, 12)]
    """

    def __init__(self) -> None:
        self._ranges: dict[str, list[MovedUnits]] = {}

    def __contains__(self, node: object) -> bool:
        return node in self._ranges

    def add(self, old: str, units: Array | Sequence[int] | range, new: str, start: int) -> None:
        """Notes that `units` of `old` are the units of `new` from `start` on, in their order."""
        ranges = self._ranges.setdefault(old, [])
        if isinstance(units, range) and units and units.step == 1:
            ends = np.array([len(units)])  # without a search: there is one per field and reader
        else:
            units = np.asarray(units)
            ends = np.append(np.flatnonzero(np.diff(units) != 1) + 1, len(units))
        begin = 0
        for end in ends.tolist() if len(units) else ():
            first, stop = int(units[begin]), int(units[end - 1]) + 1
            ranges.append(MovedUnits(first, stop, new, start + begin))
            begin = end
        ranges.sort(key=lambda moved: moved.first)

    def ranges(self, old: str) -> Sequence[MovedUnits]:
        """Returns where the units of `old` are, in their order."""
        return self._ranges.get(old, ())

    def within(self, old: str, start: int, stop: int) -> Iterator[MovedUnits]:
        """Yields where units `start` … `stop` of `old` are; themselves if they never moved."""
        if old not in self:
            yield MovedUnits(start, stop, old, start)
        for moved in self.ranges(old):
            first, last = max(moved.first, start), min(moved.stop, stop)
            if first < last:
                yield MovedUnits(first, last, moved.node, moved.start + first - moved.first)

    def place(self, old: str, unit: int) -> UnitRef:
        """Returns where a unit is now; see `Node.relocated`."""
        moved = next(self.within(old, unit, unit + 1))
        return moved.node, moved.start

    def edges(self, edge: Edge) -> Iterator[Edge]:
        """Yields the edge on what its source's units are now, a matrix cut by rows."""
        if edge.source not in self:
            yield edge
            return
        for moved in self.within(edge.source, edge.start, edge.start + len(edge.weight)):
            rows = edge.weight.rows(moved.first - edge.start, moved.stop - edge.start)
            yield Edge(moved.node, rows, edge.gate, moved.start)


def with_edges(node: Affine, edges: Iterable[Edge], more_bias: Array | float = 0.0) -> Affine:
    """Returns `node` with other edges, and with `more_bias` added to its bias.

    That is `node` itself where nothing differs, so that a plan that stays the same is not
    built again.
    """
    if np.any(more_bias):
        node = replace(node, bias=cast_like(node.bias.array + more_bias, node.bias))
    edges = tuple(edges)
    if len(edges) == len(node.edges) and all(map(is_, edges, node.edges)):
        return node
    return replace(node, edges=edges)


def constant(name: str, value: Array) -> Affine:
    """Returns a node that is `value` in every row."""
    return Affine(name, (), Weight(value))


def is_constant(node: Node) -> bool:
    return isinstance(node, Affine) and not node.edges


def cast_like(result: Array, like: Weight | Array) -> Weight:
    """Returns `result` in the precision that weights were given in: folding adds no memory."""
    return Weight(np.asarray(result).astype(like.dtype, copy=False))


def contribution(edge: Edge, value: Array) -> Array:
    """Returns what the constant `value` of the edge's source adds to its reader."""
    weight = edge.folded.astype(np.float64)
    return value[edge.start : edge.stop] @ weight if weight.ndim == 2 else value * weight


def without_units(reader: Affine, source: str, value: Array, keep: Array) -> Affine:
    """Returns `reader` reading only the units `keep` of `source`, all others being `value`.

    What it reads are matrices; the others' contribution becomes part of its bias.
    """
    edges: list[Edge] = []
    more = np.zeros(reader.width)
    for edge in reader.edges:
        if edge.source != source:
            edges.append(edge)
            continue
        more += contribution(edge, np.where(keep, 0.0, value))
        rows = keep[edge.start : edge.stop]
        if rows.any():
            start = int(keep[: edge.start].sum())
            weight = edge.weight if rows.all() else Weight(edge.weight.array[rows])
            edges.append(replace(edge, weight=weight, start=start))
    return with_edges(reader, edges, more)


def reads_by_matrices(user: Node, source: str) -> bool:
    """Returns True if `user` reads `source` through matrices only, from its first unit on."""
    return isinstance(user, Affine) and all(
        edge.is_matrix and edge.start == 0 for edge in user.edges_from(source)
    )


def is_movable(plan: Plan, node: Affine) -> bool:
    """Returns True if the node's units may go anywhere: plain matrices before and behind.

    What a `Mixture` reads has to stay in one piece.
    """
    edges = [*node.edges]
    for user in plan.users[node.name]:
        if isinstance(user, Affine):
            edges += user.edges_from(node.name)
        elif not isinstance(user, (Mixture, Output)):
            return False
    return all(edge.is_plain for edge in edges)


def levels(plan: Plan) -> list[list[Node]]:
    """Returns the nodes by their depth: each reads nodes of lower levels only."""
    depths: dict[str, int] = {}
    found: dict[int, list[Node]] = {}
    for node in plan.nodes:
        depth = 1 + max((depths[source] for source in node.inputs), default=0)
        depths[node.name] = depth
        found.setdefault(depth, []).append(node)
    return [found[depth] for depth in sorted(found)]


def remove_dead_nodes(plan: Plan) -> Plan:
    """Returns the plan without the nodes that no output depends on."""
    needed = plan.ancestors(output.name for output in plan.outputs)
    return plan.with_nodes(node for node in plan.nodes if node.name in needed)


def with_lookups(plan: Plan, change: Callable[[Embed], Embed]) -> Plan:
    """Returns the plan with every lookup changed, those of projected rows too."""
    nodes: list[Node] = []
    for node in plan.nodes:
        if isinstance(node, ProjectedLookup):
            terms = (replace(term, embed=change(term.embed)) for term in node.terms)
            node = replace(node, terms=tuple(terms))
        nodes.append(change(node) if isinstance(node, Embed) else node)
    return plan.with_nodes(nodes)


def substituted(nodes: Iterable[Node], new: Mapping[str, Node]) -> list[Node]:
    """Returns `nodes`, those that `new` names replaced."""
    return [new.get(node.name, node) for node in nodes]


def joined_name(names: Sequence[str]) -> str:
    """Returns `Level_1/0+1+2` for three nodes of one level."""
    first, *others = names
    prefix = first.rpartition("/")[0] + "/"
    return "+".join([first, *(name.removeprefix(prefix) for name in others)])


def pack_kernels(plan: Plan) -> Plan:
    """Returns the plan with each affine's matrices as rows of one array, which the graph keeps.

    A plan made of parts of this one (`split_context`) then shares the array.
    """
    return plan.with_nodes(
        _packed(node, plan) if isinstance(node, Affine) else node for node in plan.nodes
    )


def _packed(node: Affine, plan: Plan) -> Affine:
    matrices = [edge.weight for edge in node.edges if edge.is_plain]
    if len(matrices) < 2:
        return node
    names = (f"{node.name}/kernel" + (f"#{i}" if i > 1 else "") for i in count(1))
    name = next(name for name in names if name not in plan.weights)
    kernel = Weight(np.concatenate([matrix.array for matrix in matrices]), name)
    stops = iter(np.cumsum([len(matrix) for matrix in matrices]).tolist())

    def row_range(edge: Edge) -> Edge:
        stop = next(stops)
        return replace(edge, weight=kernel.rows(stop - len(edge.weight), stop))

    edges = tuple(row_range(edge) if edge.is_plain else edge for edge in node.edges)
    return replace(node, edges=edges)

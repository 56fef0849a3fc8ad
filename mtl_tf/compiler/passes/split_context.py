"""One user, many candidates: what the user's fields alone decide is computed once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Array,
    Edge,
    Embed,
    Mask,
    Node,
    Numeric,
    Projected,
    sources_of,
)
from mtl_tf.compiler.ir.plan import Plan


@dataclass(frozen=True)
class _Range:
    """Units `first` … `stop` of a node are, in the node `now`, those from `start` on."""

    first: int
    stop: int
    now: str
    start: int


Moved = dict[str, list[_Range]]
Sums = dict[str, list[str]]  # a sum -> the sums of its parts


def split_context(plan: Plan, context: Collection[str]) -> Plan:
    """The plan for rows that all share the values of the features `context`.

    These features have one row (`Feature.once`), and so has every node that reads
    nothing else. Nodes that hold fields of both sides become one for each; an affine

        act(Σ context edges + Σ candidate edges + bias)

    takes its context edges and its bias from a node of one row, which it adds. All
    weights are those of `plan`, or rows of them: none is copied.

    Run it last. With a plan that was fused with its `context` first, every matrix is
    cut in two at most.
    """
    inputs = tuple(replace(f, once=f.once or f.name in context) for f in plan.inputs)
    single = {feature.name for feature in inputs if feature.once}
    once: set[str] = set()
    moved: Moved = {}
    sums: Sums = {}
    nodes: list[Node] = []
    for node in plan.nodes:
        for new in _split(node, single, once, moved, sums):
            nodes.append(new)
            if single.issuperset(getattr(new, "features", ())) and once.issuperset(sources_of(new)):
                once.add(new.name)
    return Plan(tuple(nodes), inputs)


def _split(node: Node, single: set[str], once: set[str], moved: Moved, sums: Sums) -> list[Node]:
    if isinstance(node, Projected):
        return _summed(node, single, sums)
    if isinstance(node, (Embed, Numeric)):
        return _by_side(node, [field in single for field in node.fields], moved)
    if isinstance(node, Mask) and node.source in moved:
        return _masks(node, once, moved)
    if isinstance(node, Affine):
        return _affines(node, once, moved, sums)
    return [node]


def _by_side(node: Embed | Numeric, is_once: Sequence[bool], moved: Moved) -> list[Node]:
    if len(set(is_once)) < 2:
        return [node]
    new: list[Node] = []
    for suffix, side in (("context", True), ("candidates", False)):
        places = [i for i, each in enumerate(is_once) if each == side]
        new.append(_only(node, f"{node.name}/{suffix}", places))
        _note(moved, node.name, new[-1].name, places, node.dim)
    return new


def _summed(node: Projected, single: set[str], sums: Sums) -> list[Node]:
    """One sum for each side; both look up the same table."""
    sides = {
        "context": tuple(field for field in node.fields if field in single),
        "candidates": tuple(field for field in node.fields if field not in single),
    }
    if not all(sides.values()):
        return [node]
    new: list[Node] = [
        replace(node, name=f"{node.name}/{side}", fields=fields) for side, fields in sides.items()
    ]
    sums[node.name] = [each.name for each in new]
    return new


def _only(node: Embed | Numeric, name: str, places: list[int]) -> Embed | Numeric:
    """The node's fields at `places`."""
    fields = tuple(node.fields[i] for i in places)
    if isinstance(node, Numeric):
        return Numeric(name, fields, _rows(node.vectors, places), _rows(node.biases, places))
    offsets = tuple(node.offsets[i] for i in places)
    sizes = tuple(node.sizes[i] for i in places)
    return replace(node, name=name, fields=fields, offsets=offsets, sizes=sizes)


def _rows(array: Array, places: list[int]) -> Array:
    follow = places == list(range(places[0], places[-1] + 1))
    return array[places[0] : places[-1] + 1] if follow else array[places]


def _masks(node: Mask, once: set[str], moved: Moved) -> list[Node]:
    """One mask for each part that the source fell into."""
    found = [
        next(r for r in moved[node.source] if r.first <= piece * node.dim < r.stop)
        for piece in node.pieces
    ]
    new: list[Node] = []
    for source in dict.fromkeys(r.now for r in found):
        places = [i for i, r in enumerate(found) if r.now == source]
        name = f"{node.name}/{source.rpartition('/')[2]}"
        pieces = tuple(
            (node.pieces[i] * node.dim - found[i].first + found[i].start) // node.dim
            for i in places
        )
        new.append(Mask(name, source, _rows(node.g, places), pieces))
        _note(moved, node.name, new[-1].name, places, node.dim)
    return new


def _note(moved: Moved, old: str, new: str, places: Iterable[int], dim: int) -> None:
    """Remembers that piece `places[i]` of `old` is piece i of `new`; neighbours as one."""
    ranges = moved.setdefault(old, [])
    for i, place in enumerate(places):
        last = ranges[-1] if ranges else None
        if last and last.now == new and last.stop == place * dim:
            ranges[-1] = replace(last, stop=last.stop + dim)
        else:
            ranges.append(_Range(place * dim, (place + 1) * dim, new, i * dim))
    ranges.sort(key=lambda r: r.first)


def _affines(node: Affine, once: set[str], moved: Moved, sums: Sums) -> list[Node]:
    edges = [new for edge in node.edges for new in _cut(edge, moved, sums)]
    shared = tuple(edge for edge in edges if edge.source in once)
    if len(shared) in (0, len(edges)):
        return [replace(node, edges=tuple(edges))]
    row = Affine(f"{node.name}/context", shared, node.bias)
    one = Edge(row.name, np.ones((), node.bias.dtype))
    rest = (edge for edge in edges if edge.source not in once)
    return [row, replace(node, edges=(*rest, one), bias=np.zeros_like(node.bias))]


def _cut(edge: Edge, moved: Moved, sums: Sums) -> Iterator[Edge]:
    """The edge on what its source fell into; of a source of two sides, matrices read columns."""
    if edge.source in sums:
        for name in sums[edge.source]:
            yield replace(edge, source=name)
        return
    if edge.source not in moved:
        yield edge
        return
    stop = edge.start + len(edge.weight)
    for r in moved[edge.source]:
        first, last = max(r.first, edge.start), min(r.stop, stop)
        if first < last:
            weight = edge.weight[first - edge.start : last - edge.start]
            yield Edge(r.now, weight, edge.gate, start=r.start + first - r.first)

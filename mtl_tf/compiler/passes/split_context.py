"""One user, many candidates: what the user's fields alone decide is computed once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import singledispatchmethod

import numpy as np

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Broadcast,
    Edge,
    Embed,
    Mask,
    Mixture,
    Node,
    Numeric,
    Opaque,
    Output,
    ProjectedLookup,
    RowProduct,
    UnitRef,
    Weight,
)
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import UnitMap


def split_context(plan: Plan, context: Collection[str]) -> Plan:
    """Returns the plan for rows that all share the values of the features `context`.

    These features have one row (`InputSpec.per_request`), and so has every node that reads
    nothing else; a `Broadcast` repeats it for the nodes that read candidates too. Nodes that
    hold fields of both kinds become one for each; an affine

        act(Σ context edges + Σ candidate edges + bias)

    has its context edges and its bias in a node of one row, which it adds. All weights are
    those of `plan`, or rows of them: none is copied.

    Run it last. With a plan that was fused with its `context` first, every matrix is
    cut in two at most.
    """
    inputs = tuple(
        replace(spec, per_request=spec.per_request or spec.name in context) for spec in plan.inputs
    )
    names = {spec.name for spec in inputs if spec.per_request}
    if not names:
        return plan
    splitter = _Splitter(names)
    for node in plan.nodes:
        splitter.split(node)
    return Plan(tuple(splitter.nodes), inputs)


class _Splitter:
    """Collects the nodes of a split plan, in order."""

    def __init__(self, context: set[str]) -> None:
        self.context = context
        self.nodes: list[Node] = []
        self.per_request: set[str] = set()
        self.moved = UnitMap()
        self.sums: dict[str, list[str]] = {}  # a sum -> the sums of its parts
        self.broadcasts: dict[str, str] = {}  # a node of one row -> that row for every row

    def add(self, node: Node) -> None:
        """Adds a node, and notes if there is one row of it."""
        self.nodes.append(node)
        read = self.per_request.issuperset(node.inputs)
        if read and self.context.issuperset(node.features):
            self.per_request.add(node.name)

    def rows_of(self, name: str) -> str:
        """Returns the node that has the value of `name` for every row."""
        if name not in self.per_request:
            return name
        if name not in self.broadcasts:
            width = next(node.width for node in self.nodes if node.name == name)
            self.broadcasts[name] = f"{name}/rows"
            self.nodes.append(Broadcast(f"{name}/rows", name, width))
        return self.broadcasts[name]

    def place(self, source: str, unit: int) -> UnitRef:
        return self.rows_of(source), unit

    @singledispatchmethod
    def split(self, node: Node) -> None:
        """Adds the nodes that `node` becomes. One rule per kind that is ever split."""
        self.add(node)

    @split.register(Embed)
    @split.register(Numeric)
    def _(self, node: Embed | Numeric) -> None:
        is_context = [field in self.context for field in node.fields]
        if len(set(is_context)) < 2:
            self.add(node)
            return
        for suffix, wanted in (("context", True), ("candidates", False)):
            places = [i for i, each in enumerate(is_context) if each == wanted]
            part = _only(node, f"{node.name}/{suffix}", places)
            self.moved.add(node.name, _units(places, node.dim), part.name, 0)
            self.add(part)

    @split.register
    def _(self, node: ProjectedLookup) -> None:
        """One sum for each; both look up the same table."""
        parts = {
            "context": tuple(field for field in node.fields if field in self.context),
            "candidates": tuple(field for field in node.fields if field not in self.context),
        }
        if not all(parts.values()):
            self.add(node)
            return
        for suffix, fields in parts.items():
            self.add(replace(node, name=f"{node.name}/{suffix}", fields=fields))
        self.sums[node.name] = [f"{node.name}/{suffix}" for suffix in parts]

    @split.register
    def _(self, node: Mask) -> None:
        """One mask for each part that the source was split into."""
        pieces = [self.moved.place(node.source, piece * node.dim) for piece in node.pieces]
        for source in dict.fromkeys(source for source, _ in pieces):
            places = [i for i, (name, _) in enumerate(pieces) if name == source]
            if source == node.source:
                self.add(node)
                continue
            name = f"{node.name}/{source.rpartition('/')[2]}"
            own = tuple(pieces[i][1] // node.dim for i in places)
            self.moved.add(node.name, _units(places, node.dim), name, 0)
            self.add(Mask(name, source, _rows(node.g, places), own))

    @split.register
    def _(self, node: Affine) -> None:
        edges = [new for edge in node.edges for new in self._cut(edge)]
        shared = tuple(edge for edge in edges if edge.source in self.per_request)
        if len(shared) in (0, len(edges)):
            self.add(replace(node, edges=tuple(edges)))
            return
        row = Affine(f"{node.name}/context", shared, node.bias)
        self.add(row)
        ones = Weight(np.ones((), node.bias.dtype))
        rest = [edge for edge in edges if edge.source not in self.per_request]
        rest.append(Edge(self.rows_of(row.name), ones))
        self.add(replace(node, edges=tuple(rest), bias=Weight(np.zeros_like(node.bias.array))))

    @split.register
    def _(self, node: RowProduct) -> None:
        is_row = self.per_request.issuperset(node.inputs) and node.field in self.context
        self.add(node if is_row else node.relocated(self.place))

    @split.register
    def _(self, node: Mixture) -> None:
        is_row = self.per_request.issuperset(node.inputs)
        self.add(node if is_row else node.relocated(self.place))

    @split.register
    def _(self, node: Output) -> None:
        self.nodes.append(node.relocated(self.place))

    @split.register
    def _(self, node: Opaque) -> None:
        if self.per_request >= {*node.inputs} and self.context >= {*node.features}:
            self.add(node)
            return
        operands = []
        for operand in node.operands:
            if operand.kind == "feature":
                repeated = operand.names[0][0] in self.context
                operands.append(replace(operand, repeated=repeated))
            else:
                names = (tuple(map(self.rows_of, group)) for group in operand.names)
                operands.append(replace(operand, names=tuple(names)))
        self.add(replace(node, operands=tuple(operands)))

    def _cut(self, edge: Edge) -> Iterator[Edge]:
        """The edge on what its source was split into; a matrix reads rows of both parts."""
        if edge.source in self.sums:
            for name in self.sums[edge.source]:
                yield replace(edge, source=name)
        else:
            yield from self.moved.edges(edge)


def _only(node: Embed | Numeric, name: str, places: list[int]) -> Embed | Numeric:
    """The node's fields at `places`."""
    fields = tuple(node.fields[i] for i in places)
    if isinstance(node, Numeric):
        return Numeric(name, fields, _rows(node.vectors, places), _rows(node.biases, places))
    offsets = tuple(node.offsets[i] for i in places)
    sizes = tuple(node.sizes[i] for i in places)
    return replace(node, name=name, fields=fields, offsets=offsets, sizes=sizes)


def _units(pieces: Sequence[int], dim: int) -> list[int]:
    """The units of these pieces of a node."""
    return [piece * dim + unit for piece in pieces for unit in range(dim)]


def _rows(weight: Weight, places: list[int]) -> Weight:
    follow = places == list(range(places[0], places[-1] + 1))
    return weight.rows(places[0], places[-1] + 1) if follow else Weight(weight.array[places])

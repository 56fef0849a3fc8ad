"""The first matrix product of every id is computed when the model is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Array,
    Edge,
    Embed,
    Mask,
    MaskedTable,
    Node,
    Numeric,
    ProjectedLookup,
    ProjectedTerm,
    Weight,
)
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import cost
from mtl_tf.compiler.passes.fuse_inputs import TableStorage, fuse_fields, store_tables
from mtl_tf.compiler.passes.rewrite import UnitMap, is_movable, joined_name, remove_dead_nodes

Order = Mapping[str, bool]  # the fields to project, and whether they come last
Lookups = Mapping[Embed, Sequence[Edge]]  # what can be projected, and who reads it by a matrix


@dataclass(frozen=True, eq=False)
class _Group:
    """Affines that become one, side by side."""

    members: Mapping[Affine, Lookups]

    @cached_property
    def name(self) -> str:
        return joined_name([node.name for node in self.members])

    @cached_property
    def width(self) -> int:
        return sum(node.width for node in self.members)

    @cached_property
    def starts(self) -> dict[str, int]:
        """Each affine's first unit in the whole."""
        ends = np.cumsum([node.width for node in self.members])
        return {n.name: int(end) - n.width for n, end in zip(self.members, ends, strict=True)}


def project_tables(
    plan: Plan,
    budget: int | None = None,
    together: bool = True,
    context: Collection[str] = (),
) -> Plan:
    """Takes matrices on looked-up rows into tables of products, which requests add up.

        Σ_f table_f[id_f] · M_f   becomes   Σ_f projected_f[id_f],   projected_f = table_f · M_f

    and the bias is part of one field's rows, of which every sum has one. A projected row is
    as wide as the product: adding rows pays where vocabularies are small, and is for the
    caller to weigh (`optimize` compares costs). It saves operations too. The tables are made
    at load: the export is not larger for them.

    Args:
        plan: a plan before `fuse`, one field per `Embed`.
        budget: bytes that the projected tables may take in memory, smallest vocabularies
            first; by default as much as the plan's weights.
        together: also make one product of all affines that read nothing but fields, with
            one row for all of them where only some read a field.
        context: fields to put first; see `split_context`.
    """
    budget = cost(plan).bytes if budget is None else budget
    groups = _groups(plan, together)
    affordable = _affordable(groups, budget)
    if not affordable:
        return plan
    fields = {field: field not in context for field in affordable}
    cut = {
        node: _blocks(lookups, fields)
        for group in groups
        for node, lookups in group.members.items()
    }
    storage = store_tables([embeds for blocks in cut.values() for embeds in blocks])
    new: dict[str, list[Node]] = {}
    moved = UnitMap()
    for group in _with_blocks(groups, cut):
        new[next(iter(group.members)).name] = _projected(group, cut, fields, storage)
        for member in group.members:
            moved.add(member.name, range(member.width), group.name, group.starts[member.name])
    # What reads fields alone may go before everything else; a group needs all of it.
    inputs = _inputs(plan)
    nodes: list[Node] = [node for node in plan.nodes if node.name in inputs]
    for node in plan.nodes:
        if node.name in new:
            nodes += [made.relocated(moved.place) for made in new[node.name]]
        elif node.name not in moved and node.name not in inputs:
            nodes.append(node.relocated(moved.place))
    return remove_dead_nodes(plan.with_nodes(nodes))


def _inputs(plan: Plan) -> set[str]:
    """The fields, and their masks."""
    found: set[str] = set()
    for node in plan.nodes:
        if isinstance(node, (Embed, Numeric)) or (isinstance(node, Mask) and node.source in found):
            found.add(node.name)
    return found


def _groups(plan: Plan, together: bool) -> list[_Group]:
    inputs = _inputs(plan)
    found: dict[str, dict[Affine, Lookups]] = {}
    for node in plan.nodes:
        if isinstance(node, Affine) and (lookups := _lookups(plan, node)):
            first = inputs.issuperset(node.inputs)
            free = together and first and is_movable(plan, node)
            found.setdefault(f"/{node.activation}" if free else node.name, {})[node] = lookups
    return [_Group(members) for members in found.values()]


def _lookups(plan: Plan, node: Affine) -> Lookups:
    """Rows of one field, and the node's edges that are matrices on all of them."""
    found: dict[Embed, list[Edge]] = {}
    for edge in node.edges:
        source = plan.by_name[edge.source]
        if (
            isinstance(source, Embed)
            and source.pooling is None
            and len(source.fields) == 1
            and edge.is_plain
            and len(edge.weight) == source.dim
        ):
            found.setdefault(source, []).append(edge)
    return found


def _affordable(groups: Sequence[_Group], budget: int) -> set[str]:
    """The fields whose projected rows fit the budget, smallest vocabularies first."""
    needed: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for group in groups:
        read = {
            source.fields[0]: source.sizes[0]
            for lookups in group.members.values()
            for source in lookups
        }
        for field, size in read.items():
            sizes[field] = size
            needed[field] = needed.get(field, 0) + 4 * size * group.width
    chosen = set()
    budget -= sum(4 * group.width for group in groups)  # a row of zeros for each
    for field in sorted(sizes, key=lambda field: sizes[field]):
        budget -= needed[field]
        if budget < 0:
            break
        chosen.add(field)
    return chosen


def _blocks(lookups: Lookups, fields: Order) -> list[list[Embed]]:
    """The lookups to project, by width; a field that is read twice is in two blocks."""
    found: dict[tuple[int, bool, int], list[Embed]] = {}
    for source in lookups:
        if source.fields[0] in fields:
            kind, turn = (source.dim, isinstance(source.table, MaskedTable)), 0
            while any(source.fields == e.fields for e in found.get((*kind, turn), ())):
                turn += 1
            found.setdefault((*kind, turn), []).append(source)
    return [sorted(embeds, key=lambda embed: fields[embed.fields[0]]) for embeds in found.values()]


def _with_blocks(
    groups: Iterable[_Group], cut: Mapping[Affine, Sequence[Sequence[Embed]]]
) -> list[_Group]:
    """The groups without those that nothing is added up for: they stay as they are."""
    left = [{node: found for node, found in g.members.items() if cut[node]} for g in groups]
    return [_Group(members) for members in left if members]


def _projected(
    group: _Group,
    cut: Mapping[Affine, Sequence[Sequence[Embed]]],
    fields: Order,
    storage: TableStorage,
) -> list[Node]:
    """The group as one sum of projected rows and one affine on it."""
    blocks: list[ProjectedTerm] = []
    biases: list[Array] = []  # those that no block takes
    done: set[Edge] = set()
    for node, lookups in group.members.items():
        bias = node.bias if node.bias.any() else None
        biases.append(node.bias.array if bias is None else np.zeros_like(node.bias.array))
        for embeds in cut[node]:
            matrices = []
            for embed in embeds:
                matrices.append(sum(edge.weight.array for edge in lookups[embed]))
                done.update(lookups[embed])
            joined = fuse_fields(embeds, storage)
            assert isinstance(joined, Embed)
            matrix = Weight(np.concatenate(matrices))
            blocks.append(ProjectedTerm(joined, matrix, group.starts[node.name], bias))
            bias = None
    names = dict.fromkeys(field for block in blocks for field in block.embed.fields)
    total = ProjectedLookup(
        f"{group.name}/projected",
        tuple(sorted(names, key=lambda name: fields[name])),
        tuple(blocks),
    )
    left = np.concatenate(biases)
    edges = [Edge(total.name, Weight(np.ones((), left.dtype))), *_others(group, done)]
    activation = next(iter(group.members)).activation
    return [total, Affine(group.name, tuple(edges), Weight(left), activation)]


def _others(group: _Group, done: Collection[Edge]) -> Iterable[Edge]:
    """The members' other edges; of several members, as matrices for all their units."""
    if len(group.members) == 1:
        return (edge for node in group.members for edge in node.edges if edge not in done)
    wide: dict[tuple[str, int, int], Array] = {}
    for node in group.members:
        start = group.starts[node.name]
        for edge in node.edges:
            if edge not in done:
                rows = (edge.source, edge.start, len(edge.weight))
                if rows not in wide:
                    wide[rows] = np.zeros((len(edge.weight), group.width), edge.weight.dtype)
                wide[rows][:, start : start + node.width] += edge.weight.array
    return (
        Edge(source, Weight(weight), start=start) for (source, start, _), weight in wide.items()
    )

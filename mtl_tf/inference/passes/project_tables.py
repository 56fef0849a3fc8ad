"""Pass 6: the first matrix product of every id, taken when the model is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtl_tf.inference.cost import cost
from mtl_tf.inference.nodes import (
    Affine,
    Array,
    Block,
    Edge,
    Embed,
    Mask,
    Node,
    Numeric,
    Output,
    Projected,
)
from mtl_tf.inference.passes._edges import joined_name
from mtl_tf.inference.passes._join_inputs import Storage, join, joined_tables
from mtl_tf.inference.plan import Plan

_INPUTS = (Embed, Numeric, Mask)
Order = Mapping[str, bool]  # the fields to project, and whether they come last


@dataclass(frozen=True)
class _Group:
    """Affines that become one, side by side."""

    members: tuple[Affine, ...]

    @property
    def name(self) -> str:
        return joined_name([member.name for member in self.members])

    @property
    def width(self) -> int:
        return sum(member.width for member in self.members)

    @property
    def starts(self) -> dict[str, int]:
        """Each member's first unit in the whole."""
        ends = np.cumsum([member.width for member in self.members])
        return {m.name: int(end) - m.width for m, end in zip(self.members, ends, strict=True)}


def project_tables(
    plan: Plan,
    budget: int | None = None,
    together: bool = True,
    context: Collection[str] = (),
) -> Plan:
    """Takes matrices on looked-up rows into tables of products, which requests add up.

        Σ_f table_f[id_f] · M_f   becomes   Σ_f projected_f[id_f],   projected_f = table_f · M_f

    A projected row is as wide as the product: adding rows pays for small vocabularies and
    few rows per request, and is for the caller to weigh (`optimize` compares costs). It
    saves operations too. The tables are made at load: the export is not larger for them.

    Args:
        plan: a plan before `fuse`, one field per `Embed`.
        budget: bytes that the projected tables may take in memory, smallest vocabularies
            first; by default as much as the plan's weights.
        together: also make one product of all affines that read nothing but fields, with
            one row for all of them where only some read a field.
        context: fields to put first; see `split_sides`.
    """
    budget = cost(plan).bytes if budget is None else budget
    groups = _groups(plan, together)
    affordable = _affordable(plan, groups, budget)
    if not affordable:
        return plan
    fields = {field: field not in context for field in affordable}
    storage = joined_tables(
        [block for group in groups for m in group.members for block in _blocks(plan, m, fields)]
    )
    new: dict[str, list[Node]] = {}
    moved: dict[str, tuple[str, int]] = {}
    for group in groups:
        nodes = _projected(plan, group, fields, storage)
        if nodes:
            new[group.members[0].name] = nodes
            moved |= {name: (group.name, start) for name, start in group.starts.items()}
    # What reads fields alone may go before everything else; a group needs all of it.
    nodes = [node for node in plan.nodes if isinstance(node, _INPUTS)]
    for node in plan.nodes:
        if node.name in new:
            nodes += [_reading(made, moved) for made in new[node.name]]
        elif node.name not in moved and not isinstance(node, _INPUTS):
            nodes.append(_reading(node, moved))
    changed = plan.with_nodes(nodes)
    needed = changed.needed(output.name for output in changed.outputs)
    return changed.with_nodes(node for node in changed.nodes if node.name in needed)


def _groups(plan: Plan, together: bool) -> list[_Group]:
    found: dict[str, list[Affine]] = {}
    for node in plan.nodes:
        if isinstance(node, Affine) and any(_projectable(plan, edge) for edge in node.edges):
            free = together and _movable(plan, node)
            found.setdefault(f"/{node.activation}" if free else node.name, []).append(node)
    return [_Group(tuple(members)) for members in found.values()]


def _projectable(plan: Plan, edge: Edge) -> bool:
    source = plan.by_name[edge.source]
    return (
        isinstance(source, Embed)
        and source.pooling is None
        and len(source.fields) == 1
        and edge.weight.ndim == 2
        and edge.gate is None
        and len(edge.weight) == source.dim
    )


def _movable(plan: Plan, node: Affine) -> bool:
    """Whether its units may be part of a wider node: fields before it, matrices around it."""
    edges = [*node.edges]
    if not all(isinstance(plan.by_name[edge.source], _INPUTS) for edge in edges):
        return False
    for reader in plan.readers[node.name]:
        if isinstance(reader, Affine):
            edges += [edge for edge in reader.edges if edge.source == node.name]
        elif not isinstance(reader, Output):
            return False
    return all(edge.weight.ndim == 2 and edge.gate is None for edge in edges)


def _affordable(plan: Plan, groups: Sequence[_Group], budget: int) -> set[str]:
    """The fields whose projected rows fit the budget, smallest vocabularies first."""
    needed: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for group in groups:
        read = {
            source.fields[0]: source.sizes[0]
            for member in group.members
            for source in _sources(plan, member)
        }
        for field, size in read.items():
            sizes[field] = size
            needed[field] = needed.get(field, 0) + 4 * size * group.width
    chosen = set()
    for field in sorted(sizes, key=lambda field: sizes[field]):
        budget -= needed[field]
        if budget < 0:
            break
        chosen.add(field)
    return chosen


def _sources(plan: Plan, node: Affine) -> Iterable[Embed]:
    for edge in node.edges:
        source = plan.by_name[edge.source]
        if isinstance(source, Embed) and _projectable(plan, edge):
            yield source


def _blocks(plan: Plan, node: Affine, fields: Order) -> list[list[Embed]]:
    """The lookups to project, by width; a field that is read twice is in two blocks."""
    found: dict[tuple[int, int], list[Embed]] = {}
    for source in dict.fromkeys(_sources(plan, node)):
        if source.fields[0] in fields:
            turn = 0
            while any(source.fields == e.fields for e in found.get((source.dim, turn), ())):
                turn += 1
            found.setdefault((source.dim, turn), []).append(source)
    return [sorted(embeds, key=lambda embed: fields[embed.fields[0]]) for embeds in found.values()]


def _projected(plan: Plan, group: _Group, fields: Order, storage: Storage) -> list[Node]:
    """The group as one sum of projected rows and one affine on it."""
    blocks: list[Block] = []
    done: set[Edge] = set()
    for member in group.members:
        for embeds in _blocks(plan, member, fields):
            matrices = []
            for embed in embeds:
                edges = [
                    e for e in member.edges if e.source == embed.name and _projectable(plan, e)
                ]
                matrices.append(sum(edge.weight for edge in edges))
                done.update(edges)
            joined = join(embeds, storage)
            assert isinstance(joined, Embed)
            blocks.append(Block(joined, np.concatenate(matrices), group.starts[member.name]))
    if not blocks:
        return []
    names = dict.fromkeys(field for block in blocks for field in block.embed.fields)
    total = Projected(
        f"{group.name}/projected",
        tuple(sorted(names, key=lambda name: fields[name])),
        tuple(blocks),
    )
    bias = np.concatenate([member.bias for member in group.members])
    edges = [Edge(total.name, np.ones((), bias.dtype)), *_others(group, done)]
    return [total, Affine(group.name, tuple(edges), bias, group.members[0].activation)]


def _others(group: _Group, done: Collection[Edge]) -> Iterable[Edge]:
    """The members' other edges; of several members, as matrices for all their units."""
    if len(group.members) == 1:
        return (edge for edge in group.members[0].edges if edge not in done)
    wide: dict[tuple[str, int, int], Array] = {}
    for member in group.members:
        start = group.starts[member.name]
        for edge in member.edges:
            if edge not in done:
                rows = (edge.source, edge.start, len(edge.weight))
                if rows not in wide:
                    wide[rows] = np.zeros((len(edge.weight), group.width), edge.weight.dtype)
                wide[rows][:, start : start + member.width] += edge.weight
    return (Edge(source, weight, start=start) for (source, start, _), weight in wide.items())


def _reading(node: Node, moved: dict[str, tuple[str, int]]) -> Node:
    """A node reading the whole where it read a member."""
    if isinstance(node, Output):
        (source, unit), *times = [_moved_unit(*factor, moved) for factor in node.factors]
        return replace(node, source=source, unit=unit, times=tuple(times))
    if isinstance(node, Affine) and any(edge.source in moved for edge in node.edges):
        return replace(node, edges=tuple(_moved_edge(edge, moved) for edge in node.edges))
    return node


def _moved_unit(source: str, unit: int, moved: dict[str, tuple[str, int]]) -> tuple[str, int]:
    name, start = moved.get(source, (source, 0))
    return name, start + unit


def _moved_edge(edge: Edge, moved: dict[str, tuple[str, int]]) -> Edge:
    if edge.source not in moved or edge.weight.ndim != 2:
        return edge  # a diagonal's or a mixture's source stays as it is
    name, start = moved[edge.source]
    return replace(edge, source=name, start=start + edge.start)

"""Fields of equal width become one lookup, one product, one mask: a half of `fuse`."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtl_tf.compiler.ir.nodes import (
    Affine,
    Edge,
    Embed,
    Mask,
    MaskedTable,
    Node,
    Numeric,
    Weight,
)
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.ir.weights import adjacent
from mtl_tf.compiler.passes.rewrite import UnitMap, cast_like, with_edges

Field = Embed | Numeric

_LARGE = 16 << 20  # bytes that are worth no copy

FusedTables = dict[tuple[Weight, ...], Weight]
"""What tables were copied into, so that alternative plans share one copy."""


def fuse_inputs(
    plan: Plan, context: Collection[str] = (), fused_tables: FusedTables | None = None
) -> Plan:
    """Fuses single fields that the same nodes read, and their masks.

    Users then have one matrix on the fused node in place of one per field. Fields that
    anything but masks and matrices reads stay alone. Fields in `context` come first.
    """
    groups = [
        sorted(members, key=lambda member: member.fields[0] not in context)
        for members in _groups(plan)
    ]
    storage = store_tables(groups, fused_tables)
    new: list[Node] = []
    moved = UnitMap()
    for members in groups:
        fused = fuse_fields(members, storage)
        new.append(fused)
        for index, member in enumerate(members):
            moved.add(member.name, range(member.dim), fused.name, index * member.dim)
        masks = _fuse_masks(plan, fused, members, moved)
        new += [] if masks is None else [masks]
    rest = [node for node in plan.nodes if node.name not in moved]
    return plan.with_nodes(
        [*new, *(_reading(node, moved) if isinstance(node, Affine) else node for node in rest)]
    )


def _groups(plan: Plan) -> list[list[Field]]:
    """Fields to fuse: same kind, same width, same users."""
    found: dict[Hashable, list[Field]] = {}
    whole = _read_whole(plan)
    for node in plan.nodes:
        if isinstance(node, (Embed, Numeric)) and len(node.fields) == 1 and node.name in whole:
            found.setdefault(_key(plan, node), []).append(node)
    return list(found.values())


def _key(plan: Plan, node: Field) -> Hashable:
    direct = frozenset(user.name for user in plan.users[node.name] if isinstance(user, Affine))
    if isinstance(node, Numeric):
        return ("numeric", node.dim, direct)
    if node.pooling is None:
        return ("categorical", node.dim, direct, isinstance(node.table, MaskedTable))
    length = plan.feature(node.fields[0]).shape
    if None in length:  # two multivalued fields of unknown length cannot be stacked
        return node.name
    return ("multivalued", node.dim, direct, node.pooling, node.weighted, length)


def _read_whole(plan: Plan) -> set[str]:
    """The nodes that only matrices, and masks that only matrices read, use."""
    found = {node.name for node in plan.nodes}
    for node in reversed(plan.nodes):
        if isinstance(node, Affine):
            found -= {e.source for e in node.edges if not e.is_matrix or e.start}
        elif not isinstance(node, Mask) or node.name not in found:
            found -= {*node.inputs}
    return found


@dataclass(frozen=True)
class TableStorage:
    """Where each table is stored: a weight that holds several, and its first row there."""

    weights: dict[Weight, Weight]
    starts: dict[Weight, int]


def store_tables(
    groups: Sequence[Sequence[Field]], fused_tables: FusedTables | None = None
) -> TableStorage:
    """Returns one weight per group of fields; groups that share a table share their weight.

    Tables that are all rows of one array, without gaps, stay there: nothing is copied. So do
    those of several groups that together are large and fill one array.
    """
    together: list[dict[Weight, None]] = []
    for members in groups:
        tables = dict.fromkeys(m.base_table for m in members if isinstance(m, Embed))
        for other in [other for other in together if other.keys() & tables.keys()]:
            together.remove(other)
            tables = other | tables
        together.append(tables)
    together = _without_copies(together)
    storage = TableStorage({}, {})
    for tables in filter(None, together):
        parts = sorted(tables, key=lambda part: (part.name, part.start))
        whole = adjacent(parts)
        if whole is None:
            parts = list(tables)
            known = {} if fused_tables is None else fused_tables
            if tuple(parts) not in known:
                name = _counted_name([str(part) for part in parts])
                known[tuple(parts)] = Weight(np.concatenate([p.array for p in parts]), name)
            whole = known[tuple(parts)]
        firsts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        for part, first in zip(parts, firsts, strict=False):
            storage.weights[part], storage.starts[part] = whole, first
    return storage


def _without_copies(groups: list[dict[Weight, None]]) -> list[dict[Weight, None]]:
    """The groups; as one where each would be a large copy, and all are rows of one array."""
    every = dict.fromkeys(table for tables in groups for table in tables)
    large = sum(table.nbytes for table in every) > _LARGE
    parts = sorted(every, key=lambda part: (part.name, part.start))
    return [every] if len(groups) > 1 and large and adjacent(parts) is not None else groups


def fuse_fields(members: Sequence[Field], storage: TableStorage) -> Field:
    """Returns fields of one kind and width as one node, its table among those of `storage`.

    Tables under masks become one, of one part for each.
    """
    first, name = members[0], _counted_name([member.name for member in members])
    fields = tuple(member.fields[0] for member in members)
    if isinstance(first, Numeric):
        numerics = [member for member in members if isinstance(member, Numeric)]
        vectors = np.concatenate([numeric.vectors.array for numeric in numerics])
        biases = np.concatenate([numeric.biases.array for numeric in numerics])
        return Numeric(name, fields, Weight(vectors), Weight(biases))
    embeds = [member for member in members if isinstance(member, Embed)]
    table: Weight | MaskedTable
    starts: dict[Weight | MaskedTable, int]
    masked = [embed.table for embed in embeds if isinstance(embed.table, MaskedTable)]
    if masked:
        table, starts = _fuse_masked(masked, storage)
    else:
        table = storage.weights[first.base_table]
        starts = {each: storage.starts[each] for each in (e.base_table for e in embeds)}
    return replace(
        first,
        name=name,
        fields=fields,
        table=table,
        offsets=tuple(starts[embed.table] + embed.offsets[0] for embed in embeds),
        sizes=tuple(embed.sizes[0] for embed in embeds),
    )


def _fuse_masked(
    tables: Sequence[MaskedTable], storage: TableStorage
) -> tuple[MaskedTable, dict[Weight | MaskedTable, int]]:
    """The tables below each other, and the first row of each."""
    parts = list(dict.fromkeys(tables))
    firsts = np.cumsum([0, *(len(table) for table in parts)]).tolist()
    fused = MaskedTable(
        storage.weights[parts[0].source],
        Weight(np.concatenate([table.g.array for table in parts])),
        tuple(storage.starts[t.source] + start for t in parts for start in t.starts),
        tuple(size for table in parts for size in table.sizes),
    )
    return fused, dict(zip(parts, firsts, strict=False))


def _fuse_masks(plan: Plan, fused: Field, members: Sequence[Field], moved: UnitMap) -> Mask | None:
    """All masks over the members as one node, each reader's side by side."""
    order: dict[frozenset[str], list[tuple[int, Mask]]] = {}
    for piece, member in enumerate(members):
        for mask in plan.users[member.name]:
            if isinstance(mask, Mask):
                behind = frozenset(user.name for user in plan.users[mask.name])
                order.setdefault(behind, []).append((piece, mask))
    masks = [entry for entries in order.values() for entry in entries]
    if not masks:
        return None
    g = np.concatenate([mask.g.array for _, mask in masks])
    name = f"{fused.name}/masked"
    for index, (_, mask) in enumerate(masks):
        moved.add(mask.name, range(mask.dim), name, index * mask.dim)
    return Mask(name, fused.name, Weight(g), tuple(piece for piece, _ in masks))


def _reading(node: Affine, moved: UnitMap) -> Affine:
    """The node's edges on the fused nodes; neighbors become one matrix."""
    on_fused = [new for e in node.edges if e.source in moved for new in moved.edges(e)]
    on_fused.sort(key=lambda edge: (edge.source, edge.start))
    runs: list[list[Edge]] = []
    for edge in on_fused:
        last = runs[-1][-1] if runs else None
        if last and last.source == edge.source and last.stop == edge.start:
            runs[-1].append(edge)
        else:
            runs.append([edge])
    rest = [edge for edge in node.edges if edge.source not in moved]
    return with_edges(node, [*map(_joined, runs), *rest])


def _joined(run: Sequence[Edge]) -> Edge:
    """Matrices on units that follow each other, as one."""
    first = run[0]
    if len(run) == 1 and first.gate is None:
        return first
    weight = cast_like(np.concatenate([edge.folded for edge in run]), first.weight)
    return Edge(first.source, weight, start=first.start)


def _counted_name(names: Iterable[str]) -> str:
    """`city+39` for forty fields."""
    first, *others = names
    return f"{first}+{len(others)}" if others else first

"""Half of pass 7: fields of equal width into one lookup, one product, one mask."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

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
    Place,
)
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.rewrite import reads_by_matrices, with_edges

Field = Embed | Numeric


def fuse_inputs(plan: Plan, context: Collection[str] = ()) -> Plan:
    """Joins single fields that the same nodes read, and their masks.

    Readers then have one matrix on the joined node in place of one per field. Fields
    that anything but masks and matrices reads stay alone. Fields in `context` come first.
    """
    blocks = [
        sorted(members, key=lambda member: member.fields[0] not in context)
        for members in _blocks(plan)
    ]
    storage = joined_tables(blocks)
    new: list[Node] = []
    places: dict[str, Place] = {}
    for members in blocks:
        joined = join(members, storage)
        new.append(joined)
        places |= {m.name: (joined.name, i * m.dim) for i, m in enumerate(members)}
        masks = _join_masks(plan, joined, members, places)
        new += [] if masks is None else [masks]
    taken = {node.name for members in blocks for node in members} | places.keys()
    rest = [node for node in plan.nodes if node.name not in taken]
    return plan.with_nodes(
        [*new, *(_moved(node, places) if isinstance(node, Affine) else node for node in rest)]
    )


def _blocks(plan: Plan) -> list[list[Field]]:
    """Fields to join: same kind, same width, same readers."""
    found: dict[Hashable, list[Field]] = {}
    for node in plan.nodes:
        if isinstance(node, (Embed, Numeric)) and len(node.fields) == 1 and _joinable(plan, node):
            found.setdefault(_key(plan, node), []).append(node)
    return list(found.values())


def _key(plan: Plan, node: Field) -> Hashable:
    direct = frozenset(r.name for r in plan.readers[node.name] if isinstance(r, Affine))
    if isinstance(node, Numeric):
        return ("number", node.dim, direct)
    if node.pooling is None:
        return ("id", node.dim, direct, isinstance(node.table, MaskedTable))
    length = plan.feature(node.fields[0]).shape
    if None in length:  # two bags of unknown length cannot be stacked
        return node.name
    return ("bag", node.dim, direct, node.pooling, node.weighted, length)


def _joinable(plan: Plan, node: Field) -> bool:
    for reader in plan.readers[node.name]:
        behind = plan.readers[reader.name] if isinstance(reader, Mask) else [reader]
        source = reader.name if isinstance(reader, Mask) else node.name
        if not all(reads_by_matrices(last, source) for last in behind):
            return False
    return True


@dataclass(frozen=True)
class Storage:
    """Where each stored table went: an array that holds several, and its first row there."""

    arrays: dict[int, Array]
    starts: dict[int, int]


def joined_tables(blocks: Sequence[Sequence[Field]]) -> Storage:
    """One array per block; blocks that share a table share their array."""
    groups: list[dict[int, Array]] = []
    for members in blocks:
        tables = {id(m.stored): m.stored for m in members if isinstance(m, Embed)}
        for group in [group for group in groups if group.keys() & tables.keys()]:
            groups.remove(group)
            tables = group | tables
        groups.append(tables)
    arrays: dict[int, Array] = {}
    starts: dict[int, int] = {}
    for group in filter(None, groups):
        parts = list(group.values())
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        firsts = np.cumsum([0, *(len(part) for part in parts)])
        for key, first in zip(group, firsts, strict=False):
            arrays[key], starts[key] = whole, int(first)
    return Storage(arrays, starts)


def join(members: Sequence[Field], storage: Storage) -> Field:
    """Fields of one kind and width as one node, its table among those of `storage`.

    Tables under masks become one, of one part for each.
    """
    first, name = members[0], _counted_name([member.name for member in members])
    fields = tuple(member.fields[0] for member in members)
    if isinstance(first, Numeric):
        numbers = [member for member in members if isinstance(member, Numeric)]
        vectors = np.concatenate([number.vectors for number in numbers])
        return Numeric(name, fields, vectors, np.concatenate([n.biases for n in numbers]))
    embeds = [member for member in members if isinstance(member, Embed)]
    table: Array | MaskedTable
    masked = [embed.table for embed in embeds if isinstance(embed.table, MaskedTable)]
    if masked:
        table, starts = _under_masks(masked, storage)
    else:
        table, starts = storage.arrays[id(first.table)], storage.starts
    return replace(
        first,
        name=name,
        fields=fields,
        table=table,
        offsets=tuple(starts[id(embed.table)] + embed.offsets[0] for embed in embeds),
        sizes=tuple(embed.sizes[0] for embed in embeds),
    )


def _under_masks(
    tables: Sequence[MaskedTable], storage: Storage
) -> tuple[MaskedTable, dict[int, int]]:
    """The tables below each other, and the first row of each."""
    parts = list({id(table): table for table in tables}.values())
    firsts = np.cumsum([0, *(len(table) for table in parts)])
    joined = MaskedTable(
        storage.arrays[id(parts[0].source)],
        np.concatenate([table.g for table in parts]),
        tuple(storage.starts[id(t.source)] + start for t in parts for start in t.starts),
        tuple(size for table in parts for size in table.sizes),
    )
    return joined, {id(t): int(first) for t, first in zip(parts, firsts, strict=False)}


def _join_masks(
    plan: Plan, joined: Field, members: Sequence[Field], places: dict[str, Place]
) -> Mask | None:
    """All masks over the members as one node, each reader's side by side."""
    order: dict[frozenset[str], list[tuple[int, Mask]]] = {}
    for piece, member in enumerate(members):
        for mask in plan.readers[member.name]:
            if isinstance(mask, Mask):
                behind = frozenset(reader.name for reader in plan.readers[mask.name])
                order.setdefault(behind, []).append((piece, mask))
    masks = [entry for entries in order.values() for entry in entries]
    if not masks:
        return None
    g = np.concatenate([mask.g for _, mask in masks])
    name = f"{joined.name}/masked"
    places |= {mask.name: (name, i * mask.dim) for i, (_, mask) in enumerate(masks)}
    return Mask(name, joined.name, g, tuple(piece for piece, _ in masks))


def _moved(node: Affine, places: dict[str, Place]) -> Affine:
    """The node's edges on the joined nodes; neighbours become one matrix."""
    moved = [edge for edge in node.edges if edge.source in places]
    moved.sort(key=lambda edge: places[edge.source])
    runs: list[tuple[Place, list[Array]]] = []  # where a matrix starts, and its parts
    end: Place | None = None
    for edge in moved:
        source, start = places[edge.source]
        if (source, start) != end:
            runs.append(((source, start), []))
        runs[-1][1].append(edge.folded)
        end = source, start + len(edge.weight)
    edges = [
        Edge(source, parts[0] if len(parts) == 1 else np.concatenate(parts), start=start)
        for (source, start), parts in runs
    ]
    rest = [edge for edge in node.edges if edge.source not in places]
    return with_edges(node, [*edges, *rest])


def _counted_name(names: Iterable[str]) -> str:
    """`city+39` for forty fields."""
    first, *others = names
    return f"{first}+{len(others)}" if others else first

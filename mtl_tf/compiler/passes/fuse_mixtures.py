"""The mixtures of one level become one product of shares and experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mtl_tf.compiler.ir.nodes import Affine, Mixture, Node, Output, UnitRef, Weight
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import cost
from mtl_tf.compiler.passes.rewrite import UnitMap, joined_name, levels

_NEVER = -1e9  # a logit of which the share is exactly 0


def fuse_mixtures(plan: Plan, batch: int = 64) -> Plan:
    """Mixes for all readers of a level at once, where that is estimated to be faster.

        m_r = Σ_e softmax(g_r)_e · h_e for readers r   becomes   M = softmax(G) · H

    with a row of G for each reader and a row of H for each expert. A gate that does not
    see one of the experts (CGC, PLE) gets the logit −10⁹ for it.

    Args:
        plan: a plan before `project_tables` and `fuse`.
        batch: rows per request that the choice is made for.
    """
    for group in _groups(plan):
        joined = _joined(plan, group)
        if cost(joined).microseconds(batch) < cost(plan).microseconds(batch):
            plan = joined
    return plan


class _Group(NamedTuple):
    """Mixtures that have experts in common."""

    experts: frozenset[UnitRef]
    names: tuple[str, ...]


def _groups(plan: Plan) -> list[tuple[str, ...]]:
    found: list[_Group] = []
    for level in levels(plan):
        here: dict[int, list[_Group]] = {}
        for node in level:
            if isinstance(node, Mixture) and _is_free(plan, node):
                groups, group = here.setdefault(node.units, []), _Group(frozenset(), ())
                new = _Group(frozenset(node.experts), (node.name,))
                for other in [g for g in groups if g.experts & new.experts]:
                    groups.remove(other)
                    group = _Group(group.experts | other.experts, group.names + other.names)
                groups.append(_Group(group.experts | new.experts, group.names + new.names))
        found += [group for groups in here.values() for group in groups]
    return [group.names for group in found if len(group.names) > 1]


def _is_free(plan: Plan, node: Mixture) -> bool:
    """True if users can read it as units of another node, and gates can get more units."""
    if len(set(node.experts)) < len(node.experts):  # one unit of a gate could not stand for both
        return False
    for reader in plan.users[node.name]:
        matrices = isinstance(reader, Affine) and all(
            edge.is_matrix for edge in reader.edges_from(node.name)
        )
        if not matrices and not isinstance(reader, (Mixture, Output)):
            return False
    return all(_is_own(plan, node, gate) for gate in node.gates)


def _is_own(plan: Plan, node: Mixture, gate: UnitRef) -> bool:
    source = plan.by_name[gate[0]]
    return (
        isinstance(source, Affine)
        and source.activation == "linear"
        and plan.users[source.name] == (node,)
        and [name for name, _ in node.gates].count(source.name) == 1
        and source.width == len(node.experts)
        and all(edge.is_matrix for edge in source.edges)
    )


def _joined(plan: Plan, names: Sequence[str]) -> Plan:
    mixes = [node for node in plan.nodes if isinstance(node, Mixture) and node.name in names]
    order = {node.name: index for index, node in enumerate(plan.nodes)}
    experts = sorted(
        {place for mix in mixes for place in mix.experts},
        key=lambda place: (order[place[0]], place[1]),
    )
    gates = tuple(gate for mix in mixes for gate in mix.gates)
    joined = Mixture(joined_name(names), tuple(experts), gates, mixes[0].units)
    new: dict[str, Node] = {mixes[0].name: joined}
    for mix in mixes:
        columns = [experts.index(place) for place in mix.experts]
        for source, _ in mix.gates:
            gate = plan.by_name[source]
            assert isinstance(gate, Affine)
            new[source] = _widened(gate, columns, len(experts))
    moved, start = UnitMap(), 0
    for mix in mixes:
        moved.add(mix.name, range(mix.width), joined.name, start)
        start += mix.width
    return plan.with_nodes(_rewritten(plan, new, moved, joined.name))


def _widened(gate: Affine, columns: Sequence[int], width: int) -> Affine:
    """The gate with its units at `columns` of `width`, and never a share for the others."""
    bias = np.full(width, _NEVER, gate.bias.dtype)
    bias[columns] = gate.bias.array
    edges = []
    for edge in gate.edges:
        weight = np.zeros((len(edge.weight), width), edge.weight.dtype)
        weight[:, columns] = edge.folded
        edges.append(replace(edge, weight=Weight(weight), gate=None))
    return replace(gate, edges=tuple(edges), bias=Weight(bias))


def _rewritten(plan: Plan, new: dict[str, Node], moved: UnitMap, name: str) -> Iterator[Node]:
    """All nodes by level, reading the joined node in place of those that it replaces."""
    for node in (node for level in levels(plan) for node in level):
        node = new.get(node.name, node)
        if node.name in moved and node.name != name:
            continue  # it is part of the joined one
        yield node.relocated(moved.place)

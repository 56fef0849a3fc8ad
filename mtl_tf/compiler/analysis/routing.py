"""The way from fields to tasks, as blocks and links: what a person draws on a board."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mtl_tf.compiler.analysis.sharing import labels, owners
from mtl_tf.compiler.ir.mask_share import mask_shares
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, Mask, Mixture, Node, Numeric
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes import fold_dimension_gates


@dataclass(frozen=True)
class Block:
    """A field, a sub-network or a task.

    Attributes:
        name: the node's name; of a field and a task, its own.
        label: what to call it: field, task, `shared`; numbered where that is not unique.
        owner: the task that it belongs to, or None.
        level: 0 for fields, then the sub-networks' levels; tasks have the last one.
        used: whether it can change some task's score.
    """

    name: str
    label: str
    owner: str | None
    level: int
    used: bool = True


@dataclass(frozen=True)
class Link:
    """An open connection between two blocks.

    Attributes:
        strength: in (0, 1]. Field → sub-network: share of the field's values that the
            mask lets through. Between sub-networks: mean gate ẑ over the units, times
            the mean |α| of a stitch; 1.0 without a gate. None where it depends on the
            example (a mixture of experts).
    """

    source: str
    target: str
    strength: float | None = 1.0


@dataclass(frozen=True)
class Routing:
    """Blocks in drawing order and the open links between them; closed ones are absent."""

    blocks: tuple[Block, ...]
    links: tuple[Link, ...]
    titles: tuple[str, ...]

    def level(self, number: int) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.level == number)


def routing(plan: Plan) -> Routing:
    """Returns the blocks and open links of a plan from `capture`.

    A tower is one block with its task. A node that only routes or mixes into one
    sub-network is a part of it. What feeds the softmax of a mixture is left out.
    """
    plan = fold_dimension_gates(plan)
    home = _homes(plan)
    links = _links(plan, home)
    links, home = _without_routers(plan, links, home)
    blocks = _blocks(plan, links, home)
    open_links = tuple(link for link in links.values() if link.strength != 0)
    used = _leading_to(set(plan.tasks), open_links)
    return Routing(
        tuple(replace(block, used=block.name in used) for block in blocks),
        open_links,
        _titles(blocks),
    )


_Links = dict[tuple[str, str], Link]


def _homes(plan: Plan) -> dict[str, str]:
    """Node -> the block that shows it; masks and the gates of mixtures have none."""
    mixtures = [node for node in plan.nodes if isinstance(node, Mixture)]
    gates = {gate for node in mixtures for gate, _ in node.gates}
    home = {}
    for node in plan.nodes:
        if isinstance(node, (Embed, Numeric)):
            home[node.name] = node.fields[0]
        elif not isinstance(node, Mask) and node.name not in gates:
            home[node.name] = node.name
    tails: dict[str, set[str]] = {}
    towers = [output for output in plan.outputs if not output.times]
    for output in towers:
        tails.setdefault(_layer(output.source), set()).add(output.task)
    for output in plan.outputs:
        home[output.name] = output.task
    for output in towers:
        tower = _layer(output.source)
        if len(tails[tower]) == 1:
            home |= {name: output.task for name in home if _layer(name) == tower}
    return home


def _links(plan: Plan, home: dict[str, str]) -> _Links:
    """Every link between two blocks, closed ones with strength 0."""
    links: _Links = {}
    shares = mask_shares(plan)
    for node in plan.nodes:
        if node.name not in home:
            continue
        for source, strength in _read(node):
            share: float | None = 1.0
            if isinstance(mask := plan.by_name[source], Mask):
                source = mask.source
                share = shares[mask.name]
            if source not in home or home[source] == home[node.name]:
                continue
            if strength is not None:
                strength *= 1.0 if share is None else share
            pair = (home[source], home[node.name])
            known = links.get(pair)
            if known is None or (known.strength or 0.0) < (strength or 0.0):
                links[pair] = Link(*pair, strength)
    return links


def _read(node: Node) -> Iterable[tuple[str, float | None]]:
    """What a node reads, and how strongly."""
    if isinstance(node, Affine):
        return [(edge.source, _strength(edge)) for edge in node.edges]
    if isinstance(node, Mixture):
        return [(expert, None) for expert, _ in node.experts]
    return [(source, 1.0) for source in node.inputs]


def _strength(edge: Edge) -> float:
    if not edge.is_open:
        return 0.0
    gate = 1.0 if edge.gate is None else float(np.mean(edge.gate.array))
    weight = 1.0 if edge.weight.ndim == 2 else float(np.mean(np.abs(edge.weight.array)))
    return min(1.0, gate * weight)


def _without_routers(
    plan: Plan, links: _Links, home: dict[str, str]
) -> tuple[_Links, dict[str, str]]:
    """What only sums or mixes, and is all that its readers read, joins them."""
    for node in plan.nodes:
        readers = [target for source, target in links if source == node.name]
        others = [target for source, target in links if source != node.name]
        if not _only_routes(node) or not readers or set(readers) & set(others):
            continue
        moved: _Links = {}
        for (source, target), link in links.items():
            if target == node.name:
                moved |= {(source, r): replace(link, target=r) for r in readers}
            elif source != node.name:
                moved[source, target] = link
        links = moved
        home = {name: block for name, block in home.items() if block != node.name}
    return links, home


def _only_routes(node: Node) -> bool:
    if isinstance(node, Mixture):
        return True
    return isinstance(node, Affine) and node.activation == "linear" and not node.bias.any()


def _blocks(plan: Plan, links: _Links, home: dict[str, str]) -> list[Block]:
    fields = list(dict.fromkeys(n.fields[0] for n in plan.nodes if isinstance(n, (Embed, Numeric))))
    inner = [name for name in dict.fromkeys(home.values()) if name not in (*fields, *plan.tasks)]
    owner = owners(plan, inner)
    level = dict.fromkeys(fields, 0)
    for name in inner:  # in topological order
        level[name] = 1 + max((level[s] for s, t in links if t == name), default=0)
    last = 1 + max(level.values(), default=0)
    label = labels(owner, level)
    blocks = [Block(field, field, None, 0) for field in fields]
    blocks += [Block(name, label[name], owner[name], level[name]) for name in inner]
    products = {output.task for output in plan.outputs if output.times}
    return blocks + [Block(task, task, task, last + (task in products)) for task in plan.tasks]


def _leading_to(tasks: set[str], links: Iterable[Link]) -> set[str]:
    """Blocks from which an open way leads to a task."""
    found = set(tasks)
    while more := {link.source for link in links if link.target in found} - found:
        found |= more
    return found


def _titles(blocks: list[Block]) -> tuple[str, ...]:
    """A title per level: the layer's name, where it is one layer."""
    last = min(block.level for block in blocks if block.owner == block.name)
    titles = ["fields"]
    for level in range(1, last):
        layers = {_layer(block.name) for block in blocks if block.level == level}
        one = layers.pop() if len(layers) == 1 else f"Level_{level}"
        titles.append(one.replace("_", " "))
    products = any(block.level > last for block in blocks)
    return (*titles, "tasks", "products") if products else (*titles, "tasks")


def _layer(name: str) -> str:
    """`Level_2/subspace/1` -> `Level_2`."""
    return name.partition("/")[0]

"""A plan as a sequence of tensor operations, for whichever `Ops` (`ops.py`) carries them out.

TensorFlow's (in `lower.py`) build the served graph, the counting ones (in `cost.py`) say
what that graph costs: both see the same operations because both come from here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import LINKS
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.emit_inputs import InputEmitter
from mtl_tf.compiler.lowering.ops import Ops, Tensor

Part = tuple[str, int, int]  # node, first unit, end


class Emitter:
    """Emits the operations of one plan once; every node's value is emitted once."""

    def __init__(
        self, plan: Plan, ops: Ops, features: Mapping[str, Tensor], check_ids: bool = False
    ):
        self.plan = plan
        self.ops = ops
        self.features = features
        self._inputs = InputEmitter(plan, ops, features, check_ids)
        self._values: dict[str, Tensor] = {}
        self._parts: dict[Part, Tensor] = {}
        self._joined: dict[tuple[Part, ...], Tensor] = {}

    def scores(self) -> dict[str, Tensor]:
        """Each task's score `(n,)`."""
        return self._outputs(link=True)

    def logits(self) -> dict[str, Tensor]:
        """Each task's value before its link `(n,)`; a product of scores is one."""
        return self._outputs(link=False)

    def _outputs(self, link: bool) -> dict[str, Tensor]:
        columns: dict[tuple[str, str], list[Tensor]] = {}
        found = {}
        for output in self.plan.outputs:
            # A product has no logit that is worth its operations: it stays a score.
            name = LINKS[output.link] if link or output.times else "linear"
            factors = []
            for source, unit in output.factors:
                if (source, name) not in columns:
                    columns[source, name] = self._columns_of(source, name)
                factors.append(columns[source, name][unit])
            found[output.task] = functools.reduce(self.ops.multiply, factors)
        return found

    def _columns_of(self, source: str, activation: str) -> list[Tensor]:
        value = self.ops.activation(activation, self.value(source))
        if source in self.plan.once:
            value = self._repeated(value)
        width = n.width_of(self.plan.by_name[source])
        return [self.ops.reshape(value, (-1,))] if width == 1 else self.ops.unstack(value, width)

    def value(self, name: str) -> Tensor:
        """The value `(n, width)` of a node."""
        if name not in self._values:
            self._values[name] = self._emitted(self.plan.by_name[name])
        return self._values[name]

    def _emitted(self, node: n.Node) -> Tensor:
        if isinstance(node, (n.Embed, n.Projected, n.Numeric)):
            return self._inputs.value(node)
        if isinstance(node, n.Mask):
            return self._inputs.masked(node, self.value(node.source))
        if isinstance(node, n.Affine):
            return self._affine(node)
        if isinstance(node, n.Mix):
            return self._mix(node)
        if isinstance(node, n.Opaque):
            return self._opaque(node)
        raise TypeError(f"nothing reads a {type(node).__name__}")

    def _for(self, node: n.Node, source: str) -> Tensor:
        """A source's value, with as many rows as `node` has."""
        value, once = self.value(source), self.plan.once
        return self._repeated(value) if source in once and node.name not in once else value

    def _repeated(self, value: Tensor) -> Tensor:
        like = self._some_rows()
        return value if like is None else self.ops.repeat(value, like)

    def _some_rows(self) -> Tensor | None:
        """A feature that has a value for each row."""
        names = [name for name in self.features if not self.plan.feature(name).once]
        return self.features[names[0]] if names else None

    def _affine(self, node: n.Affine) -> Tensor:
        ops = self.ops
        added = self._added_row(node)
        if added is not None:  # one row for all others: a bias too, and as cheap
            node = replace(node, edges=tuple(edge for edge in node.edges if edge is not added))
        terms = self._products(node)
        if not terms:
            like = None if node.name in self.plan.once else self._some_rows()
            row = ops.reshape(self._bias(node, added), (1, -1))
            return ops.activation(node.activation, row if like is None else ops.repeat(row, like))
        total = functools.reduce(ops.add, terms)
        if added is not None or node.bias.any() or _is_product(node):
            # Matrix product, bias and activation in a row: TensorFlow fuses them into one.
            total = ops.bias_add(total, self._bias(node, added))
        return ops.activation(node.activation, total)

    def _bias(self, node: n.Affine, added: n.Edge | None) -> Tensor:
        """What every row of the node gets: the one row of `added`, or its bias."""
        if added is not None:
            return self.ops.reshape(self.value(added.source), (-1,))
        return self.ops.weight(f"{node.name}/bias", node.bias)

    def _added_row(self, node: n.Affine) -> n.Edge | None:
        """The edge that adds a node of one row to this one of many, as it is."""
        once = self.plan.once
        if node.name in once or node.bias.any():
            return None
        rows = [edge for edge in node.edges if edge.source in once and edge.is_identity]
        return rows[0] if len(rows) == 1 < len(node.edges) else None

    def _products(self, node: n.Affine) -> list[Tensor]:
        ops, terms = self.ops, []
        plain = [edge for edge in node.edges if edge.is_plain]
        if plain:
            parts = tuple((e.source, e.start, e.start + len(e.weight)) for e in plain)
            kernel = ops.weight(f"{node.name}/kernel", *(edge.weight for edge in plain))
            terms.append(ops.matmul(self._join(parts), kernel))
        for index, edge in enumerate(node.edges):
            if edge.is_plain:
                continue
            if edge.is_identity:
                terms.append(self.value(edge.source))
                continue
            weight = ops.weight(f"{node.name}/{index}/weight", edge.weight)
            if edge.weight.ndim == 2:
                part = self._part((edge.source, edge.start, edge.start + len(edge.weight)))
                term = ops.matmul(part, weight)
            else:
                term = ops.multiply(self.value(edge.source), weight)
            if edge.gate is not None:
                term = ops.multiply(term, ops.weight(f"{node.name}/{index}/gate", edge.gate))
            terms.append(term)
        return terms

    def _join(self, parts: tuple[Part, ...]) -> Tensor:
        if parts not in self._joined:
            tensors = [self._part(part) for part in parts]
            self._joined[parts] = tensors[0] if len(tensors) == 1 else self.ops.concat(tensors)
        return self._joined[parts]

    def _part(self, part: Part) -> Tensor:
        name, start, stop = part
        width = n.width_of(self.plan.by_name[name])
        if (start, stop) == (0, width):
            return self.value(name)
        if part not in self._parts:
            self._parts |= self._cut(name, part)
        return self._parts[part]

    def _cut(self, name: str, part: Part) -> dict[Part, Tensor]:
        """The part; all parts at once where the node's readers cut it cleanly."""
        wanted = {part for reader in self.plan.readers[name] for part in _parts_read(reader)}
        cuts = sorted(each for each in wanted if each[0] == name)
        width = n.width_of(self.plan.by_name[name])
        ends = [0, *(stop for _, _, stop in cuts)]
        if ends[-1] == width and ends[:-1] == [start for _, start, _ in cuts]:
            sizes = [stop - start for _, start, stop in cuts]
            return dict(zip(cuts, self.ops.split(self.value(name), sizes), strict=True))
        return {part: self.ops.columns(self.value(name), part[1], part[2])}

    def _mix(self, node: n.Mix) -> Tensor:
        ops, count = self.ops, len(node.experts)
        experts = ops.reshape(self._mixed(node, node.experts, node.units), (-1, count, node.units))
        gates = ops.reshape(self._mixed(node, node.gates, count), (-1, len(node.gates), count))
        return ops.reshape(ops.matmul_each(ops.softmax(gates), experts), (-1, node.width))

    def _mixed(self, node: n.Mix, places: Sequence[n.Place], units: int) -> Tensor:
        """What is at these places side by side, with as many rows as `node` has."""
        once = self.plan.once
        tensors = [
            self._repeated(self._part(part))
            if part[0] in once and node.name not in once
            else self._part(part)
            for part in _merged(places, units)
        ]
        return tensors[0] if len(tensors) == 1 else self.ops.concat(tensors)

    def _opaque(self, node: n.Opaque) -> Tensor:
        return self.ops.opaque(node, [self._operand(node, o) for o in node.operands])

    def _operand(self, node: n.Opaque, operand: n.Operand) -> Tensor:
        if operand.kind == "feature":
            name = operand.names[0][0]
            single = self.plan.feature(name).once and node.name not in self.plan.once
            return self._repeated(self.features[name]) if single else self.features[name]
        groups = []
        for names in operand.names:
            values = [self._for(node, name) for name in names]
            groups.append(values[0] if len(values) == 1 else self.ops.concat(values))
        return groups[0] if operand.kind == "vector" else self.ops.stack(groups, axis=1)


def _is_product(node: n.Affine) -> bool:
    """Whether the node's value is one matrix product."""
    return all(edge.is_plain for edge in node.edges)


def _merged(places: Sequence[n.Place], units: int) -> list[Part]:
    """`units` units at each place; neighbours in one part."""
    parts: list[Part] = []
    for source, start in places:
        last = parts.pop() if parts and parts[-1][::2] == (source, start) else (source, start, 0)
        parts.append((source, last[1], start + units))
    return parts


def _parts_read(node: n.Node) -> list[Part]:
    """The parts of its sources that a node reads by matrices, or mixes."""
    if isinstance(node, n.Mix):
        experts = _merged(node.experts, node.units)
        return experts + _merged(node.gates, len(node.experts))
    edges = node.edges if isinstance(node, n.Affine) else ()
    matrices = [edge for edge in edges if edge.weight.ndim == 2]
    return [(edge.source, edge.start, edge.start + len(edge.weight)) for edge in matrices]

"""A plan as a sequence of operations (`ops.py`), for whichever `Engine` carries them out.

TensorFlow's (`tensorflow.py`) builds the served graph, the counting one (`cost.py`) says
what that graph costs: both see the same operations because both come from here. Each kind of
node has one rule, `@emit.register`; those that read features are in `emit_inputs.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, singledispatch

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import LINKS
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.engine import Engine, Tensor

Part = tuple[str, int, int]  # node, first unit, end


class Emitter:
    """Emits the operations of one plan, every node's value once.

    Args:
        plan: what to emit.
        engine: what carries out the operations.
        features: a tensor for each feature of the plan.
        check_ids: also refuse ids outside their tables.
    """

    def __init__(
        self, plan: Plan, engine: Engine, features: Mapping[str, Tensor], check_ids: bool = False
    ):
        self.plan = plan
        self.engine = engine
        self.features = features
        self.check_ids = check_ids
        self.indices: dict[object, Tensor] = {}  # what `emit_inputs` looks up for several nodes
        self._values: dict[str, Tensor] = {}
        self._parts: dict[Part, Tensor] = {}
        self._concats: dict[tuple[Part, ...], Tensor] = {}

    def scores(self) -> dict[str, Tensor]:
        """Returns each task's score `(n,)`."""
        return self._outputs(link=True)

    def logits(self) -> dict[str, Tensor]:
        """Returns each task's value before its link `(n,)`; a product of scores is one."""
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
            found[output.task] = functools.reduce(self.multiply, factors)
        return found

    def _columns_of(self, source: str, activation: str) -> list[Tensor]:
        value = self.activation(activation, self.value(source))
        width = self.width(source)
        if width == 1:
            return [self.engine("reshape", value, (-1,))]
        return list(self.engine("unstack", value, width))

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        return self.engine("multiply", x, y)

    def activation(self, name: str, x: Tensor) -> Tensor:
        return x if name == "linear" else self.engine(name, x)

    def width(self, name: str) -> int:
        return self.plan.by_name[name].width

    def value(self, name: str) -> Tensor:
        """Returns the value `(n, width)` of a node."""
        if name not in self._values:
            self._values[name] = emit(self.plan.by_name[name], self)
        return self._values[name]

    @cached_property
    def batch_reference(self) -> Tensor | None:
        """A feature that has a value for each row; None where there is none."""
        names = [name for name in self.features if not self.plan.feature(name).per_request]
        return self.features[names[0]] if names else None

    def broadcast(self, value: Tensor) -> Tensor:
        """Returns the one row of `value` for every row."""
        reference = self.batch_reference
        return value if reference is None else self.engine("broadcast", value, reference)

    def concat(self, parts: Sequence[Part]) -> Tensor:
        """Returns parts of nodes side by side; equal ones are put together once."""
        key = tuple(parts)
        if key not in self._concats:
            tensors = [self.part(part) for part in key]
            self._concats[key] = tensors[0] if len(key) == 1 else self.engine("concat", tensors)
        return self._concats[key]

    def part(self, part: Part) -> Tensor:
        """Returns some units of a node."""
        name, start, stop = part
        if (start, stop) == (0, self.width(name)):
            return self.value(name)
        if part not in self._parts:
            self._parts |= self._cut(name, part)
        return self._parts[part]

    def _cut(self, name: str, part: Part) -> dict[Part, Tensor]:
        """The part; all parts at once where the node's users cut it cleanly."""
        wanted = {part for user in self.plan.users[name] for part in _parts_read(user)}
        cuts = sorted(each for each in wanted if each[0] == name)
        ends = [0, *(stop for _, _, stop in cuts)]
        if ends[-1] == self.width(name) and ends[:-1] == [start for _, start, _ in cuts]:
            sizes = [stop - start for _, start, stop in cuts]
            return dict(zip(cuts, self.engine("split", self.value(name), sizes), strict=True))
        return {part: self.engine("columns", self.value(name), part[1], part[2])}


@singledispatch
def emit(node: n.Node, emitter: Emitter) -> Tensor:
    """Returns the value `(n, width)` of a node. One rule per kind."""
    raise TypeError(f"no operations for a {type(node).__name__}")


@emit.register
def _(node: n.Affine, emitter: Emitter) -> Tensor:
    engine = emitter.engine
    row = _context_row(node, emitter)
    if row is not None:
        node = replace(node, edges=tuple(edge for edge in node.edges if edge is not row))
    terms = _products(node, emitter)
    if not terms:
        value = engine("reshape", _bias(node, row, emitter), (1, -1))
        if node.name not in emitter.plan.per_request:
            value = emitter.broadcast(value)
        return emitter.activation(node.activation, value)
    total = functools.reduce(lambda x, y: engine("add", x, y), terms)
    if row is not None or node.bias.any() or all(edge.is_plain for edge in node.edges):
        # Matrix product, bias and activation in a row: TensorFlow fuses them into one.
        total = engine("bias_add", total, _bias(node, row, emitter))
    return emitter.activation(node.activation, total)


def _bias(node: n.Affine, row: n.Edge | None, emitter: Emitter) -> Tensor:
    """What is added to every row of the node: the one row that `row` reads, or its bias."""
    if row is None:
        return emitter.engine.weight(node.bias)
    (source,) = emitter.plan.by_name[row.source].inputs
    return emitter.engine("reshape", emitter.value(source), (-1,))


def _context_row(node: n.Affine, emitter: Emitter) -> n.Edge | None:
    """The edge that adds the one row of the context, which is then a bias, and as cheap."""
    if node.bias.any():
        return None
    rows = [
        edge
        for edge in node.edges
        if edge.is_identity and isinstance(emitter.plan.by_name[edge.source], n.Broadcast)
    ]
    return rows[0] if len(rows) == 1 < len(node.edges) else None


def _products(node: n.Affine, emitter: Emitter) -> list[Tensor]:
    engine, terms = emitter.engine, []
    plain = [edge for edge in node.edges if edge.is_plain]
    if plain:
        kernel = engine.weight(*(edge.weight for edge in plain))
        terms.append(engine("matmul", emitter.concat([_part_of(e) for e in plain]), kernel))
    for edge in node.edges:
        if edge.is_plain:
            continue
        if edge.is_identity:
            terms.append(emitter.value(edge.source))
            continue
        weight = engine.weight(edge.weight)
        if edge.is_matrix:
            term = engine("matmul", emitter.part(_part_of(edge)), weight)
        else:
            term = engine("multiply", emitter.value(edge.source), weight)
        if edge.gate is not None:
            term = engine("multiply", term, engine.weight(edge.gate))
        terms.append(term)
    return terms


@emit.register
def _(node: n.Mixture, emitter: Emitter) -> Tensor:
    engine, count = emitter.engine, len(node.experts)
    experts = _side_by_side(_merged(node.experts, node.units), emitter)
    experts = engine("reshape", experts, (-1, count, node.units))
    gates = _side_by_side(_merged(node.gates, count), emitter)
    gates = engine("reshape", gates, (-1, len(node.gates), count))
    mixed = engine("matmul_each", engine("softmax", gates), experts)
    return engine("reshape", mixed, (-1, node.width))


def _side_by_side(parts: Sequence[Part], emitter: Emitter) -> Tensor:
    tensors = [emitter.part(part) for part in parts]
    return tensors[0] if len(tensors) == 1 else emitter.engine("concat", tensors)


@emit.register
def _(node: n.Broadcast, emitter: Emitter) -> Tensor:
    return emitter.broadcast(emitter.value(node.source))


@emit.register
def _(node: n.Opaque, emitter: Emitter) -> Tensor:
    operands = [_operand(operand, emitter) for operand in node.operands]
    return emitter.engine.opaque(node, operands)


def _operand(operand: n.Operand, emitter: Emitter) -> Tensor:
    if operand.kind == "feature":
        given = emitter.features[operand.names[0][0]]
        return emitter.broadcast(given) if operand.repeated else given
    groups = []
    for names in operand.names:
        values = [emitter.value(name) for name in names]
        groups.append(values[0] if len(values) == 1 else emitter.engine("concat", values))
    return groups[0] if operand.kind == "vector" else emitter.engine("stack", groups, 1)


def _part_of(edge: n.Edge) -> Part:
    """What a matrix reads of its source."""
    return edge.source, edge.start, edge.start + len(edge.weight)


def _merged(refs: Iterable[n.UnitRef], units: int) -> list[Part]:
    """`units` units from each place on; neighbors in one part."""
    parts: list[Part] = []
    for source, start in refs:
        last = parts.pop() if parts and parts[-1][::2] == (source, start) else (source, start, 0)
        parts.append((source, last[1], start + units))
    return parts


def _parts_read(node: n.Node) -> list[Part]:
    """The parts of its inputs that a node reads by matrices, or mixes."""
    if isinstance(node, n.Mixture):
        experts = _merged(node.experts, node.units)
        return experts + _merged(node.gates, len(node.experts))
    if isinstance(node, n.RowProduct):
        return [node.part]
    edges = node.edges if isinstance(node, n.Affine) else ()
    return [_part_of(edge) for edge in edges if edge.is_matrix]

"""What a plan costs once lowered: the same operations, counted instead of run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.memory import stacked
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.emit import Emitter
from mtl_tf.compiler.lowering.ops import Factors, Stored, stored_as

# Microseconds on one core of a server, measured, right within a factor of two, which is all
# that choices need: an operation, a floating-point operation of a product, a number of a
# matrix or of a table's row (read once per request), a number looked up, copied or added.
OP, FLOP, READ, MOVE = 1.0, 1 / 90_000, 1 / 5_000, 1 / 4_000
_ROW = 20  # numbers that would take as long as finding a row
_ADDED = 0.75  # what adding up one of many rows takes of what copying it does
_MATRIX = 600  # numbers that would take as long as one small product of many
_SMALL = 1.0  # numbers, for each of its floating-point operations
_FAR = 2  # how much longer what is beyond the core's own cache takes
_CACHE = 4 << 20  # bytes


@dataclass(frozen=True)
class Cost:
    """Size and work of the graph that `lower` makes of a plan.

    parameters: numbers in its weights that are not zero. flops: floating-point
    operations for one row (a multiplication and an addition are two), products with
    stored zeros included. bytes: what weights and indices occupy, zeros included.
    ops: operations in the graph, constants and inputs not counted. moved: numbers looked
    up, copied or added for one row, outside of products. looked_up: those of them that are
    looked up; tables: all numbers of the tables they are looked up in. made: bytes of the
    tables that are made when the model is loaded.
    """

    parameters: int
    flops: int
    bytes: int
    ops: int
    moved: int
    looked_up: int
    tables: int
    made: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def microseconds(self, batch: int) -> float:
        """Rough estimate of the time for `batch` rows on one core."""
        touched = min(batch * self.looked_up, self.tables)  # again is from a cache
        once = self.ops * OP + (self.flops / 2 + touched) * READ
        return once + batch * (self.flops * FLOP + self.moved * MOVE)


def cost(plan: Plan) -> Cost:
    """The cost of `plan` as `lower` would emit it; an opaque layer counts as one operation.

    A bag of no fixed length counts as one value per row.
    """
    ops = _CountingOps(rows=1)
    inputs = {name: _Shape((1, *plan.feature(name).shape)) for name in plan.features}
    Emitter(plan, ops, inputs).scores()
    opaque = sum(
        math.prod(variable.shape)
        for node in plan.nodes
        if isinstance(node, n.Opaque)
        for variable in getattr(node.layer, "variables", ())
    )
    return Cost(
        parameters=sum(int(np.count_nonzero(w)) for w in ops.weights.values()) + opaque,
        flops=ops.flops,
        bytes=sum(array.size * stored_as(array).itemsize for array in ops.weights.values())
        + 4 * (ops.indices + opaque),
        ops=ops.count,
        moved=ops.moved,
        looked_up=ops.looked_up,
        tables=ops.tables,
        made=sum(ops.made.values()),
    )


class _Shape(tuple[int, ...]):
    """A tensor of which only the shape is known."""

    __slots__ = ()

    def __new__(cls, shape: Sequence[int | None]) -> _Shape:
        return super().__new__(cls, (1 if size is None else size for size in shape))

    @property
    def size(self) -> int:
        return math.prod(self)


class _CountingOps:
    """`Ops` on shapes: counts operations, flops and distinct weights."""

    def __init__(self, rows: int):
        self.rows = rows
        self.count = 0
        self.flops = 0
        self.moved = 0
        self.looked_up = 0
        self.tables = 0
        self.made: dict[n.MaskedTable | tuple[n.Block, ...], int] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.indices = 0

    def _op(self, shape: Sequence[int], flops: int = 0) -> _Shape:
        """An operation that moves nothing."""
        self.count += 1
        self.flops += flops
        return _Shape(shape)

    def _copy(self, shape: Sequence[int], flops: int = 0) -> _Shape:
        """One that writes every number of its result."""
        result = self._op(shape, flops)
        self.moved += result.size
        return result

    def _look_up(self, rows: int, table: _Shape, work: float = 1.0) -> None:
        near = 4 * table.size <= _CACHE
        self.moved += round(rows * (table[1] + _ROW) * (work if near else work * _FAR))
        self.looked_up += rows * table[1]
        self.tables += table.size

    def weight(self, key: str, *arrays: np.ndarray) -> _Shape:
        self.weights[key] = stacked(arrays)
        return _Shape(self.weights[key].shape)

    def index(self, key: str, array: np.ndarray) -> _Shape:
        self.indices += array.size
        return _Shape(array.shape)

    def stack(self, tensors: Sequence[_Shape], axis: int) -> _Shape:
        shape = list(tensors[0])
        shape.insert(axis, len(tensors))
        return self._copy(shape)

    def concat(self, tensors: Sequence[_Shape]) -> _Shape:
        return self._copy((self.rows, sum(tensor[1] for tensor in tensors)))

    def split(self, x: _Shape, sizes: Sequence[int]) -> list[_Shape]:
        self._copy(x)
        return [_Shape((x[0], size)) for size in sizes]

    def unstack(self, x: _Shape, count: int) -> list[_Shape]:
        self.count += 1
        return [_Shape((x[0],))] * count

    def columns(self, x: _Shape, start: int, stop: int) -> _Shape:
        return self._copy((x[0], stop - start))

    def pieces(self, x: _Shape, index: _Shape) -> _Shape:
        return self._copy((x[0], index[0], *x[2:]))

    def gather(self, table: _Shape, ids: _Shape) -> _Shape:
        self._look_up(ids.size, table)
        return self._op((*ids, table[1]))

    def masked(
        self, table: n.MaskedTable, stored: Callable[[], Stored]
    ) -> tuple[_Shape, _Shape | None]:
        stored()
        rows, scale, number = _Shape(table.shape), _Shape((len(table), 1)), stored_as(table)
        if number == np.float32:
            self.made[table] = 4 * rows.size
            return rows, None
        self.made[table] = number.itemsize * rows.size + 4 * scale.size
        return rows, scale

    def projected(self, node: n.Projected, factors: Callable[[], list[Factors]]) -> _Shape:
        factors()
        table = _Shape((node.rows, node.width))
        self.made[node.blocks] = 4 * table.size
        return table

    def add_rows(self, table: _Shape, ids: _Shape, count: int) -> _Shape:
        self.count += 6  # which row each id belongs to
        self._look_up(ids.size, table, _ADDED)
        return self._op((ids.size // count, table[1]), ids.size * table[1])

    def to_float(self, x: _Shape) -> _Shape:
        return self._copy(x)

    def reshape(self, x: _Shape, shape: Sequence[int]) -> _Shape:
        known = math.prod(size for size in shape if size >= 0)
        return self._op([size if size >= 0 else x.size // known for size in shape])

    def transpose(self, x: _Shape) -> _Shape:
        return self._copy(x[::-1])

    def zeros_like(self, x: _Shape) -> _Shape:
        return self._copy(x)

    def add(self, x: _Shape, y: _Shape) -> _Shape:
        return self._each(np.broadcast_shapes(x, y))

    multiply = divide_no_nan = add

    def _each(self, shape: Sequence[int], flops: int = 1) -> _Shape:
        return self._copy(shape, flops * math.prod(shape))

    def matmul(self, x: _Shape, y: _Shape) -> _Shape:
        return self._op((x[0], y[1]), 2 * x.size * y[1])

    def matmul_each(self, x: _Shape, y: _Shape) -> _Shape:
        flops = 2 * x.size * y[2]
        self.moved += x[0] * _MATRIX + round(flops * _SMALL)
        return self._op((x[0], x[1], y[2]), flops)

    # TensorFlow does these two while it writes the product before them; to ids offsets are
    # added for themselves, which is little beside their lookups.

    def bias_add(self, x: _Shape, bias: _Shape) -> _Shape:
        return self._op(x, x.size)

    def activation(self, name: str, x: _Shape) -> _Shape:
        return x if name == "linear" else self._op(x, x.size)

    def softmax(self, x: _Shape) -> _Shape:
        return self._each(x, 3)

    def sum(self, x: _Shape, axis: int) -> _Shape:
        shape = list(x)
        del shape[axis]
        self.moved += x.size
        return self._op(shape, x.size)

    def expand_last(self, x: _Shape) -> _Shape:
        return self._op((*x, 1))

    def refuse_outside(self, ids: _Shape, sizes: _Shape, axis: int | None) -> _Shape:
        self.count += 4  # a maximum, a comparison, its conjunction, an assertion
        return self._op(ids)

    def not_negative(self, ids: _Shape) -> _Shape:
        self.count += 1  # a comparison and a cast
        return self._each(ids)

    def clip_negative(self, ids: _Shape) -> _Shape:
        return self._op(ids)

    def repeat(self, row: _Shape, like: _Shape) -> _Shape:
        self.count += 3  # the number of rows, in three operations
        return self._op((self.rows, *row[1:]))

    def opaque(self, node: n.Opaque, operands: Sequence[Any]) -> _Shape:
        return self._op((self.rows, *(size or 1 for size in node.shape)))

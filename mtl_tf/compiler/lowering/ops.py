"""The operations of a served graph, in one table: how TensorFlow runs each, its shape, its cost.

`emit.py` says which operations a plan is made of. An engine (`engine.py`) carries them out:
TensorFlow's (`tensorflow.py`) builds the graph, the counting one (`cost.py`) adds up its cost.
A new operation is one row of `OPS`; another engine needs one more column.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add, attrgetter
from typing import Any, NamedTuple

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import LEAK

_OUTSIDE = "an id is outside the table of its field: send ids that this model's own transform made"
_ROW = 20  # numbers that would take as long as finding a row
_SUMMED = 0.75  # what adding up one of many rows takes of what copying it does
_MATRIX = 600  # numbers that would take as long as one small product of many
_FAR = 2  # how much longer what is beyond the core's own cache takes
_CACHE = 4 << 20  # bytes


class Shape(tuple[int, ...]):
    """A tensor of which only the shape is known; a size that is not fixed counts as 1."""

    __slots__ = ()

    def __new__(cls, shape: Sequence[int | None]) -> Shape:
        return super().__new__(cls, (1 if size is None else size for size in shape))

    @property
    def size(self) -> int:
        return math.prod(self)


class Work(NamedTuple):
    """What operations take, for one row.

    ops: graph operations. flops: floating-point operations. moved: numbers looked up, copied
    or added outside of products. looked_up: those of them that are looked up; tables: all
    numbers of the tables they are looked up in.
    """

    ops: int = 1
    flops: int = 0
    moved: int = 0
    looked_up: int = 0
    tables: int = 0

    def plus(self, other: Work) -> Work:
        """Returns what both take together."""
        return Work(*map(add, self, other))


@dataclass(frozen=True)
class Op:
    """One row of the table.

    Attributes:
        tensorflow: makes TensorFlow's operations; it is given the module `tensorflow`, which
            only lowering to it imports, and the arguments.
        shape: returns the result's shape, a tuple, or a list of shapes, of arguments that are
            shapes.
        work: returns what it takes, for the result's shape and the arguments.
    """

    tensorflow: Callable[..., Any]
    shape: Callable[..., Any]
    work: Callable[..., Work]


# Shapes.


def _same(x: Shape, *_: Any) -> Shape:
    return x


def _each(x: Shape, y: Shape) -> tuple[int, ...]:
    return np.broadcast_shapes(x, y)


def _stack_shape(tensors: Sequence[Shape], axis: int) -> tuple[int, ...]:
    return (*tensors[0][:axis], len(tensors), *tensors[0][axis:])


def reshaped(x: Shape, shape: Sequence[int]) -> tuple[int, ...]:
    """Returns `shape` with the size that is -1 filled in."""
    known = math.prod(size for size in shape if size >= 0)
    return tuple(size if size >= 0 else x.size // known for size in shape)


def _sum_shape(x: Shape, axis: int) -> tuple[int, ...]:
    axis %= len(x)
    return (*x[:axis], *x[axis + 1 :])


# Work.


def _nothing(*_: Any, ops: int = 1) -> Work:
    """Moves no number."""
    return Work(ops)


def _writes(out: Shape, *_: Any) -> Work:
    """Writes every number of the result."""
    return Work(moved=out.size)


def _writes_all(out: Sequence[Shape], *_: Any) -> Work:
    return Work(moved=sum(part.size for part in out))


def _computes(out: Shape, *_: Any) -> Work:
    """Computes every number of the result with one operation, and writes it."""
    return Work(moved=out.size, flops=out.size)


def _fuses(out: Shape, *_: Any, ops: int = 1) -> Work:
    """TensorFlow does it while it writes the product before it."""
    return Work(ops, flops=out.size)


def _looks_up(rows: int, table: Shape, each: float = 1.0) -> Work:
    near = 4 * table.size <= _CACHE
    moved = round(rows * (table[1] + _ROW) * (each if near else each * _FAR))
    return Work(moved=moved, looked_up=rows * table[1], tables=table.size)


def _sums_rows(out: Shape, table: Shape, ids: Shape, count: int) -> Work:
    places = Work(ops=6, flops=ids.size * table[1])  # which row each id belongs to
    return places.plus(_looks_up(ids.size, table, _SUMMED))


def _multiplies_each(out: Shape, x: Shape, y: Shape) -> Work:
    flops = 2 * x.size * y[2]
    return Work(flops=flops, moved=x[0] * _MATRIX + flops)


# TensorFlow's side, where it takes more than one function.


def _call(path: str, **options: Any) -> Callable[..., Any]:
    """TensorFlow's function of that name."""
    return lambda tf, *args: attrgetter(path)(tf)(*args, **options)


def _split(tf: Any, x: Any, sizes: Sequence[int]) -> list[Any]:
    equal = len(set(sizes)) == 1
    return list(tf.split(x, len(sizes) if equal else list(sizes), axis=1))


def _segment_sum(tf: Any, table: Any, ids: Any, count: int) -> Any:
    # Which row each id is of: copies are made ten times as fast as quotients.
    rows = tf.tile(tf.expand_dims(tf.range(tf.size(ids) // count), 1), [1, count])
    return tf.sparse.segment_sum(table, ids, tf.reshape(rows, [-1]))


def _assert_in_range(tf: Any, ids: Any, sizes: Any, axis: int | None) -> Any:
    # As unsigned numbers negative ids are too large as well. One assertion is half the
    # time of selecting a row that `gather` refuses, and the largest id of each field a
    # third of that of comparing every id.
    others = [other for other in range(ids.shape.rank) if other != axis]
    largest = tf.reduce_max(tf.bitcast(ids, tf.uint32), axis=others)
    inside = tf.reduce_all(largest < tf.bitcast(sizes, tf.uint32))
    with tf.control_dependencies([tf.debugging.Assert(inside, [_OUTSIDE])]):
        return tf.identity(ids)


def _broadcast(tf: Any, row: Any, reference: Any) -> Any:
    return tf.broadcast_to(row, (tf.shape(reference)[0], *row.shape[1:]))


OPS: dict[str, Op] = {
    # Moving numbers.
    "stack": Op(lambda tf, tensors, axis: tf.stack(tensors, axis=axis), _stack_shape, _writes),
    "concat": Op(
        lambda tf, tensors: tf.concat(tensors, axis=1),
        lambda tensors: (max(x[0] for x in tensors), sum(x[1] for x in tensors)),
        _writes,
    ),
    "split": Op(_split, lambda x, sizes: [Shape((x[0], size)) for size in sizes], _writes_all),
    "unstack": Op(
        lambda tf, x, count: list(tf.unstack(x, num=count, axis=1)),
        lambda x, count: [Shape((x[0],))] * count,
        _nothing,
    ),
    "columns": Op(
        lambda tf, x, start, stop: x[:, start:stop],
        lambda x, start, stop: (x[0], stop - start),
        _writes,
    ),
    "pieces": Op(
        lambda tf, x, index: tf.gather(x, index, axis=1),
        lambda x, index: (x[0], index[0], *x[2:]),
        _writes,
    ),
    "reshape": Op(_call("reshape"), reshaped, _nothing),
    "transpose": Op(_call("transpose"), lambda x: x[::-1], _writes),
    "zeros_like": Op(_call("zeros_like"), _same, _writes),
    "expand_last": Op(lambda tf, x: tf.expand_dims(x, -1), lambda x: (*x, 1), _nothing),
    "to_float": Op(lambda tf, x: tf.cast(x, tf.float32), _same, _writes),
    # The number of rows takes three operations.
    "broadcast": Op(
        _broadcast,
        lambda row, reference: (reference[0], *row[1:]),
        functools.partial(_nothing, ops=4),
    ),
    # Tables and ids.
    "gather": Op(
        _call("gather"),
        lambda table, ids: (*ids, table[1]),
        lambda out, table, ids: _looks_up(ids.size, table),
    ),
    # Sums of `count` rows each.
    "segment_sum": Op(
        _segment_sum, lambda table, ids, count: (ids.size // count, table[1]), _sums_rows
    ),
    # Along `axis` of the ids lie the fields, of these sizes; None: there is one size. It takes two
    # casts, a maximum, a comparison, its conjunction and an assertion.
    "assert_in_range": Op(_assert_in_range, _same, functools.partial(_nothing, ops=6)),
    # A comparison and a cast.
    "valid_mask": Op(
        lambda tf, ids: tf.cast(ids >= 0, tf.float32),
        _same,
        lambda out, ids: Work(ops=2, moved=out.size, flops=out.size),
    ),
    "clip_negative": Op(lambda tf, ids: tf.maximum(ids, 0), _same, _nothing),
    # Arithmetic.
    "add": Op(_call("add"), _each, _computes),
    "multiply": Op(_call("multiply"), _each, _computes),
    "divide_no_nan": Op(_call("math.divide_no_nan"), _each, _computes),
    "matmul": Op(
        _call("matmul"),
        lambda x, y: (x[0], y[1]),
        lambda out, x, y: Work(flops=2 * x.size * y[1]),
    ),
    "matmul_each": Op(_call("matmul"), lambda x, y: (x[0], x[1], y[2]), _multiplies_each),
    # To ids offsets are added for themselves, which is little beside their lookups.
    "bias_add": Op(_call("nn.bias_add"), _same, _fuses),
    "sum": Op(
        lambda tf, x, axis: tf.reduce_sum(x, axis=axis),
        _sum_shape,
        lambda out, x, axis: Work(moved=x.size, flops=x.size),
    ),
    "softmax": Op(_call("nn.softmax"), _same, lambda out, x: Work(moved=x.size, flops=3 * x.size)),
    # Activations, by the names that plans know them by.
    "relu": Op(_call("nn.relu"), _same, _fuses),
    "relu6": Op(_call("nn.relu6"), _same, _fuses),
    "leaky_relu": Op(_call("nn.leaky_relu", alpha=LEAK), _same, _fuses),
    "tanh": Op(_call("tanh"), _same, _fuses),
    "sigmoid": Op(_call("sigmoid"), _same, _fuses),
    "softplus": Op(_call("nn.softplus"), _same, _fuses),
    "softsign": Op(_call("nn.softsign"), _same, _fuses),
    "elu": Op(_call("nn.elu"), _same, _fuses),
    "selu": Op(_call("nn.selu"), _same, _fuses),
    "exponential": Op(_call("exp"), _same, _fuses),
    "expm1": Op(_call("math.expm1"), _same, _fuses),
    "square": Op(_call("square"), _same, _fuses),
    # Of several operations each.
    "silu": Op(_call("nn.silu"), _same, functools.partial(_fuses, ops=4)),
    "gelu": Op(_call("nn.gelu"), _same, functools.partial(_fuses, ops=5)),
}


def stored_type(array: n.Weight | n.MaskedTable | np.ndarray) -> np.dtype[Any]:
    """The type of a weight in the graph: float32, or that of a quantized table."""
    small = array.dtype in (np.float16, np.int8)
    return array.dtype if small else np.dtype(np.float32)

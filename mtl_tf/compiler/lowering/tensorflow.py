"""A plan as a `tf.Module`: the graph that is served."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.variables import resource
from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import LEAK
from mtl_tf.compiler.ir.memory import rows_in, stacked
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.emit import Emitter
from mtl_tf.compiler.lowering.load_time_tables import MadeTable, masked_table, projected_table
from mtl_tf.compiler.lowering.ops import Factors, Stored, stored_as
from mtl_tf.errors import UserError

_OUTSIDE = (
    "an id is outside of the table of its field: send ids that the transform of this model made"
)
_LARGEST_CONSTANT = 1 << 20  # bytes; a GraphDef may not exceed 2 GB, constants included


class LoweredModule(tf.Module):
    """The plan's scores as TensorFlow operations on plain constants and variables.

    Nothing in it is a Keras object unless the plan holds an opaque layer, whose
    variables it then owns as plain ones: TF Serving's loader finds every one.

    An id outside its field's table would read a row of another field. The transform
    never makes one; for ids from elsewhere, `check_ids` makes it an error.

    Args:
        plan: what to compute.
        like: a module whose weights this one takes where they are the same arrays, or
            rows of them.
    """

    def __init__(self, plan: Plan, like: LoweredModule | None = None, name: str | None = None):
        super().__init__(name=name)
        self.features = plan.features
        self.tasks = plan.tasks
        self._plan = plan
        self._like = like
        self._weights: dict[str, Any] = {}
        self._arrays: _Arrays = _Arrays(like._arrays if like else None)
        self._layers = [_variables(node) for node in plan.nodes if isinstance(node, n.Opaque)]

    def __call__(
        self, features: Mapping[str, tf.Tensor], check_ids: bool = False
    ) -> dict[str, tf.Tensor]:
        """Scores `{task: (n,)}`; features that the plan does not read are ignored.

        `check_ids`: fail (`InvalidArgumentError`) for an id outside its field's table.
        """
        return self._emitter(features, check_ids).scores()

    def logits(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `__call__` gives, before the tasks' links; a product of scores as it is."""
        return self._emitter(features).logits()

    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """Specifications of the features that the plan reads, by name."""
        return {
            feature.name: tf.TensorSpec(
                (1 if feature.once else None, *feature.shape), feature.dtype, feature.name
            )
            for feature in map(self._plan.feature, self.features)
        }

    def _emitter(self, features: Mapping[str, tf.Tensor], check_ids: bool = False) -> Emitter:
        missing = [name for name in self.features if name not in features]
        if missing:
            raise UserError(
                f"feature `{missing[0]}` is missing; the model reads: {', '.join(self.features)}"
            )
        tensors = {name: self._input(features, name) for name in self.features}
        return Emitter(self._plan, _TensorFlowOps(self._weights, self._arrays), tensors, check_ids)

    def _input(self, features: Mapping[str, tf.Tensor], name: str) -> tf.Tensor:
        tensor = tf.convert_to_tensor(features[name])
        dtype = self._plan.feature(name).dtype
        return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def lower(plan: Plan, like: LoweredModule | None = None) -> LoweredModule:
    """`plan` as a module; run `optimize` first, or it is lowered node by node.

    `like`: a module of the plan that this one is made of parts of (`split_context`), whose
    weights are then not stored twice, if it was traced or called before.
    """
    return LoweredModule(plan, like)


class _Arrays:
    """The arrays behind the weights made so far: who asks for rows of one gets these."""

    def __init__(self, others: _Arrays | None):
        self.others = others
        self.kept: dict[str, tuple[np.ndarray, Any]] = {}
        self.made: dict[Any, list[MadeTable]] = {}

    def find(self, array: np.ndarray) -> Any | None:
        """The weight of the others, or some rows of one, that is this very array."""
        for whole, tensor in self.others.kept.values() if self.others else ():
            start = rows_in(whole, array) if array.ndim else None
            if start is not None:
                everything = len(array) == len(whole)
                return tensor if everything else tensor[start : start + len(array)]
        return None

    def made_tables(self, of: Any) -> list[MadeTable]:
        """The tables that were made of this."""
        known = self.others.made.get(of) if self.others else None
        return known or self.made.get(of, [])


def _variables(node: n.Opaque) -> list[tf.Variable]:
    # A Keras 3 variable wraps the tf.Variable that a SavedModel must track.
    return [resource(variable) for variable in getattr(node.layer, "variables", ())]


class _TensorFlowOps:
    """`Ops` as TensorFlow operations; weights are made once, in `weights`."""

    def __init__(self, weights: dict[str, Any], arrays: _Arrays):
        self._weights = weights
        self._arrays = arrays

    def weight(self, key: str, *arrays: np.ndarray) -> Any:
        array = stacked(arrays)
        known = self._arrays.find(array)
        if known is not None:
            return known
        if len(arrays) > 1 and array.nbytes <= _LARGEST_CONSTANT:
            parts = [self._arrays.find(part) for part in arrays]
            if all(part is not None for part in parts):
                return tf.concat(parts, axis=0)  # of constants: done once, at load
        made = self._kept(key, array.astype(stored_as(array)))
        self._arrays.kept.setdefault(key, (array, made))
        return made

    def index(self, key: str, array: np.ndarray) -> Any:
        return self._kept(key, array.astype(np.int32))

    def _kept(self, key: str, array: np.ndarray) -> Any:
        if key not in self._weights:
            with tf.init_scope():  # outside of the function being traced: shared by all
                if array.nbytes > _LARGEST_CONSTANT:
                    name = re.sub(r"[^A-Za-z0-9_./-]", "_", key)  # what a graph allows
                    self._weights[key] = tf.Variable(array, trainable=False, name=name)
                else:
                    self._weights[key] = tf.constant(array)
        return self._weights[key]

    def stack(self, tensors: Sequence[Any], axis: int) -> Any:
        return tf.stack(tensors, axis=axis)

    def concat(self, tensors: Sequence[Any]) -> Any:
        return tf.concat(tensors, axis=1)

    def split(self, x: Any, sizes: Sequence[int]) -> list[Any]:
        equal = len(set(sizes)) == 1
        return list(tf.split(x, len(sizes) if equal else list(sizes), axis=1))

    def unstack(self, x: Any, count: int) -> list[Any]:
        return list(tf.unstack(x, num=count, axis=1))

    def columns(self, x: Any, start: int, stop: int) -> Any:
        return x[:, start:stop]

    def pieces(self, x: Any, index: Any) -> Any:
        return tf.gather(x, index, axis=1)

    def gather(self, table: Any, ids: Any) -> Any:
        return tf.gather(table, ids)

    def masked(self, table: n.MaskedTable, stored: Callable[[], Stored]) -> tuple[Any, Any | None]:
        rows, *scale = self._made(table, lambda: masked_table(table, stored()))
        return rows, scale[0] if scale else None

    def projected(self, node: n.Projected, factors: Callable[[], list[Factors]]) -> Any:
        return self._made(node.blocks, lambda: (projected_table(node, factors()),))[0]

    def _made(self, of: Any, make: Callable[[], tuple[MadeTable, ...]]) -> list[Any]:
        tables = self._arrays.made_tables(of)
        if not tables:
            tables = []
            for table in make():  # the module owns what it uses; equal tables have one name
                if table.name not in self._weights:
                    self._weights[table.name] = table
                tables.append(self._weights[table.name])
            self._arrays.made[of] = tables
        return [table() for table in tables]

    def add_rows(self, table: Any, ids: Any, count: int) -> Any:
        # Which row each id is of: copies are made ten times as fast as quotients.
        rows = tf.tile(tf.expand_dims(tf.range(tf.size(ids) // count), 1), [1, count])
        return tf.sparse.segment_sum(table, ids, tf.reshape(rows, [-1]))

    def to_float(self, x: Any) -> Any:
        return tf.cast(x, tf.float32)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return tf.reshape(x, shape)

    def transpose(self, x: Any) -> Any:
        return tf.transpose(x)

    def zeros_like(self, x: Any) -> Any:
        return tf.zeros_like(x)

    def add(self, x: Any, y: Any) -> Any:
        return tf.add(x, y)

    def multiply(self, x: Any, y: Any) -> Any:
        return tf.multiply(x, y)

    def matmul(self, x: Any, y: Any) -> Any:
        return tf.matmul(x, y)

    def matmul_each(self, x: Any, y: Any) -> Any:
        return tf.matmul(x, y)

    def bias_add(self, x: Any, bias: Any) -> Any:
        return tf.nn.bias_add(x, bias)

    def activation(self, name: str, x: Any) -> Any:
        return x if name == "linear" else _ACTIVATIONS[name](x)

    def softmax(self, x: Any) -> Any:
        return tf.nn.softmax(x)

    def sum(self, x: Any, axis: int) -> Any:
        return tf.reduce_sum(x, axis=axis)

    def expand_last(self, x: Any) -> Any:
        return tf.expand_dims(x, -1)

    def refuse_outside(self, ids: Any, sizes: Any, axis: int | None) -> Any:
        # As unsigned numbers negative ids are too large as well. One assertion is half the
        # time of selecting a row that `gather` refuses, and the largest id of each field a
        # third of that of comparing every id.
        others = [other for other in range(ids.shape.rank) if other != axis]
        largest = tf.reduce_max(tf.bitcast(ids, tf.uint32), axis=others)
        inside = tf.reduce_all(largest < tf.bitcast(sizes, tf.uint32))
        with tf.control_dependencies([tf.debugging.Assert(inside, [_OUTSIDE])]):
            return tf.identity(ids)

    def not_negative(self, ids: Any) -> Any:
        return tf.cast(ids >= 0, tf.float32)

    def clip_negative(self, ids: Any) -> Any:
        return tf.maximum(ids, 0)

    def divide_no_nan(self, x: Any, y: Any) -> Any:
        return tf.math.divide_no_nan(x, y)

    def repeat(self, row: Any, like: Any) -> Any:
        return tf.broadcast_to(row, (tf.shape(like)[0], *row.shape[1:]))

    def opaque(self, node: n.Opaque, operands: Sequence[Any]) -> Any:
        return node.function(*operands)


_ACTIVATIONS = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "leaky_relu": functools.partial(tf.nn.leaky_relu, alpha=LEAK),
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign,
    "elu": tf.nn.elu,
    "selu": tf.nn.selu,
    "silu": tf.nn.silu,
    "gelu": tf.nn.gelu,
}

"""A plan as a `tf.Module`: the graph that is served."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.variables import constant_variable, resource
from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.ir.weights import stacked
from mtl_tf.compiler.lowering import emit_inputs  # noqa: F401 (registers its rules)
from mtl_tf.compiler.lowering.emit import Emitter
from mtl_tf.compiler.lowering.engine import StoredTable, TermTensors
from mtl_tf.compiler.lowering.load_time_tables import (
    LoadTimeTable,
    masked_table,
    projected_table,
)
from mtl_tf.compiler.lowering.ops import OPS, stored_type
from mtl_tf.errors import UserError

_LARGEST_CONSTANT = 1 << 20  # bytes; a GraphDef may not exceed 2 GB, constants included


class LoweredModule(tf.Module):
    """The plan's scores as TensorFlow operations on plain constants and variables.

    Nothing in it is a Keras object unless the plan holds an opaque layer, whose
    variables it then owns as plain ones: TF Serving's loader finds every one.

    An id outside its field's table would read a row of another field. The transform
    never makes one; for ids from elsewhere, `check_ids` makes it an error.

    Args:
        plan: what to compute.
        share_weights_with: a module whose weights this one takes where they are the same,
            or rows of them.
    """

    def __init__(
        self,
        plan: Plan,
        share_weights_with: LoweredModule | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.features = plan.features
        self.tasks = plan.tasks
        self._plan = plan
        shared: _TensorFlowEngine | None = share_weights_with and share_weights_with._engine
        self._weights: dict[str, Any] = {}  # what the SavedModel tracks
        self._engine: _TensorFlowEngine = _TensorFlowEngine(self._weights, shared)
        self._layers = [_variables(node) for node in plan.nodes if isinstance(node, n.Opaque)]

    def __call__(
        self, features: Mapping[str, tf.Tensor], check_ids: bool = False
    ) -> dict[str, tf.Tensor]:
        """Returns scores `{task: (n,)}`; features that the plan does not read are ignored.

        `check_ids`: fail (`InvalidArgumentError`) for an id outside its field's table.
        """
        return self._emitter(features, check_ids).scores()

    def logits(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the scores before the tasks' links; a product of scores as it is."""
        return self._emitter(features).logits()

    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """Returns specifications of the features that the plan reads, by name."""
        return {
            spec.name: tf.TensorSpec(
                (1 if spec.per_request else None, *spec.shape), spec.dtype, spec.name
            )
            for spec in map(self._plan.feature, self.features)
        }

    def _emitter(self, features: Mapping[str, tf.Tensor], check_ids: bool = False) -> Emitter:
        missing = [name for name in self.features if name not in features]
        if missing:
            raise UserError(
                f"feature `{missing[0]}` is missing; the model reads: {', '.join(self.features)}"
            )
        tensors = {name: self._input(features, name) for name in self.features}
        return Emitter(self._plan, self._engine, tensors, check_ids)

    def _input(self, features: Mapping[str, tf.Tensor], name: str) -> tf.Tensor:
        tensor = tf.convert_to_tensor(features[name])
        dtype = self._plan.feature(name).dtype
        return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def lower(plan: Plan, share_weights_with: LoweredModule | None = None) -> LoweredModule:
    """Returns `plan` as a module; run `optimize` first, or it is lowered node by node.

    `share_weights_with`: a module of the plan that this one was split from
    (`split_context`), whose weights are then not stored twice, if it was traced or called
    before.
    """
    return LoweredModule(plan, share_weights_with)


def _variables(node: n.Opaque) -> list[tf.Variable]:
    # A Keras 3 variable wraps the tf.Variable that a SavedModel must track.
    return [resource(variable) for variable in getattr(node.layer, "variables", ())]


class _TensorFlowEngine:
    """An `Engine` of TensorFlow operations.

    Args:
        owned: where to put the constants, variables and tables that it makes, by key.
        shared: an engine whose weights and tables to take where it has them.
    """

    def __init__(self, owned: dict[str, Any], shared: _TensorFlowEngine | None):
        self.owned = owned
        self.shared = shared
        self._held: dict[str, list[tuple[n.Weight, Any]]] = {}  # by the array's name
        self._tables: dict[object, list[LoadTimeTable]] = {}

    def __call__(self, op: str, *args: Any) -> Any:
        return OPS[op].tensorflow(tf, *args)

    def weight(self, *weights: n.Weight, shape: Sequence[int] | None = None) -> Any:
        key = "+".join(map(str, weights)) + (f" as {tuple(shape)}" if shape else "")
        if key in self.owned:
            return self.owned[key]
        whole = stacked(weights)
        found = self._find(whole) if shape is None else None
        if found is not None:
            return found
        if len(weights) > 1 and whole.nbytes <= _LARGEST_CONSTANT:
            parts = [self._find(weight) for weight in weights]
            if all(part is not None for part in parts):
                return tf.concat(parts, axis=0)  # of constants: done once, at load
        array = whole.array if shape is None else whole.array.reshape(shape)
        tensor = self._kept(key, array.astype(stored_type(array), copy=False), weights[0].name)
        if whole.name and shape is None:
            self._held.setdefault(whole.name, []).append((whole, tensor))
        return tensor

    def _find(self, weight: n.Weight) -> Any | None:
        """What the shared engine holds of a weight: its tensor, or rows of one."""
        held = self.shared._held.get(weight.name, ()) if self.shared and weight.ndim else ()
        for whole, tensor in held:
            start = weight.start - whole.start
            stop = start + len(weight)
            if whole.base is weight.base and 0 <= start < stop <= len(whole):
                return tensor if stop - start == len(whole) else tensor[start:stop]
        return None

    def constant(self, key: str, array: np.ndarray) -> Any:
        return self._kept(key, array.astype(np.float32 if array.dtype.kind == "f" else np.int32))

    def _kept(self, key: str, array: np.ndarray, name: str = "") -> Any:
        if key not in self.owned:
            with tf.init_scope():  # outside of the function being traced: shared by all
                if array.nbytes > _LARGEST_CONSTANT:
                    name = re.sub(r"[^A-Za-z0-9_./-]", "_", name or key)  # what a graph allows
                    self.owned[key] = constant_variable(array, name)
                else:
                    self.owned[key] = tf.constant(array)
        return self.owned[key]

    def masked(
        self, table: n.MaskedTable, stored: Callable[[], StoredTable]
    ) -> tuple[Any, Any | None]:
        rows, *scale = self._load_time_tables(table, lambda: masked_table(table, stored()))
        return rows, scale[0] if scale else None

    def projected(self, node: n.ProjectedLookup, stored: Callable[[], list[TermTensors]]) -> Any:
        return self._load_time_tables(node.terms, lambda: (projected_table(node, stored()),))[0]

    def _load_time_tables(
        self, content: object, make: Callable[[], tuple[LoadTimeTable, ...]]
    ) -> list[Any]:
        tables = self.shared._tables.get(content) if self.shared else None
        tables = tables or self._tables.get(content)
        if tables is None:
            tables = []
            for table in make():  # the module owns what it uses; equal tables have one name
                if table.name not in self.owned:  # not `setdefault`, which is not tracked
                    self.owned[table.name] = table
                tables.append(self.owned[table.name])
            self._tables[content] = tables
        return [table() for table in tables]

    def opaque(self, node: n.Opaque, operands: Sequence[Any]) -> Any:
        return node.function(*operands)

'''`propagate`: which tasks a layer's inputs and variables reach, given its output's.

A layer without a rule of its own passes the tasks of its whole output on to every input
and every variable: always right, but all of the layer is then updated together. A rule
is worth writing for a layer of yours that keeps the parts of several readers side by side
in one variable, such as a mask per reader. Register one function for its class, anywhere
that is imported before `compile`:

>>> import numpy as np
>>> from mtl_tf.backend.keras import keras
>>> from mtl_tf.ranker.propagate import (
...     Propagated, TaskSlices, any_task, per_sub_network, propagate,
... )

>>> class Scale(keras.layers.Layer):
...     """Reader r sees the input times its own row: `(batch, D)` -> `(batch, readers, D)`."""
...     def build(self, input_shape):
...         self.scale = self.add_weight(name="scale", shape=(2, input_shape[-1]))
...     def call(self, inputs):
...         return inputs[:, None] * self.scale

>>> @propagate.register
... def _(layer: Scale, reached, inputs):
...     readers = per_sub_network(reached, layer.scale.shape[0])
...     return Propagated(
...         inputs=[any_task(reached)],
...         slices=[(layer.scale, TaskSlices(readers, axis=0))],
...         rest=any_task(reached),
...     )

With two readers, of which the first reaches click and the second buy:

>>> x = keras.Input((3,))
>>> layer = Scale()
>>> _ = layer(x)
>>> found = propagate(layer, np.eye(2, dtype=bool), [x])
>>> found.inputs[0].tolist(), found.slices[0][1].tasks.tolist()
([True, True], [[True, False], [False, True]])
'''

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf import layers

Tasks = np.ndarray[Any, Any]
"""Booleans: `(tasks,)`, or `(sub-networks, tasks)` of a tensor `(batch, sub-networks, width)`."""


@dataclass(frozen=True)
class TaskSlices:
    """The tasks that a variable reaches: `(tasks,)`, or `(slices, tasks)` along `axis`."""

    tasks: Tasks
    axis: int | None = None

    def broadcast(self, values: Any, rank: int) -> Any:
        """Reshape `values`, one for all or one per slice, to broadcast to a variable of `rank`."""
        if self.axis is None:
            return values
        return tf.reshape(values, [-1 if axis == self.axis else 1 for axis in range(rank)])

    def is_updated(self, labelled: Any, rank: int) -> Any:
        """True where a labelled task is reached; broadcasts to a variable of `rank`."""
        return self.broadcast(tf.reduce_any(tf.constant(self.tasks) & labelled, axis=-1), rank)

    @property
    def is_shared(self) -> Any:
        """True where two or more tasks are reached: one for all, or one per slice."""
        return self.tasks.sum(axis=-1) > 1


@dataclass(frozen=True)
class Propagated:
    """The tasks that the parts of a layer reach.

    Attributes:
        inputs: tasks of each input.
        slices: variables of which every task reaches a slice of its own.
        rest: tasks of all other variables.
    """

    inputs: Sequence[Tasks]
    slices: Sequence[tuple[Any, TaskSlices]]
    rest: Tasks


@singledispatch
def propagate(layer: Any, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    """Propagate tasks from a layer's output to its inputs and variables.

    Args:
        layer: its class selects the rule; the default is that every part needs all others.
        reached: the tasks that the output reaches.
        inputs: symbolic tensors that the layer was called on, for their shapes.
    """
    return Propagated([any_task(reached)] * len(inputs), (), any_task(reached))


def any_task(*reached: Tasks) -> Tasks:
    """The tasks reached by any sub-network of any of the tensors, `(tasks,)`."""
    flat = [tasks.any(axis=0) if tasks.ndim == 2 else tasks for tasks in reached]
    return np.any(flat, axis=0)


def per_sub_network(reached: Tasks, count: int) -> Tasks:
    """`reached` for each of `count` sub-networks, `(count, tasks)`."""
    return np.broadcast_to(reached, (count, reached.shape[-1]))


def _rows(variables: Sequence[Any], reached: Tasks) -> list[tuple[Any, TaskSlices]]:
    """Variables whose row r belongs to sub-network r."""
    return [(variable, TaskSlices(reached, 0)) for variable in variables if variable is not None]


@propagate.register
def _(layer: layers.SubNetworks, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    reached = per_sub_network(reached, layer.num_sub_networks)
    below = reached if len(inputs[0].shape) == 3 else any_task(reached)
    return Propagated([below], _rows([layer.kernel, layer.bias], reached), any_task(reached))


@propagate.register
def _(layer: layers.CellSparseSharing, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    reached = per_sub_network(reached, layer.num_sub_networks)
    rows = _rows([layer.kernel, layer.bias, layer.gate.log_alpha], reached)
    return Propagated([any_task(reached)], rows, any_task(reached))


@propagate.register
def _(layer: layers.SubNetworkRouting, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    reached = per_sub_network(reached, layer.num_outputs)
    rows = _rows([layer.kernel, layer.gate.log_alpha], reached)
    return Propagated([any_task(reached)], rows, any_task(reached))


@propagate.register
def _(layer: layers.CrossStitch, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    rows = _rows([layer.alpha], per_sub_network(reached, layer.alpha.shape[0]))
    return Propagated([any_task(reached)], rows, any_task(reached))


@propagate.register
def _(layer: layers.Sluice, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    reached = per_sub_network(reached, layer.num_tasks)
    rows = _rows([layer.alpha], np.repeat(reached, layer.num_subspaces, axis=0))
    return Propagated([any_task(reached)], rows, any_task(reached))


@propagate.register
def _(layer: layers.LevelMixture, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    reached = per_sub_network(reached, layer.beta.shape[0])
    return Propagated([reached] * len(inputs), _rows([layer.beta], reached), any_task(reached))


@propagate.register
def _(layer: layers.RepeatBranches, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    copies = per_sub_network(reached, sum(layer.counts))
    branches = np.split(copies, np.cumsum(layer.counts)[:-1])
    return Propagated([np.stack(list(map(any_task, branches)))], (), any_task(reached))


@propagate.register
def _(layer: layers.FieldMask, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    rows = _rows([layer.g], per_sub_network(reached, layer.num_readers))
    return Propagated([any_task(reached)], rows, any_task(reached))


@propagate.register
def _(layer: layers.ExpertMixture, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    reached = per_sub_network(reached, len(layer.reads))
    experts = np.zeros((inputs[0].shape[1], reached.shape[1]), bool)
    for tasks, reads in zip(reached, layer.reads, strict=True):
        experts[list(reads)] |= tasks
    gates = any_task(reached)
    if len(inputs[1].shape) == 3:  # reader k reads row k; nothing reads further rows
        gates = np.zeros((inputs[1].shape[1], reached.shape[1]), bool)
        gates[: len(reached)] = reached
    columns = np.repeat(reached, [len(reads) for reads in layer.reads], axis=0)
    kernel = (layer.kernel, TaskSlices(columns, 1))
    return Propagated([experts, gates], [kernel], any_task(reached))


@propagate.register
def _(layer: layers.Tower, reached: Tasks, inputs: Sequence[Any]) -> Propagated:
    sub_networks = np.zeros((inputs[0].shape[1], len(any_task(reached))), bool)
    sub_networks[layer.sub_network] = any_task(reached)
    return Propagated([sub_networks], (), any_task(reached))

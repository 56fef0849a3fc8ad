"""Which tasks' losses each variable can reach, down to a sub-network's share of it.

Sub-networks of one level lie side by side in one variable, and so a task's own part is
often a slice: row k of the last level's matrices, the columns of a task's gate in an
`ExpertMixture`. This follows the functional graph from each output down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf import layers
from mtl_tf.backend.graph import calls_above
from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import GATE, role_of

Tasks = np.ndarray[Any, Any]
"""Booleans: `(tasks,)`, or `(cells, tasks)` of a tensor `(batch, cells, width)`."""


@dataclass(frozen=True)
class TaskSlices:
    """The tasks that a variable reaches: `(tasks,)`, or `(slices, tasks)` along `axis`."""

    tasks: Tasks
    axis: int | None = None

    def along(self, marks: Any, rank: int) -> Any:
        """`marks`, one for all or one per slice, so that they broadcast to the variable."""
        if self.axis is None:
            return marks
        return tf.reshape(marks, [-1 if axis == self.axis else 1 for axis in range(rank)])

    def is_updated(self, labelled: Any, rank: int) -> Any:
        """Whether a labelled task is reached; broadcasts to the variable."""
        return self.along(tf.reduce_any(tf.constant(self.tasks) & labelled, axis=-1), rank)

    @property
    def shared(self) -> Any:
        """Whether two tasks or more are reached, for all or per slice."""
        return self.tasks.sum(axis=-1) > 1


class TaskReach:
    """The `TaskSlices` of every variable of a functional model.

    Args:
        model: its outputs are a dict by task.
        tasks: the tasks, by the names of their outputs.

    Example:
    >>> inputs = keras.Input((2,))
    >>> shared, own = keras.layers.Dense(3), keras.layers.Dense(1)
    >>> x = shared(inputs)
    >>> model = keras.Model(inputs, {"click": own(x), "buy": keras.layers.Dense(1)(x)})
    >>> reach = TaskReach(model, ["click", "buy"])
    >>> reach.of(shared.kernel).tasks.tolist(), reach.of(own.kernel).tasks.tolist()
    ([True, True], [True, False])
    """

    def __init__(self, model: keras.Model, tasks: Sequence[str]):
        self._all = np.ones(len(tasks), bool)
        self._found: dict[int, TaskSlices] = {}
        self._layers: list[Any] = []
        known: dict[int, Tasks] = {}
        scores = [model.output[task] for task in tasks]
        for score, own in zip(scores, np.eye(len(tasks)) > 0, strict=True):
            known[id(score)] = known.get(id(score), False) | own
        for call in calls_above(scores):
            tops = [known[id(tensor)] for tensor in call.outputs if id(tensor) in known]
            top = tops[0] if len(tops) == 1 else _any(*tops)
            down = propagate(call.layer, top, call.inputs)
            for tensor, reached in zip(call.inputs, down.inputs, strict=True):
                known[id(tensor)] = known.get(id(tensor), False) | reached
            self._add(call.layer, down)

    def _add(self, layer: Any, down: Propagated) -> None:
        own = {id(variable): slices for variable, slices in down.slices}
        for variable in layer.trainable_variables:
            slices = own.get(id(variable), TaskSlices(down.rest))
            before = self._found.get(id(variable), slices)
            axis = slices.axis if before.axis is None else before.axis
            self._found[id(variable)] = TaskSlices(before.tasks | slices.tasks, axis)
        self._layers.append(layer)

    def of(self, variable: Any) -> TaskSlices:
        """What a trainable variable reaches; all tasks, if it is in no layer of the graph."""
        return self._found.get(id(variable), TaskSlices(self._all))

    def last_shared(self) -> list[Any]:
        """The shared variables, but for gates, of the last layer that has any."""
        for layer in self._layers:  # from the outputs down
            shared = [
                variable
                for variable in layer.trainable_variables
                if self.of(variable).shared.any() and role_of(variable) != GATE
            ]
            if shared:
                return shared
        return []


@dataclass(frozen=True)
class Propagated:
    """What lies below a layer's output, whose tasks are known.

    Attributes:
        inputs: tasks of each input.
        slices: variables of which every task reaches a slice of its own.
        rest: tasks of all other variables.
    """

    inputs: Sequence[Tasks]
    slices: Sequence[tuple[Any, TaskSlices]]
    rest: Tasks


@singledispatch
def propagate(layer: Any, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    """What a layer's output needs; of an unknown layer, every part needs every other."""
    return Propagated([_any(top)] * len(inputs), (), _any(top))


def _rows(variables: Sequence[Any], top: Tasks) -> list[tuple[Any, TaskSlices]]:
    return [(variable, TaskSlices(top, 0)) for variable in variables if variable is not None]


@propagate.register
def _(layer: layers.SubNetworks, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    top = _per_cell(top, layer.num_sub_networks)
    down = top if len(inputs[0].shape) == 3 else _any(top)
    return Propagated([down], _rows([layer.kernel, layer.bias], top), _any(top))


@propagate.register
def _(layer: layers.CellSparseSharing, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    top = _per_cell(top, layer.num_sub_networks)
    rows = _rows([layer.kernel, layer.bias, layer.gate.log_alpha], top)
    return Propagated([_any(top)], rows, _any(top))


@propagate.register
def _(layer: layers.SubNetworkRouting, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    rows = _rows([layer.kernel, layer.gate.log_alpha], _per_cell(top, layer.num_outputs))
    return Propagated([_any(top)], rows, _any(top))


@propagate.register
def _(layer: layers.CrossStitch, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    rows = _rows([layer.alpha], _per_cell(top, layer.alpha.shape[0]))
    return Propagated([_any(top)], rows, _any(top))


@propagate.register
def _(layer: layers.Sluice, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    top = np.repeat(_per_cell(top, layer.num_tasks), layer.num_subspaces, axis=0)
    return Propagated([_any(top)], _rows([layer.alpha], top), _any(top))


@propagate.register
def _(layer: layers.LevelMixture, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    top = _per_cell(top, layer.beta.shape[0])
    return Propagated([top] * len(inputs), _rows([layer.beta], top), _any(top))


@propagate.register
def _(layer: layers.RepeatBranches, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    top = _per_cell(top, sum(layer.counts))
    branches = np.split(top, np.cumsum(layer.counts)[:-1])
    return Propagated([np.stack([branch.any(axis=0) for branch in branches])], (), _any(top))


@propagate.register
def _(layer: layers.FieldMask, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    return Propagated([_any(top)], _rows([layer.g], _per_cell(top, layer.num_readers)), _any(top))


@propagate.register
def _(layer: layers.ExpertMixture, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    top = _per_cell(top, len(layer.reads))
    experts = np.zeros((inputs[0].shape[1], top.shape[1]), bool)
    for tasks, reads in zip(top, layer.reads, strict=True):
        experts[list(reads)] |= tasks
    gates = _any(top)
    if len(inputs[1].shape) == 3:  # reader k reads row k, rows past the readers nobody
        gates = np.zeros((inputs[1].shape[1], top.shape[1]), bool)
        gates[: len(top)] = top
    columns = np.repeat(top, [len(reads) for reads in layer.reads], axis=0)
    return Propagated([experts, gates], [(layer.kernel, TaskSlices(columns, 1))], _any(top))


@propagate.register
def _(layer: layers.Tower, top: Tasks, inputs: Sequence[Any]) -> Propagated:
    cells = np.zeros((inputs[0].shape[1], len(_any(top))), bool)
    cells[layer.sub_network] = _any(top)
    return Propagated([cells], (), _any(top))


def _any(*tops: Tasks) -> Tasks:
    """The tasks of any of them, `(tasks,)`."""
    found = [top.any(axis=0) if top.ndim == 2 else top for top in tops]
    return np.any(found, axis=0)


def _per_cell(top: Tasks, cells: int) -> Tasks:
    return np.broadcast_to(top, (cells, top.shape[-1]))

"""`TaskReach`: which tasks' losses each variable reaches, down to one sub-network's slice.

Sub-networks of one level lie side by side in one variable, and so a task's own part is
often a slice: row k of the last level's matrices, the columns of a task's gate in an
`ExpertMixture`. The functional graph is followed from each output down to the inputs, by
one rule per class of layer (see `mtl_tf.ranker.propagate`, also for layers of your own).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl_tf.backend.graph import calls_above
from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import GATE, role_of
from mtl_tf.ranker.propagate import Propagated, Tasks, TaskSlices, any_task, propagate


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
        self._slices: dict[int, TaskSlices] = {}
        self._layers: list[Any] = []
        scores = [model.output[task] for task in tasks]
        reached: dict[int, Tasks] = {}
        for score, own in zip(scores, np.eye(len(tasks)) > 0, strict=True):
            reached[id(score)] = reached.get(id(score), False) | own
        for call in calls_above(scores):
            above = [reached[id(tensor)] for tensor in call.outputs if id(tensor) in reached]
            tasks_of_output = above[0] if len(above) == 1 else any_task(*above)
            below = propagate(call.layer, tasks_of_output, call.inputs)
            for tensor, found in zip(call.inputs, below.inputs, strict=True):
                reached[id(tensor)] = reached.get(id(tensor), False) | found
            self._add(call.layer, below)

    def _add(self, layer: Any, found: Propagated) -> None:
        sliced = {id(variable): slices for variable, slices in found.slices}
        for variable in layer.trainable_variables:
            slices = sliced.get(id(variable), TaskSlices(found.rest))
            before = self._slices.get(id(variable), slices)  # of another call of the layer
            axis = slices.axis if before.axis is None else before.axis
            self._slices[id(variable)] = TaskSlices(before.tasks | slices.tasks, axis)
        self._layers.append(layer)

    def of(self, variable: Any) -> TaskSlices:
        """The tasks that a trainable variable reaches; all, if no layer of the graph has it."""
        return self._slices.get(id(variable), TaskSlices(self._all))

    def last_shared(self) -> list[Any]:
        """The shared variables, gates excepted, of the last layer that has any."""
        for layer in self._layers:  # from the outputs down
            shared = [
                variable
                for variable in layer.trainable_variables
                if self.of(variable).is_shared.any() and role_of(variable) != GATE
            ]
            if shared:
                return shared
        return []

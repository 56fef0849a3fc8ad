"""`MaskedUpdate`: undo an optimizer's step where no labelled task asked for it.

An optimizer moves a variable whose gradient is 0 all the same, by its momentum and its
weight decay (tensorflow issue 12453), and a compiled step must give every variable a
gradient. So the step is made, and then undone where it must not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import LEGACY
from mtl_tf.backend.optimizer_slots import slots, unwrapped
from mtl_tf.backend.replicas import update_on_replicas
from mtl_tf.backend.variables import resource
from mtl_tf.ranker.optimizers.adam import Adam
from mtl_tf.ranker.task_reach import TaskReach


class MaskedUpdate:
    """Restrict a step to the variables, and slices of them, that a labelled task reaches.

    Created before the step, it reads the variables and their optimizer slots; `restore`
    after the step puts the values back that must not have changed. Tables that are updated
    row by row are left out: a row without a gradient keeps its bits anyway.

    Args:
        optimizer: a Keras optimizer.
        variables: the trainable variables.
        reach: the tasks that they reach.
        labelled: True for each task that the batch has a label of, `(tasks,)` booleans.
    """

    def __init__(self, optimizer: Any, variables: Sequence[Any], reach: TaskReach, labelled: Any):
        with tf.init_scope():
            if LEGACY or not optimizer.built:
                optimizer.build(variables)
        adam = unwrapped(optimizer)
        self._before = []  # (variable or slot, where it is updated, its value)
        for variable in variables:
            if isinstance(adam, Adam) and adam.is_row_sparse(variable):
                continue
            updated = reach.of(variable).is_updated(labelled, len(variable.shape))
            for each in map(resource, (variable, *slots(optimizer, variable))):
                self._before.append((each, updated, tf.identity(each)))

    def restore(self) -> None:
        """Put the values back that the step must not have changed, bit for bit."""
        update_on_replicas(_restore, self._before)


def _restore(variable: Any, updated: Any, before: Any) -> None:
    variable.assign(tf.where(updated, variable, before))

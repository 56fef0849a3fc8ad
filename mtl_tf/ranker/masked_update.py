"""Holding what a step must not move: variables, and their moments in the optimizer.

An optimizer moves a variable whose gradient is 0 all the same, by its momentum and its
weight decay (tensorflow issue 12453), and there is no way to tell it not to: in a
compiled step it must be given a gradient. So what it did is undone.
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
    """Remembers what no labelled task reaches, until `restore` gives it back its bits.

    TaskSlices are held one by one. A variable that the optimizer moves by rows is left to
    it: there a row without a gradient keeps its bits anyway.

    Args:
        optimizer: a Keras optimizer.
        variables: the trainable variables.
        reach: the tasks that they reach.
        labelled: whether the batch has a label of each task, `(tasks,)` booleans.
    """

    def __init__(self, optimizer: Any, variables: Sequence[Any], reach: TaskReach, labelled: Any):
        with tf.init_scope():
            if LEGACY or not optimizer.built:
                optimizer.build(variables)
        self._held = []  # (variable, whether it moves, value before)
        adam = unwrapped(optimizer)
        for variable in variables:
            if isinstance(adam, Adam) and adam.is_row_sparse(variable):
                continue
            moves = reach.of(variable).is_updated(labelled, len(variable.shape))
            for held in (variable, *slots(optimizer, variable)):
                held = resource(held)
                self._held.append((held, moves, tf.identity(held)))

    def restore(self) -> None:
        """Puts back what must not have moved."""
        update_on_replicas(_choose, self._held)


def _choose(variable: Any, moves: Any, before: Any) -> None:
    variable.assign(tf.where(moves, variable, before))

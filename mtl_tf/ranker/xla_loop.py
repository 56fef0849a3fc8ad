"""`CompiledTrainLoop`: the steps of one execution as one XLA program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class CompiledTrainLoop:
    """A training function whose loop over the steps of an execution is compiled as well.

    Keras compiles a step and loops around it. Between two steps it takes a batch, looks up
    the program and hands it some hundred tensors, for a twentieth to a tenth of a step's
    time, in which nothing computes. Here an execution draws its batches, stacks them, and is
    one call. The last execution of an epoch may have fewer batches: it runs the same program
    with their number as an argument.

    Args:
        step: trains on a batch.
        logs: returns the logs after the last step, from variables alone.
        steps: number of steps of an execution.
        fallback: Keras' own training function, for batches of unknown or varying shape.
    """

    def __init__(
        self,
        step: Callable[[Any], Any],
        logs: Callable[[], dict[str, Any]],
        steps: int,
        fallback: Callable[[Any], Any],
    ):
        self._fallback = fallback

        @tf.function(jit_compile=True, autograph=False)
        def program(count: Any, batches: Any) -> Any:
            def train(done: Any) -> Any:
                step(tf.nest.map_structure(lambda stacked: stacked[done], batches))
                return done + 1

            tf.while_loop(lambda done: done < count, train, [0])
            return logs()

        @tf.function(autograph=False)
        def execute(iterator: Any) -> Any:
            count, batches = _draw(iterator, steps)
            return count, program(count, batches)

        self._execute = execute

    def __call__(self, iterator: Any) -> dict[str, Any]:
        """Train on the next batches and return the logs; `StopIteration` if none are left."""
        if not _can_be_stacked(iterator):
            return self._fallback(iterator)
        count, logs = self._execute(iterator)
        if int(count) == 0:
            raise StopIteration
        return logs


def _can_be_stacked(iterator: Any) -> bool:
    """Return True if all batches are tensors of the same, known shapes."""
    specs = tf.nest.flatten(getattr(iterator, "element_spec", None))
    return all(isinstance(x, tf.TensorSpec) and x.shape.is_fully_defined() for x in specs)


def _draw(iterator: Any, limit: int) -> tuple[Any, Any]:
    """Up to `limit` batches: their number, and all of them stacked, padded by zeros."""
    specs = tf.nest.flatten(iterator.element_spec)

    def has_next(count: Any, batch: Any, _: Any) -> Any:
        return (count < limit) & batch.has_value()

    def write(count: Any, batch: Any, stacks: Any) -> Any:
        values = tf.nest.flatten(batch.get_value())
        stacks = [stack.write(count, value) for stack, value in zip(stacks, values, strict=True)]
        # Not one batch too many: it belongs to the next execution.
        batch = tf.cond(count + 1 < limit, iterator.get_next_as_optional, lambda: batch)
        return count + 1, batch, stacks

    empty = [tf.TensorArray(spec.dtype, size=limit, element_shape=spec.shape) for spec in specs]
    count, _, stacks = tf.while_loop(has_next, write, [0, iterator.get_next_as_optional(), empty])
    stacked = [stack.stack() for stack in stacks]
    return count, tf.nest.pack_sequence_as(iterator.element_spec, stacked)

"""`CompiledTrainLoop`: the steps of one execution as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class CompiledTrainLoop:
    """Keras' training function where XLA compiles and an execution is several steps.

    Keras compiles a step and loops around it. Between two steps it takes a batch, looks up
    the program and hands it some hundred tensors, for a twentieth to a tenth of a step's
    time, in which nothing computes. So here the loop is inside: an execution draws its
    batches, stacks them, and is one call. An epoch's last one may be shorter; it runs the
    same program, which is told how many of its batches count.

    Args:
        step: trains on a batch.
        logs: what is logged after the last step, from variables alone.
        steps: of an execution.
        fallback: Keras' own function, for an iterator whose batches differ in shape.
    """

    def __init__(
        self,
        step: Callable[[Any], Any],
        logs: Callable[[], dict[str, Any]],
        steps: int,
        fallback: Callable[[Any], Any],
    ):
        self._otherwise = fallback

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
        """Trains on the next batches; `StopIteration` if there are none."""
        if not _alike(iterator):
            return self._otherwise(iterator)
        count, logs = self._execute(iterator)
        if int(count) == 0:
            raise StopIteration
        return logs


def _alike(iterator: Any) -> bool:
    """Whether all its batches are tensors of known shapes, and so can be stacked."""
    specs = tf.nest.flatten(getattr(iterator, "element_spec", None))
    return all(isinstance(x, tf.TensorSpec) and x.shape.is_fully_defined() for x in specs)


def _draw(iterator: Any, most: int) -> tuple[Any, Any]:
    """Up to `most` batches, stacked, and their number; zeros stand for missing ones."""
    specs = tf.nest.flatten(iterator.element_spec)

    def more(count: Any, batch: Any, _: Any) -> Any:
        return (count < most) & batch.has_value()

    def keep(count: Any, batch: Any, kept: Any) -> Any:
        values = tf.nest.flatten(batch.get_value())
        kept = [array.write(count, value) for array, value in zip(kept, values, strict=True)]
        # Not one too many: it is the next execution's.
        batch = tf.cond(count + 1 < most, iterator.get_next_as_optional, lambda: batch)
        return count + 1, batch, kept

    empty = [tf.TensorArray(spec.dtype, size=most, element_shape=spec.shape) for spec in specs]
    count, _, kept = tf.while_loop(more, keep, [0, iterator.get_next_as_optional(), empty])
    stacked = [array.stack() for array in kept]
    return count, tf.nest.pack_sequence_as(iterator.element_spec, stacked)

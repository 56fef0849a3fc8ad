"""`RepeatBranches`: each sub-network's output once per reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_positive


@keras.saving.register_keras_serializable("mtl_tf")
class RepeatBranches(keras.layers.Layer):
    """Repeats each of B inputs in place: `(batch, B, d)` -> `(batch, Σ counts, d)`.

    Input b is repeated `counts[b]` times in a row: in PLE, one input for each expert of the
    next level, of which several belong to one task.

    Args:
        counts: number of readers of each of the B inputs.

    Example:
    >>> RepeatBranches(counts=[2, 1])(tf.constant([[[1.0], [2.0]]]))[0, :, 0].numpy().tolist()
    [1.0, 1.0, 2.0]
    """

    def __init__(self, counts: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        for count in counts:
            check_positive(counts=count)
        self.counts = tuple(counts)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3 or input_shape[1] != len(self.counts):
            raise ValueError(
                f"the input must be (batch, {len(self.counts)}, width). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.built = True

    def call(self, inputs):
        # Not `tf.repeat`, whose gradient is a scatter: the gradient here is a sum.
        branches = zip(tf.unstack(inputs, axis=1), self.counts, strict=True)
        return tf.stack([branch for branch, count in branches for _ in range(count)], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], sum(self.counts), input_shape[2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "counts": list(self.counts)}

"""`ValueHead`: from a tower's outputs to a value in the label's own unit."""

from __future__ import annotations

from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import attach_outputs


class ValueHead(keras.layers.Layer):
    """The last layer of a regression task: `(batch, num_outputs)` -> `(batch, 1)`.

    What a tower computes is of the order of 1, whatever the unit of the label. A head
    restores the value from it, and has the loss that the outputs are trained with: a
    `MaskedMeanLoss` with this head finds the outputs behind the value, as Keras'
    cross-entropy finds the logits behind a sigmoid.

    A subclass has `num_outputs`, `value` and `losses_of`; its rule in `compiler.capture` states
    `value` as nodes of a plan.
    """

    @property
    def num_outputs(self) -> int:
        """How many numbers of the tower the head reads."""
        return 1

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2 or input_shape[1] != self.num_outputs:
            raise ValueError(
                f"the input must be (batch, {self.num_outputs}). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.built = True

    def call(self, inputs):
        return attach_outputs(self.value(inputs), inputs)

    def value(self, outputs: Any) -> Any:
        """Return the value `(batch, 1)` that a tower's outputs stand for."""
        raise NotImplementedError

    def losses_of(self, labels: Any, outputs: Any) -> Any:
        """Return the loss `(batch,)` of each row, for labels `(batch, 1)`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)

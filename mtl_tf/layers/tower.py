"""`Tower`: one task's dense stack, from its sub-network to its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_positive

_LINKS = {"sigmoid": "sigmoid", "identity": "linear"}


@keras.saving.register_keras_serializable("mtl_tf")
class Tower(keras.layers.Layer):
    """A task's score from its sub-network: `(batch, sub-networks, d)` -> `(batch, outputs)`.

        h_0 = input[:, sub_network],  h_k = act(h_{k-1} W_k + b_k),  score = link(h_K w + b)

    The link is the last operation, in float32, so that Keras' cross-entropy finds the
    logits behind a sigmoid and computes on them.

    Args:
        sub_network: index of the sub-network that the task reads.
        units: widths of the hidden layers; may be empty.
        activation: activation of the hidden layers.
        link: `sigmoid` (binary tasks) or `identity` (regression).
        kernel_regularizer: regularizer of the matrices.
        num_outputs: 1, or as many numbers as the `ValueHead` above the tower reads.

    Attributes: `hidden`, the hidden `Dense` layers, and `score`, the last one.

    Example:
    >>> tower = Tower(sub_network=1, units=[4], link="identity")
    >>> import tensorflow as tf
    >>> tuple(tower(tf.ones((5, 3, 2))).shape)
    (5, 1)
    """

    def __init__(
        self,
        sub_network: int,
        units: Sequence[int] = (16,),
        activation: Any = "relu",
        link: str = "sigmoid",
        kernel_regularizer: Any = None,
        num_outputs: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for width in units:
            check_positive(units=width)
        check_positive(num_outputs=num_outputs)
        if sub_network < 0:
            raise ValueError(
                f"`sub_network` must not be negative. Received: sub_network={sub_network}"
            )
        if link not in _LINKS:
            raise ValueError(f"`link` must be one of {tuple(_LINKS)}. Received: link={link!r}")
        self.sub_network = sub_network
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        self.link = link
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.num_outputs = num_outputs
        self.hidden = [
            keras.layers.Dense(
                width,
                activation=self.activation,
                kernel_regularizer=self.kernel_regularizer,
                dtype=kwargs.get("dtype"),
                name=f"hidden_{index}",
            )
            for index, width in enumerate(self.units)
        ]
        self.score = keras.layers.Dense(
            num_outputs,
            activation=_LINKS[link],
            kernel_regularizer=self.kernel_regularizer,
            dtype="float32",
            name="score",
        )

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3 or not self.sub_network < input_shape[1]:
            raise ValueError(
                "the input must be (batch, sub-networks, width) with more than "
                f"{self.sub_network} sub-networks. Received: input_shape={tuple(input_shape)}"
            )
        shape = (input_shape[0], input_shape[2])
        for layer in (*self.hidden, self.score):
            layer.build(shape)
            shape = (*shape[:-1], layer.units)
        self.built = True

    def call(self, inputs):
        outputs = inputs[:, self.sub_network]
        for layer in self.hidden:
            outputs = layer(outputs)
        return self.score(outputs)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sub_network": self.sub_network,
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
            "link": self.link,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "num_outputs": self.num_outputs,
        }

"""`SubNetworks`: one dense layer per sub-network, computed together."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_positive, glorot
from mtl_tf.layers._factors import matmul


@keras.saving.register_keras_serializable("mtl_tf")
class SubNetworks(keras.layers.Layer):
    """Independent dense layers of equal width: u_r = act(x_r W_r + b_r).

    Args:
        num_sub_networks: number R of sub-networks.
        units: width of each.
        activation: activation of each.
        kernel_regularizer: regularizer of the matrices.

    Inputs: `(batch, R, D)`, an input per sub-network, or `(batch, D)`, one for all.
    Output: `(batch, R, units)`. Variables: `kernel` (R, D, units), `bias` (R, units).

    Example:
    >>> layer = SubNetworks(num_sub_networks=3, units=4)
    >>> tuple(layer(tf.ones((5, 3, 2))).shape), tuple(layer.kernel.shape)
    ((5, 3, 4), (3, 2, 4))
    """

    def __init__(
        self,
        num_sub_networks: int,
        units: int,
        activation: Any = "relu",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_sub_networks=num_sub_networks, units=units)
        self.num_sub_networks = num_sub_networks
        self.units = units
        self.activation = keras.activations.get(activation)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) not in (2, 3) or (
            len(input_shape) == 3 and input_shape[1] != self.num_sub_networks
        ):
            raise ValueError(
                f"the input must be (batch, D) or (batch, {self.num_sub_networks}, D). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        width = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.num_sub_networks, width, self.units),
            initializer=glorot(width, self.units),
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.num_sub_networks, self.units), initializer="zeros"
        )
        self.built = True

    def call(self, inputs):
        if len(inputs.shape) == 2:
            # One wide matrix: the compiler's products are fastest on plain matrices.
            kernel = tf.transpose(self.kernel, (1, 0, 2))
            kernel = tf.reshape(kernel, (-1, self.num_sub_networks * self.units))
            products = matmul(inputs, kernel)
            products = tf.reshape(products, (-1, self.num_sub_networks, self.units))
            return self.activation(products + self.bias)
        # Sub-networks first, up to the activation: for an einsum the compiler would choose
        # the layout and copy. Between two such layers the transposes cancel.
        products = tf.matmul(tf.transpose(inputs, (1, 0, 2)), self.kernel)
        bias = tf.convert_to_tensor(self.bias)[:, None]
        return tf.transpose(self.activation(products + bias), (1, 0, 2))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_sub_networks, self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_sub_networks": self.num_sub_networks,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }

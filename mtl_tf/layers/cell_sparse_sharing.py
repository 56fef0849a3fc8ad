"""`CellSparseSharing`: gated connections from every sub-network to every one above."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_positive, glorot
from mtl_tf.layers.hard_concrete_gate import HardConcreteGate


@keras.saving.register_keras_serializable("mtl_tf")
class CellSparseSharing(keras.layers.Layer):
    """MSSM's cell-level sparse connection: `(batch, J, d)` -> `(batch, I, units)`.

        v_i = act(Σ_j z_ij ⊙ (u_j W_ij) + b_i)

    with one hard-concrete gate vector z_ij per connection, over the units of W_ij. A
    sub-network ("cell" in the paper) may read every one of the level below: its task's, the
    shared one and those of other tasks.

    Args:
        num_sub_networks: number I of sub-networks of this level.
        units: width of each.
        activation: activation of each.
        beta, gamma, zeta, initial_drop, penalty: see `HardConcreteGate`.
        kernel_regularizer: regularizer of the matrices.
        seed: of the samples; see `HardConcreteGate`.

    Variables: `kernel` (I, J, d, units), `bias` (I, units); `gate` is the
    `HardConcreteGate`, of shape (I, J, units).

    Example:
    >>> layer = CellSparseSharing(num_sub_networks=3, units=4)
    >>> tuple(layer(tf.ones((5, 2, 6))).shape), layer.gate.shape
    ((5, 3, 4), (3, 2, 4))

    Reference: Ding et al., "MSSM: A Multiple-level Sparse Sharing Model for Efficient
    Multi-Task Learning", SIGIR 2021 (its CSSM).
    """

    def __init__(
        self,
        num_sub_networks: int,
        units: int,
        activation: Any = "relu",
        beta: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        initial_drop: float = 0.1,
        penalty: float = 0.0,
        kernel_regularizer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_sub_networks=num_sub_networks, units=units)
        self.num_sub_networks = num_sub_networks
        self.units = units
        self.activation = keras.activations.get(activation)
        self.gate_arguments = {
            "beta": beta,
            "gamma": gamma,
            "zeta": zeta,
            "initial_drop": initial_drop,
            "penalty": penalty,
        }
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3:
            raise ValueError(
                "the input must be (batch, sub-networks, width). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        num_inputs, width = input_shape[1:]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.num_sub_networks, num_inputs, width, self.units),
            initializer=glorot(num_inputs * width, self.units),
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.num_sub_networks, self.units), initializer="zeros"
        )
        self.gate = HardConcreteGate(
            (self.num_sub_networks, num_inputs, self.units),
            **self.gate_arguments,
            seed=self.seed,
            name="gate",
        )
        self.seed = self.gate.seed  # also a drawn one: a reloaded layer continues its samples
        self.gate.build((width, self.num_sub_networks, num_inputs, self.units))
        self.built = True

    def call(self, inputs, training=None):
        # Gating the matrices, not the products, costs nothing per example and leaves
        # one matrix product for all connections.
        kernel = tf.transpose(self.kernel, (2, 0, 1, 3))  # (width, I, J, units)
        kernel = self.gate(kernel, training=training)
        return self.activation(tf.einsum("bjd,diju->biu", inputs, kernel) + self.bias)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_sub_networks, self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_sub_networks": self.num_sub_networks,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            **self.gate_arguments,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "seed": self.seed,
        }

"""`SubNetworkRouting`: one scalar gate on each connection between two levels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_positive, glorot
from mtl_tf.layers.hard_concrete_gate import HardConcreteGate


@keras.saving.register_keras_serializable("mtl_tf")
class SubNetworkRouting(keras.layers.Layer):
    """SNR's connections: `(batch, J, d)` -> `(batch, I, units)`, the input of each reader.

        SNR-Trans   v_i = Σ_j z_ij u_j W_ij        with `units`
        SNR-Aver    v_i = Σ_j z_ij u_j             `units=None`: the width is d

    z_ij is one hard-concrete gate per connection, a scalar. There is neither bias nor
    activation: v_i is the input of sub-network i (or of tower i), which has its own.
    SNR-Aver is the paper's plain sum, without weights and without normalisation.

    Args:
        num_outputs: number I of sub-networks or towers that read.
        units: width of each output; None adds the inputs without matrices.
        beta, gamma, zeta, initial_drop, penalty: see `HardConcreteGate`.
        kernel_regularizer: regularizer of the matrices.
        seed: of the samples; see `HardConcreteGate`.

    Variables: `kernel` (I, J, d, units) of SNR-Trans; `gate` is the
    `HardConcreteGate`, of shape (I, J).

    Example:
    >>> trans = SubNetworkRouting(num_outputs=3, units=4)
    >>> tuple(trans(tf.ones((5, 2, 6))).shape), trans.gate.shape
    ((5, 3, 4), (3, 2))
    >>> tuple(SubNetworkRouting(num_outputs=3)(tf.ones((5, 2, 6))).shape)
    (5, 3, 6)

    Reference: Ma et al., "SNR: Sub-Network Routing for Flexible Parameter Sharing in
    Multi-Task Learning", AAAI 2019.
    """

    def __init__(
        self,
        num_outputs: int,
        units: int | None = None,
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
        check_positive(num_outputs=num_outputs)
        if units is not None:
            check_positive(units=units)
        self.num_outputs = num_outputs
        self.units = units
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
        inputs, width = input_shape[1:]
        self.kernel = None
        if self.units is not None:
            self.kernel = self.add_weight(
                name="kernel",
                shape=(self.num_outputs, inputs, width, self.units),
                initializer=glorot(inputs * width, self.units),
                regularizer=self.kernel_regularizer,
            )
        shape = (self.num_outputs, inputs)
        self.gate = HardConcreteGate(shape, **self.gate_arguments, seed=self.seed, name="gate")
        self.seed = self.gate.seed  # also a drawn one: a reloaded layer continues its samples
        self.gate.build(shape)
        self.built = True

    def call(self, inputs, training=None):
        gate = self.gate(tf.ones(self.gate.shape, inputs.dtype), training=training)  # (I, J)
        if self.kernel is None:
            return tf.einsum("bjd,ij->bid", inputs, gate)
        # Gating the matrices, not the products, costs nothing per example.
        kernel = gate[:, :, None, None] * self.kernel
        return tf.einsum("bjd,ijdu->biu", inputs, kernel)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_outputs, self.units or input_shape[2])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "units": self.units,
            **self.gate_arguments,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "seed": self.seed,
        }

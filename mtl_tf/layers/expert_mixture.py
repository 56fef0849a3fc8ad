"""`ExpertMixture`: softmax gates over experts, a mixture per reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import glorot
from mtl_tf.layers._factors import matmul


@keras.saving.register_keras_serializable("mtl_tf")
class ExpertMixture(keras.layers.Layer):
    """Mixes experts for each reader: `[(batch, E, u), gate input]` -> `(batch, K, u)`.

        f_k = Σ_{e in reads_k} softmax(x_k G_k)_e h_e

    A gate is one matrix without a bias, as wide as the number of experts that its reader
    sees; experts that it does not see have no weight and no parameters.

    Args:
        reads: for each of the K readers, the indices of the experts that it sees.
            MMoE: all, for every task. CGC and PLE: a task's own and the shared ones,
            all experts, for the shared reader.
        kernel_regularizer: regularizer of the gates' matrices.

    Inputs: the experts `(batch, E, u)` and what the gates read: `(batch, D)`, the same
    for all, or `(batch, at least K, D)`, row k for reader k.
    Variable: `kernel` (D, Σ_k |reads_k|), the gates' matrices side by side, a reader's
    columns in ascending order of its experts.

    Example:
    >>> mixture = ExpertMixture(reads=[[0, 1], [0, 1, 2]])
    >>> tuple(mixture([tf.ones((5, 3, 4)), tf.ones((5, 6))]).shape), tuple(mixture.kernel.shape)
    ((5, 2, 4), (6, 5))

    References: Ma et al., "Modeling Task Relationships in Multi-task Learning with
    Multi-gate Mixture-of-Experts", KDD 2018; Tang et al., "Progressive Layered
    Extraction (PLE)", RecSys 2020.
    """

    def __init__(
        self, reads: Sequence[Sequence[int]], kernel_regularizer: Any = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        for experts in reads:
            if not experts or min(experts) < 0 or len(set(experts)) < len(experts):
                raise ValueError(
                    "`reads` must list one or more experts for every reader, each once. "
                    f"Received: reads={[list(experts) for experts in reads]}"
                )
        if not reads:
            raise ValueError("`reads` must have at least one reader. Received: reads=[]")
        self.reads = tuple(tuple(sorted(experts)) for experts in reads)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        experts, gates = (tuple(shape) for shape in input_shape)
        readers, highest = len(self.reads), max(map(max, self.reads))
        if len(experts) != 3 or experts[1] <= highest:
            raise ValueError(
                f"the experts must be (batch, more than {highest}, units). "
                f"Received: input_shape={[experts, gates]}"
            )
        if len(gates) not in (2, 3) or (len(gates) == 3 and gates[1] < readers):
            raise ValueError(
                f"the gates' input must be (batch, D) or (batch, at least {readers}, D). "
                f"Received: input_shape={[experts, gates]}"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(gates[-1], sum(map(len, self.reads))),
            initializer=glorot(gates[-1], max(map(len, self.reads))),
            regularizer=self.kernel_regularizer,
        )
        self._num_experts = experts[1]
        self.built = True

    def call(self, inputs):
        experts, gate_inputs = inputs
        shares = tf.nn.softmax(tf.cast(self._logits(gate_inputs), tf.float32))
        shares = tf.cast(shares, experts.dtype)[..., None]  # (batch, K, E, 1)
        # All readers at once, and shares broadcast by a product: the compiler fuses both and
        # their gradients. Readers side by side would be an `if` per number, and the gradient
        # of a broadcast a sum over the units, in several passes.
        ones = tf.ones((1, experts.shape[2]), experts.dtype)
        return tf.reduce_sum(tf.matmul(shares, ones) * experts[:, None], axis=2)

    def _logits(self, inputs):
        """The gates' logits `(batch, K, E)`, −∞ where a reader does not see an expert."""
        readers = len(self.reads)
        kernel = tf.convert_to_tensor(self.kernel)
        seen = self._seen()
        if not seen.all():  # spread the columns over all (reader, expert) pairs
            places = np.eye(seen.size, dtype="float32")[seen.reshape(-1)]
            kernel = tf.matmul(kernel, tf.constant(places, kernel.dtype))
        if len(inputs.shape) == 2:
            logits = matmul(inputs, tf.cast(kernel, inputs.dtype))
            logits = tf.reshape(logits, (-1, readers, self._num_experts))
        else:
            kernel = tf.reshape(kernel, (-1, readers, self._num_experts))
            logits = tf.einsum("bkd,dke->bke", inputs[:, :readers], kernel)
        return logits if seen.all() else tf.where(seen, logits, logits.dtype.min)

    def _seen(self) -> np.ndarray:
        """True where reader k sees expert e, `(K, E)`."""
        seen = np.zeros((len(self.reads), self._num_experts), bool)
        for reader, experts in enumerate(self.reads):
            seen[reader, list(experts)] = True
        return seen

    def gate_kernels(self) -> list[Any]:
        """The matrix G_k `(D, |reads_k|)` of each reader."""
        return tf.split(tf.convert_to_tensor(self.kernel), [len(r) for r in self.reads], axis=1)

    def compute_output_shape(self, input_shape):
        experts = input_shape[0]
        return (experts[0], len(self.reads), experts[2])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "reads": [list(experts) for experts in self.reads],
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }

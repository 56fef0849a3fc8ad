"""`Sluice`: a level of sub-networks whose subspaces are mixed across tasks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_not_negative, check_positive, rename_arguments
from mtl_tf.layers._mixing import check_share, constant_initializer, near_identity
from mtl_tf.layers.sub_networks import SubNetworks


@keras.saving.register_keras_serializable("mtl_tf")
class Sluice(keras.layers.Layer):
    """One level of a sluice network: `(batch, K, d)` or `(batch, d)` -> `(batch, K, units)`.

    Every task's layer h_k = act(x_k G_k + b_k) is cut into S subspaces of equal width,
    h_k = [h_k1 … h_kS], and each subspace becomes a mixture of all subspaces of all tasks:

        h̃_ks = Σ_{m,t} α_{ks,mt} h_mt        α (K·S × K·S), one scalar per pair

    The layer adds `penalty` · Σ_k Σ_{s<t} ‖G_ks^T G_kt‖²_F to the model's loss, where
    the columns of G_ks (d × units/S) are the weights of subspace s: it is zero iff each
    unit of one subspace is orthogonal to each of the other, which separates the shared
    subspace of a task from its private one. G are the weights, as in the authors' code, not
    the activations.

    Args:
        num_tasks: number K of tasks.
        units: width of each task's layer, a multiple of `num_subspaces`.
        num_subspaces: number S of subspaces; the paper's two are one to share and a
            private one.
        activation: activation of the layers.
        penalty: weight of the orthogonality penalty.
        self_weight: α of a subspace with itself at the start; the rest, 1 − self_weight,
            is spread over the other subspaces.
        kernel_regularizer: regularizer of the matrices G.

    Attributes: `sub_networks`, the tasks' layers (`SubNetworks`). Variable: `alpha`
    (K·S, K·S), subspaces ordered by task; row i makes output i.

    Example:
    >>> layer = Sluice(num_tasks=3, units=4)
    >>> tuple(layer(tf.ones((5, 6))).shape), tuple(layer.alpha.shape)
    ((5, 3, 4), (6, 6))

    Reference: Ruder et al., "Latent Multi-Task Architecture Learning", AAAI 2019. The
    mix of levels (β) is `LevelMixture`.
    """

    def __init__(
        self,
        num_tasks: int,
        units: int,
        num_subspaces: int = 2,
        activation: Any = "relu",
        penalty: float = 0.0,
        self_weight: float = 0.9,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_tasks=num_tasks, units=units, num_subspaces=num_subspaces)
        check_not_negative(penalty=penalty)
        check_share(self_weight=self_weight)
        if units % num_subspaces:
            raise ValueError(
                "`units` must be a multiple of `num_subspaces`. "
                f"Received: units={units}, num_subspaces={num_subspaces}"
            )
        self.num_tasks = num_tasks
        self.units = units
        self.num_subspaces = num_subspaces
        self.activation = keras.activations.get(activation)
        self.penalty = penalty
        self.self_weight = self_weight
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.sub_networks = SubNetworks(
            num_tasks,
            units,
            self.activation,
            self.kernel_regularizer,
            dtype=kwargs.get("dtype"),
            name="sub_networks",
        )

    def build(self, input_shape: Any) -> None:
        self.sub_networks.build(input_shape)
        start = near_identity(self.num_tasks * self.num_subspaces, self.self_weight)
        self.alpha = self.add_weight(
            name="alpha", shape=start.shape, initializer=constant_initializer(start)
        )
        self.built = True

    def call(self, inputs):
        if self.penalty:
            self.add_loss(self.penalty * self.overlap())
        outputs = self.sub_networks(inputs)
        width = self.units // self.num_subspaces
        subspaces = tf.reshape(outputs, (-1, self.num_tasks * self.num_subspaces, width))
        mixed = tf.einsum("bqw,pq->bpw", subspaces, self.alpha)
        return tf.reshape(mixed, (-1, self.num_tasks, self.units))

    def overlap(self):
        """Σ_k Σ_{s<t} ‖G_ks^T G_kt‖²_F."""
        # float32 under mixed precision too, as every other loss: float16 ends at 65,504.
        kernel = tf.cast(tf.convert_to_tensor(self.sub_networks.kernel), tf.float32)
        products = tf.einsum("kdu,kdv->kuv", kernel, kernel)
        subspace = tf.range(self.units) // (self.units // self.num_subspaces)
        pairs = tf.cast(subspace[:, None] < subspace[None, :], products.dtype)
        return tf.reduce_sum(pairs * products**2)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_tasks, self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "units": self.units,
            "num_subspaces": self.num_subspaces,
            "activation": keras.activations.serialize(self.activation),
            "penalty": self.penalty,
            "self_weight": self.self_weight,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }

    @classmethod
    def from_config(cls, config):
        return super().from_config(rename_arguments(config, {"own": "self_weight"}))

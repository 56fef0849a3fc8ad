"""`FieldMask`: each reader chooses, per example, how much of each field it reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.replicas import num_replicas, sum_over_replicas
from mtl_tf.backend.state import add_state
from mtl_tf.backend.variables import MASK, set_role
from mtl_tf.layers._arguments import check_not_negative, check_positive

_SMALL = 1e-4  # keeps the root's slope finite at a closed field


@keras.saving.register_keras_serializable("mtl_tf")
class FieldMask(keras.layers.Layer):
    """MSSM's field-level sparse connection: `(batch, D)` -> `(batch, readers, D)`.

    Reader r sees field f, whose vector is e_f, as w·e_f with a scalar per example:

        w[r, f] = relu(tanh(g[r, f] · e_f))    in [0, 1), exactly 0 where g·e ≤ 0

    Args:
        num_readers: number of readers (sub-networks of the first level).
        field_dims: widths of the fields' vectors, in their order; D is their sum.
        penalty: weight of Σ √m over readers and fields, m being the mean of w over the
            batch: it closes fields that are not worth it. The root's slope is steepest at
            0, so that a field closes completely or stays open for the values, however few,
            that are informative; a plain Σ m keeps many fields slightly open. Its gradient
            reaches g only, not the vectors, which other readers share.
        anchor: the `anchor` of the `FieldEmbedding` below. With vectors around
            (anchor, 0, …, 0) and g = (initial/anchor, 0, …, 0) every product g·e starts
            near `initial`: every mask starts open. A random g would close half of them
            from the first step, and a closed mask has no gradient.
        initial: initial value of the products.

    In training the penalty is multiplied by `penalty_scale`, 1 unless a schedule
    (`mtl_tf.training.gate_schedule`) assigns something else; evaluation counts the whole
    penalty. `freeze` keeps g at its current value until `unfreeze`.

    Variables: `g`, `(readers, D)`, trained; `penalty_scale`, `frozen` and `frozen_value`,
    which are not trained.

    Example:
    >>> layer = FieldMask(num_readers=2, field_dims=[2, 1])
    >>> tuple(layer(tf.ones((5, 3))).shape)
    (5, 2, 3)

    Reference: Ding et al., "MSSM: A Multiple-level Sparse Sharing Model for Efficient
    Multi-Task Learning", SIGIR 2021 (its FSCM).
    """

    def __init__(
        self,
        num_readers: int,
        field_dims: Sequence[int],
        penalty: float = 0.0,
        anchor: float = 0.35,
        initial: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_readers=num_readers)
        check_not_negative(penalty=penalty)
        for dim in field_dims:
            check_positive(field_dims=dim)
        self.num_readers = num_readers
        self.field_dims = tuple(field_dims)
        self.penalty = penalty
        if not anchor > 0:
            raise ValueError(f"`anchor` must be positive. Received: anchor={anchor}")
        self.anchor = anchor
        self.initial = initial

    def build(self, input_shape: Any) -> None:
        width = sum(self.field_dims)
        if input_shape[-1] != width:
            raise ValueError(
                f"the last dimension must be the sum of `field_dims`, {width}. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        first = self.initial / self.anchor
        start = [x for dim in self.field_dims for x in (first, *[0.0] * (dim - 1))]
        self.g = self.add_weight(
            name="g",
            shape=(self.num_readers, width),
            initializer=lambda shape, dtype=None, **_: tf.broadcast_to(
                tf.constant(start, dtype or tf.float32), shape
            ),
            constraint=self._constrain,
        )
        set_role(self.g, MASK)
        self.penalty_scale = add_state(self, "penalty_scale", (), "ones")
        self.frozen = add_state(self, "frozen", (), "zeros")
        self.frozen_value = add_state(self, "frozen_value", (self.num_readers, width), "zeros")
        self.built = True

    def call(self, inputs, training=None):
        if self.penalty:
            # The gradient must not reach the vectors: see `penalty`.
            masks = tf.cast(self.masks(tf.stop_gradient(inputs)), tf.float32)
            mean = sum_over_replicas(tf.reduce_mean(masks, axis=0)) / num_replicas()
            roots = tf.sqrt(mean + _SMALL) - _SMALL**0.5
            penalty_scale = tf.convert_to_tensor(self.penalty_scale) if training else 1.0
            self.add_loss(self.penalty * penalty_scale * tf.reduce_sum(roots))
        masked = []  # one entry per run of fields of equal width
        for vectors, products in self._runs(inputs):
            seen = _mask(products)[..., None] * vectors[:, None]  # (batch, readers, fields, dim)
            width = seen.shape[2] * seen.shape[3]
            masked.append(tf.reshape(seen, (-1, self.num_readers, width)))
        return masked[0] if len(masked) == 1 else tf.concat(masked, axis=2)

    def masks(self, inputs):
        """w for vectors `(batch, D)`: `(batch, readers, fields)`."""
        products = [products for _, products in self._runs(inputs)]
        return _mask(tf.concat(products, axis=2))

    def close(self, closed) -> None:
        """Close fields to readers, `closed` being `(readers, fields)` booleans.

        Sets g to 0, so that the mask is exactly 0 for every value of the field, also for
        values that no batch contained and that the penalty therefore never reached.
        """
        kept = np.repeat(~np.asarray(closed), self.field_dims, axis=1)
        self.g.assign(tf.convert_to_tensor(self.g) * kept)

    def freeze(self) -> None:
        """Keep g at its current value, in training too."""
        self.frozen_value.assign(tf.convert_to_tensor(self.g))
        self.penalty_scale.assign(0.0)
        self.frozen.assign(1.0)

    def unfreeze(self) -> None:
        """Train g again, under the whole penalty."""
        self.penalty_scale.assign(1.0)
        self.frozen.assign(0.0)

    def _constrain(self, g):
        """Constrain a frozen g to `frozen_value`."""
        frozen_value = tf.cast(tf.convert_to_tensor(self.frozen_value), g.dtype)
        frozen = tf.convert_to_tensor(self.frozen) > 0
        return tf.where(frozen, frozen_value, tf.convert_to_tensor(g))

    def _runs(self, inputs):
        """Per run of equal widths: vectors (batch, fields, dim), g·e (batch, readers, fields)."""
        g = tf.convert_to_tensor(self.g)
        runs = [(dim, len(list(run))) for dim, run in groupby(self.field_dims)]
        widths = [dim * length for dim, length in runs]
        parts = zip(
            runs, tf.split(inputs, widths, axis=1), tf.split(g, widths, axis=1), strict=True
        )
        for (dim, length), e, g_run in parts:
            vectors = tf.reshape(e, (-1, length, dim))
            g_run = tf.reshape(g_run, (self.num_readers, length, dim))
            yield vectors, tf.reduce_sum(vectors[:, None] * g_run, axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_readers, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_readers": self.num_readers,
            "field_dims": list(self.field_dims),
            "penalty": self.penalty,
            "anchor": self.anchor,
            "initial": self.initial,
        }


def _mask(products):
    return tf.nn.relu(tf.tanh(products))

"""`HardConcreteGate`: gates that can close exactly, trained with an L0 penalty."""

from __future__ import annotations

import math
import random
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.state import FIRST_REPLICA, add_state
from mtl_tf.backend.variables import GATE, set_role
from mtl_tf.layers._arguments import check_not_negative

_LOG_ALPHA_LIMIT = math.log(100.0)
_SMALLEST_U = 1e-6


@keras.saving.register_keras_serializable("mtl_tf")
class HardConcreteGate(keras.layers.Layer):
    """Multiplies its input by gates z in [0, 1] that become exactly 0 or 1.

    Training draws one fresh sample per call (one per batch, not per example):

        u ~ U(0, 1),  s = σ((log u − log(1−u) + log α) / β)
        z = min(1, max(0, s·(ζ−γ) + γ))

    Evaluation draws nothing, and β does not appear:

        ẑ = min(1, max(0, σ(log α)·(ζ−γ) + γ))

    The layer adds `penalty` · Σ P(z≠0) = `penalty` · Σ σ(log α − β·log(−γ/ζ)) to the
    model's loss. A gate is exactly 0 in evaluation iff log α ≤ log(−γ/ζ).

    In training each gate's share of the penalty is multiplied by its `penalty_scale`, 1
    unless a schedule (`mtl_tf.training.gate_schedule`) assigns something else; evaluation
    counts the whole penalty, so that epochs compare. `freeze` fixes the gates at ẑ until
    `unfreeze`: no samples, no penalty, and log α keeps its value, whatever the optimizer's
    momentum.

    Args:
        shape: shape of the gates; inputs of shape `(..., *shape)` broadcast.
        beta: temperature β of the samples, in (0, 1].
        gamma: lower end γ of the stretched interval, below 0.
        zeta: upper end ζ of the stretched interval, above 1.
        initial_drop: d in (0, 1); log α starts at N(log((1−d)/d), 0.01).
        penalty: weight λ0 of the L0 penalty, on a loss that is a mean over examples.
        seed: seed of the samples; by default one from Python's `random`, which
            `keras.utils.set_random_seed` seeds.

    Variables: `log_alpha` (`shape`), trained and clamped to [log 0.01, log 100];
    `penalty_scale` (`shape`), `frozen` and `frozen_value` (`shape`), not trained; and a
    counter of draws, so that training resumed from a checkpoint continues with the same
    samples.

    Example:
    >>> gate = HardConcreteGate(shape=(3,), initial_drop=0.5)
    >>> gate.build((None, 3))
    >>> gate.log_alpha.assign([-3.0, 0.0, 3.0]) is None
    False
    >>> gate.inference_gate().numpy().round(2).tolist()
    [0.0, 0.5, 1.0]

    Reference: Louizos, Welling, Kingma, "Learning Sparse Neural Networks through
    L0 Regularization", ICLR 2018.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        beta: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        initial_drop: float = 0.1,
        penalty: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_not_negative(penalty=penalty)
        if not 0 < beta <= 1:
            raise ValueError(f"`beta` must be in (0, 1]. Received: beta={beta}")
        if not gamma < 0:
            raise ValueError(f"`gamma` must be below 0. Received: gamma={gamma}")
        if not zeta > 1:
            raise ValueError(f"`zeta` must be above 1. Received: zeta={zeta}")
        if not 0 < initial_drop < 1:
            raise ValueError(
                f"`initial_drop` must be in (0, 1). Received: initial_drop={initial_drop}"
            )
        self.shape = tuple(shape)
        self.beta = beta
        self.gamma = gamma
        self.zeta = zeta
        self.initial_drop = initial_drop
        self.penalty = penalty
        self.seed = random.randrange(2**31) if seed is None else seed

    def build(self, input_shape: Any = None) -> None:
        # float32 under mixed precision too: u near 0 and 1 does not survive float16.
        self.log_alpha = self.add_weight(
            name="log_alpha",
            shape=self.shape,
            dtype="float32",
            initializer=keras.initializers.RandomNormal(
                math.log((1 - self.initial_drop) / self.initial_drop), 0.01
            ),
            constraint=self._constrain,
            autocast=False,
        )
        set_role(self.log_alpha, GATE)
        self.penalty_scale = add_state(self, "penalty_scale", self.shape, "ones")
        self.frozen = add_state(self, "frozen", (), "zeros")
        self.frozen_value = add_state(self, "frozen_value", self.shape, "zeros")
        self.draws = self.add_weight(
            name="draws",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation=FIRST_REPLICA,
        )
        self.built = True

    def call(self, inputs, training=None):
        opened = self.open_probability()
        if not training:
            self.add_loss(self.penalty * tf.reduce_sum(opened))
            return inputs * tf.cast(self.inference_gate(), inputs.dtype)
        # The sample first: where replicas wait for each other, Keras starts a new list of losses.
        sample = self.sample()
        self.add_loss(
            self.penalty * tf.reduce_sum(tf.convert_to_tensor(self.penalty_scale) * opened)
        )
        fixed = tf.stop_gradient(self.inference_gate())
        gate = tf.where(tf.convert_to_tensor(self.frozen) > 0, fixed, sample)
        return inputs * tf.cast(gate, inputs.dtype)

    def freeze(self) -> None:
        """Fix every gate at ẑ, in training too."""
        self.frozen_value.assign(tf.convert_to_tensor(self.log_alpha))
        self.penalty_scale.assign(tf.zeros(self.shape))
        self.frozen.assign(1.0)

    def unfreeze(self) -> None:
        """Train the gates again, under the whole penalty."""
        self.penalty_scale.assign(tf.ones(self.shape))
        self.frozen.assign(0.0)

    def _constrain(self, log_alpha):
        """Constrain log α to [log 0.01, log 100], as the authors do; frozen, to its value."""
        clamped = tf.clip_by_value(log_alpha, -_LOG_ALPHA_LIMIT, _LOG_ALPHA_LIMIT)
        frozen = tf.convert_to_tensor(self.frozen) > 0
        return tf.where(frozen, tf.convert_to_tensor(self.frozen_value), clamped)

    def sample(self):
        """Draw a sample z of all gates, a new one at each call."""
        self.draws.assign_add(1)
        draw = tf.convert_to_tensor(self.draws)
        seed = tf.stack([tf.constant(self.seed, draw.dtype), draw])
        u = tf.random.stateless_uniform(self.shape, seed, _SMALLEST_U, 1 - _SMALLEST_U)
        noise = tf.math.log(u) - tf.math.log(1 - u)
        return self._stretch(tf.sigmoid((noise + self.log_alpha) / self.beta))

    def inference_gate(self):
        """ẑ of all gates: the factors in evaluation and serving."""
        return self._stretch(tf.sigmoid(tf.convert_to_tensor(self.log_alpha)))

    def open_probability(self):
        """P(z≠0) of all gates."""
        shift = self.beta * math.log(-self.gamma / self.zeta)
        return tf.sigmoid(tf.convert_to_tensor(self.log_alpha) - shift)

    def _stretch(self, s):
        return tf.clip_by_value(s * (self.zeta - self.gamma) + self.gamma, 0.0, 1.0)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shape": self.shape,
            "beta": self.beta,
            "gamma": self.gamma,
            "zeta": self.zeta,
            "initial_drop": self.initial_drop,
            "penalty": self.penalty,
            "seed": self.seed,
        }

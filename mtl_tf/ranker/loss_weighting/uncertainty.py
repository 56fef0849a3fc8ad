"""`Uncertainty`: weights from a learned noise of each task."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.ranker.loss_weighting.adam_state import AdamState
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting


@keras.saving.register_keras_serializable("mtl_tf")
class Uncertainty(Weighting):
    """Homoscedastic uncertainty: minimises, over the weights and over all s_k,

        Σ_k w_k · (a_k exp(−s_k) L_k + s_k / 2)        s_k = log σ_k², from 0

    with a = 1/2 for regression (a Gaussian's likelihood) and a = 1 for binary tasks (a
    softmax of temperature σ², as the paper approximates it). So c_k = w_k a_k exp(−s_k).
    A batch without labels for a task does not change its s_k.

    Args:
        learning_rate: Adam's learning rate for s.

    Variables: `log_variance`, `(tasks,)`, and its moments.

    Reference: Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh
    Losses for Scene Geometry and Semantics", CVPR 2018.
    """

    def __init__(self, learning_rate: float = 0.01):
        super().__init__()
        if not learning_rate > 0:
            raise ValueError(
                f"`learning_rate` must be positive. Received: learning_rate={learning_rate}"
            )
        self.learning_rate = learning_rate

    def _create(self) -> None:
        self._s = AdamState(tf.zeros(len(self.tasks)), self.learning_rate, "log_variance")
        self._a = tf.constant([0.5 if kind == "regression" else 1.0 for kind in self.kinds])

    @property
    def log_variance(self) -> tf.Variable:
        """s_k, `(tasks,)`."""
        return self._s.value

    def coefficients(self, batch: Batch) -> Any:
        coefficients = self.current()
        gradient = 0.5 * self.weights - coefficients * batch.values
        with tf.control_dependencies([coefficients]):
            self._s.step(gradient, batch.labelled)
        return coefficients

    def current(self) -> Any:
        return self.weights * self._a * tf.exp(-self.log_variance)

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate}

"""`Fixed`: the tasks' own weights."""

from __future__ import annotations

from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting


@keras.saving.register_keras_serializable("mtl_tf")
class Fixed(Weighting):
    """Σ_k w_k L_k with the tasks' own, constant weights w_k."""

    def coefficients(self, batch: Batch) -> Any:
        return self.weights

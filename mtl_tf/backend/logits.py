"""The logits behind probabilities."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_CLIP = 1e-7  # as in Keras: a probability of exactly 0 or 1 has a finite logit


def logits_of(probabilities: Any) -> Any:
    """Return log(p / (1 - p)): what Keras noted behind a sigmoid, else computed from p.

    >>> from mtl_tf.backend.keras import keras
    >>> logits_of(keras.activations.sigmoid(tf.constant([200.0]))).numpy()
    array([200.], dtype=float32)
    >>> logits_of(tf.constant([0.5])).numpy()
    array([0.], dtype=float32)
    """
    noted = getattr(probabilities, "_keras_logits", None)
    if noted is not None:
        return noted
    p = tf.clip_by_value(probabilities, _CLIP, 1 - _CLIP)
    return tf.math.log(p) - tf.math.log1p(-p)

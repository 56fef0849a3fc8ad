"""The losses of rare events: focal, and on down-sampled negatives."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from mtl_tf.backend.logits import logits_of


def rare_event_losses(labels: Any, scores: Any, gamma: float = 0.0, keep: float = 1.0) -> Any:
    """Return the loss `(batch,)` of probabilities `(batch, 1)` of an event.

        −(1 − p_y)^γ · log p_y,   p_1 = σ(z − log keep),  p_0 = 1 − p_1

    with the score's logit z. γ > 0 is the focal loss: rows that are predicted well count
    less, so that many easy negatives do not drown few positives; the scores then rank, but
    are no probabilities. `keep` < 1 is for rows of which only that share of the negatives
    is left: there the odds are 1 / keep times what the score says, and so the score is
    learned to be the probability among all rows.

    Args:
        labels: 0 or 1, `(batch, 1)`.
        scores: probabilities, with their logits if a sigmoid made them.
        gamma: γ, 0 for cross-entropy.
        keep: the share of negatives that was kept.

    Example:
    >>> p, y = tf.constant([[0.2]]), tf.constant([[1.0]])
    >>> round(float(rare_event_losses(y, p, gamma=2.0)[0] / -math.log(0.2)), 4)  # (1 − 0.2)²
    0.64

    References: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; He et al.,
    "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, section 6.3
    (p = q / (q + (1 − q) / keep) for q learned on the kept rows).
    """
    z = logits_of(scores) - math.log(keep)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, z)
    if gamma:
        log_missed = tf.math.log_sigmoid((1 - 2 * labels) * z)  # log(1 − p_y), never log 0
        losses *= tf.exp(gamma * log_missed)
    return losses[:, 0]

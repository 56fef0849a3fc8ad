"""tensorflow-recommenders: any architecture as a `tfrs.models.Model`, in Keras 2 mode.

The layers do not need this module: they can be used in a `tfrs.Model` of your own as well
(`examples/tfrs_ranking.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.errors import UserError
from mtl_tf.models import build_model
from mtl_tf.ranker.losses import losses_for
from mtl_tf.schema import NegativeSampling, Task
from mtl_tf.transform import LabelStatistics

if not LEGACY:
    raise ImportError(
        "mtl_tf.tfrs needs Keras 2, because tensorflow-recommenders does: set the environment "
        "variable TF_USE_LEGACY_KERAS=1 before Python starts"
    )

import tensorflow_recommenders as tfrs

_METRICS = {
    "binary": {"auc": keras.metrics.AUC, "logloss": keras.metrics.BinaryCrossentropy},
    "regression": {"mse": keras.metrics.MeanSquaredError, "mae": keras.metrics.MeanAbsoluteError},
}


class MultiTaskRanker(tfrs.models.Model):
    """Any architecture, with one `tfrs.tasks.Ranking` per task.

        loss = Σ_k w_k · Ranking_k(labels, scores, weights) + the penalties of gates and masks

    It is trained on the batches of `mtl_tf.records.dataset`: features, labels and weights,
    each a dict. A row of weight 0 has no label for that task, whatever its label holds:
    neither the loss nor the metrics count it.

    Args:
        transform_or_features: a fitted transform, or its `features`.
        tasks: the schema's tasks, with their loss weights w_k.
        config: the `model` part of the configuration, such as `mtl_tf.config.MSSM()`.
        labels: by regression task, the distribution of its labels (`DatasetInfo.labels`).
        sampling: the `negative_sampling` of the dataset's schema.

    Attributes: `network`, the Keras model inside, which can be saved and exported;
    `rankings`, the `Ranking` by task name.

    Metrics, as everywhere here: `auc_<task>` and `logloss_<task>` for binary tasks,
    `mse_<task>` and `mae_<task>` for regression. Keras' AUC counts in 200 bins.

    Example:
    >>> from mtl_tf.config import MSSM
    >>> from mtl_tf.transform import Feature
    >>> city = Feature("city", "id", size=5, embedding_dim=2, table="city")
    >>> click = Task(name="click", label="clicked")
    >>> model = MultiTaskRanker([city], [click], MSSM(units=(4, 2)))
    >>> tuple(model({"city": tf.constant([0, 3, 4])})["click"].shape)
    (3, 1)

    Reference: https://www.tensorflow.org/recommenders, "Multi-task recommenders".
    """

    def __init__(
        self,
        transform_or_features: Any,
        tasks: Sequence[Task],
        config: Any,
        labels: Mapping[str, LabelStatistics] | None = None,
        sampling: NegativeSampling | None = None,
        name: str = "multi_task_ranker",
    ):
        super().__init__(name=name)
        self.network = build_model(transform_or_features, tasks, config, labels)
        losses, self.task_weights = losses_for(tasks, self.network, sampling)
        self.rankings = {
            task.name: tfrs.tasks.Ranking(
                loss=losses[task.name],
                metrics=[
                    metric(name=f"{name}_{task.name}")
                    for name, metric in _METRICS[task.kind].items()
                ],
                name=f"ranking_{task.name}",
            )
            for task in tasks
        }

    def compile(self, *args, **kwargs):
        """Configure training as Keras does; the metrics are the tasks', and weighted."""
        super().compile(*args, **{"weighted_metrics": [], **kwargs})

    def call(self, inputs, training=None):
        """Scores `(batch, 1)` by task name, for features by name."""
        return self.network(inputs, training=training)

    def compute_loss(self, inputs, training: bool = False):
        """Σ_k w_k · loss_k of a batch `(features, labels[, weights])`; updates the metrics."""
        features, labels, weights = keras.utils.unpack_x_y_sample_weight(inputs)
        missing = [name for name in self.rankings if name not in (labels or {})]
        if missing:
            raise UserError(
                f"expected batches (features, labels, weights) with a label per task; received "
                f"none for `{missing[0]}`. `mtl_tf.records.dataset` returns such batches"
            )
        scores = self(features, training=training)
        total = tf.constant(0.0)
        for name, ranking in self.rankings.items():
            weight = (weights or {}).get(name)
            label = _known(labels[name], weight)
            loss = ranking(label, scores[name], sample_weight=weight, training=training)
            total += self.task_weights[name] * loss
        return total


def _known(label: Any, weight: Any) -> Any:
    """Labels with 0 where the weight is 0: a missing label may be NaN, and 0 · NaN is NaN."""
    if weight is None:
        return label
    return tf.where(tf.reshape(weight > 0, tf.shape(label)), label, tf.zeros_like(label))

"""The labels of each duration group, for D2Q: fitted on the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mtl_tf.schema import Task
from mtl_tf.transform import Feature, LabelStatistics
from mtl_tf.transform.label_statistics import UNKNOWN
from mtl_tf.transform.numeric import to_float32
from mtl_tf.transform.quantiles import Quantiles

_PARTS = 32


def with_duration_groups(
    labels: Mapping[str, LabelStatistics],
    tasks: Sequence[Task],
    features: Sequence[Feature],
    batches: Iterable[Any],
) -> dict[str, LabelStatistics]:
    """Return the statistics of labels, those of D2Q tasks with quantiles by duration bucket.

    Args:
        labels: the statistics by task.
        tasks: the tasks; without D2Q ones, nothing is read.
        features: the model's features.
        batches: the training rows, `(features, labels, weights)`.
    """
    sizes = {feature.name: feature.size or 0 for feature in features}
    durations = {task.name: task.duration for task in tasks if task.duration is not None}
    counts = {task: [Quantiles() for _ in range(sizes[field])] for task, field in durations.items()}
    for values, targets, weights in batches if counts else ():
        for task, field in durations.items():
            known = np.ravel(weights[task]) > 0
            y, ids = to_float32(np.ravel(targets[task])[known]), np.ravel(values[field])[known]
            for group in np.unique(ids):
                counts[task][group].add(y[ids == group])
    grouped = {task: _grouped(labels.get(task), groups) for task, groups in counts.items()}
    return {**labels, **grouped}


def _grouped(labels: LabelStatistics | None, groups: Sequence[Quantiles]) -> LabelStatistics:
    """Return the statistics with the quantiles of each group; of an empty one, those of all."""
    everything = Quantiles()
    for group in groups:
        everything.merge(group)
    by_group = tuple(_points(group) or _points(everything) for group in groups)
    return replace(labels or UNKNOWN, by_duration=by_group)


def _points(quantiles: Quantiles) -> tuple[float, ...]:
    found = [quantiles.quantile(i / _PARTS) for i in range(_PARTS + 1)]
    return tuple(x for x in found if x is not None)

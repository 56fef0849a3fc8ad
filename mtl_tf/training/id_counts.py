"""How often each id occurs in the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

IdCounts = Mapping[str, np.ndarray[Any, Any]]
"""By table, the number of occurrences of each id, `(size,)`."""


def count_ids(features: Sequence[Any], batches: Iterable[Any]) -> IdCounts:
    """Return by table how often each id occurs, in all fields that use the table together.

    Args:
        features: the model's features (`name`, `kind`, `table`, `size`).
        batches: batches whose first entry is a dict of ids by field name.

    Example:
    >>> from mtl_tf.transform import Feature
    >>> counts = count_ids([Feature("city", "id", 3, 2, "city")], [({"city": [0, 2, 0]},)])
    >>> counts["city"].tolist()
    [2, 0, 1]
    """
    stored = [feature for feature in features if feature.kind != "number"]
    counts = {feature.table: np.zeros(feature.size, np.int64) for feature in stored}
    for values, *_ in batches:
        for feature in stored:
            ids = np.asarray(values[feature.name]).ravel()
            ids = ids[ids >= 0]  # -1 is padding
            np.add.at(counts[feature.table], ids, 1)
    return counts


def occurrences_per_id(counts: np.ndarray[Any, Any]) -> float:
    """Return the mean number of occurrences of the ids that occur; 0 if none does."""
    return float(counts.sum() / max(1, np.count_nonzero(counts)))

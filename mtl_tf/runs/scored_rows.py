"""The labeled rows of one task, with the orders that several metrics share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Orders:
    """Orders of rows that depend on their labels, scores and groups, but not on weights."""

    labels: Array
    scores: Array
    groups: Array | None

    @cached_property
    def by_score(self) -> Array:
        """The rows by score."""
        return np.argsort(self.scores, kind="stable")

    @cached_property
    def ties(self) -> Array:
        """Where each run of equal scores starts, in the order `by_score`."""
        return run_starts(self.scores[self.by_score])

    @cached_property
    def by_group(self) -> Array:
        """The rows that are in a group, by group and score."""
        assert self.groups is not None
        grouped = np.flatnonzero(self.groups >= 0)
        return grouped[np.lexsort((self.scores[grouped], self.groups[grouped]))]

    @cached_property
    def label_ranks(self) -> Array:
        """The number of different labels that are smaller, for each row."""
        return np.unique(self.labels, return_inverse=True)[1].astype(np.int32)

    @cached_property
    def by_score_and_label(self) -> Array:
        """The rows by score; those of equal scores from the largest label to the smallest."""
        return np.lexsort((-self.label_ranks, self.scores))


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """The labeled rows of one task.

    Attributes:
        orders: their labels and scores, float64 (rows,), and their groups, int (rows,),
            where a group of -1 is none.
        weights: float64 (rows,); rows of weight 0 count as absent.
    """

    orders: Orders
    weights: Array

    @classmethod
    def labeled(
        cls,
        labels: Array,
        scores: Array,
        weights: Array | None = None,
        groups: Array | None = None,
    ) -> ScoredRows:
        """Return the rows of a positive weight, of columns of any float type and shape."""
        labels, scores = (np.asarray(column, np.float64).reshape(-1) for column in (labels, scores))
        if weights is None:
            return cls(Orders(labels, scores, groups), np.ones_like(scores))
        weights = np.asarray(weights, np.float64).reshape(-1)
        kept = weights > 0
        if not kept.all():
            labels, scores, weights = labels[kept], scores[kept], weights[kept]
            groups = None if groups is None else groups[kept]
        return cls(Orders(labels, scores, groups), weights)

    @property
    def labels(self) -> Array:
        return self.orders.labels

    @property
    def scores(self) -> Array:
        return self.orders.scores

    @property
    def groups(self) -> Array | None:
        return self.orders.groups

    def __len__(self) -> int:
        return len(self.weights)

    def reweighted(self, weights: Array) -> ScoredRows:
        """Return the same rows with other weights; their orders are not computed again."""
        return replace(self, weights=weights)

    def mean(self, values: Array) -> float:
        """Return the weighted mean of a value per row, NaN if there is no weight."""
        total = float(self.weights.sum())
        return float(np.dot(values, self.weights)) / total if total else float("nan")


def run_starts(*keys: Array) -> Array:
    """Return where runs of rows start that are equal in all of some columns.

    Example:
    >>> run_starts(np.array([1, 1, 2, 2]), np.array([0, 0, 0, 5])).tolist()
    [0, 2, 3]
    """
    if not len(keys[0]):
        return np.zeros(0, np.intp)
    differs = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(np.r_[True, differs])

"""How well scores order rows: AUC, AUC within groups, and XAUC of numbers.

All are exact, weighted, count a tie of scores one half, and take O(n log n) in NumPy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mtl_tf.runs.scored_rows import Array, ScoredRows, run_starts

_NAN = float("nan")


def auc(rows: ScoredRows) -> float:
    """Return the area under the ROC curve: P(score of a positive > score of a negative).

    The result is NaN if one of the two classes has no weight.

    Example:
    >>> auc(ScoredRows.labeled(np.array([1, 1, 0]), np.array([0.9, 0.4, 0.4])))
    0.75
    """
    if not len(rows):
        return _NAN
    order, starts = rows.orders.by_score, rows.orders.ties
    positive, negative = _classes(rows, order, starts)
    below = np.cumsum(negative) - negative
    pairs = float(np.dot(positive, below + 0.5 * negative))
    total = float(positive.sum() * negative.sum())
    return pairs / total if total else _NAN


class GroupedAUC(NamedTuple):
    """The result of `grouped_auc`.

    gauc: NaN if no group has both classes. groups: those with both classes, which alone
    count. one_class_groups: the others. grouped_rows: rows of groups with both classes.
    """

    gauc: float
    groups: int
    one_class_groups: int
    grouped_rows: int


def grouped_auc(rows: ScoredRows) -> GroupedAUC:
    """Return the mean of the groups' AUC, weighted by the groups' rows.

        GAUC = Σ_g W_g · AUC_g / Σ_g W_g,  W_g = Σ weights of the rows of group g

    A group with one class has no AUC and is left out; so are rows of group -1.

    Example:
    >>> labels, scores = np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.4, 0.2, 0.3, 0.5])
    >>> grouped_auc(ScoredRows.labeled(labels, scores, groups=np.array([7, 7, 8, 8, 9])))
    GroupedAUC(gauc=0.5, groups=2, one_class_groups=1, grouped_rows=4)

    Reference: Zhou et al., "Deep Interest Network", KDD 2018.
    """
    order = rows.orders.by_group
    if not len(order):
        return GroupedAUC(_NAN, 0, 0, 0)
    assert rows.groups is not None
    groups = rows.groups[order]
    ties = run_starts(groups, rows.scores[order])
    positive, negative = _classes(rows, order, ties)
    first = run_starts(groups[ties])  # of each group, among the runs of ties
    below = np.cumsum(negative) - negative
    below -= np.repeat(below[first], np.diff([*first, len(ties)]))
    pairs = np.add.reduceat(positive * (below + 0.5 * negative), first)
    positives, negatives = np.add.reduceat(positive, first), np.add.reduceat(negative, first)
    counted, weight = (positives > 0) & (negatives > 0), positives + negatives
    sizes = np.diff([*run_starts(groups), len(groups)])
    present, weight = int((weight > 0).sum()), weight[counted]
    values = pairs[counted] / (positives[counted] * negatives[counted])
    gauc = float(np.dot(values, weight) / weight.sum()) if len(weight) else _NAN
    used = int(counted.sum())
    return GroupedAUC(gauc, used, present - used, int(sizes[counted].sum()))


def xauc(rows: ScoredRows) -> float:
    """Return the share of pairs of rows with different labels that the scores order rightly.

        XAUC = P(score_i > score_j | label_i > label_j)

    The result is NaN if all labels are equal. For labels 0 and 1 it is the AUC.

    Example:
    >>> xauc(ScoredRows.labeled(np.array([3.0, 10.0, 60.0]), np.array([5.0, 20.0, 8.0])))
    0.6666666666666666

    Reference: Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video
    Recommendation", KDD 2022.
    """
    if not len(rows):
        return _NAN
    order = rows.orders.by_score_and_label
    scores, ranks, weights = (
        column[order] for column in (rows.scores, rows.orders.label_ranks, rows.weights)
    )
    by_label = np.bincount(ranks, weights)
    # Pairs as products of sums: those of a row with itself cancel out.
    different = (weights.sum() ** 2 - np.dot(by_label, by_label)) / 2
    tied = _equal_pairs(weights, scores) - _equal_pairs(weights, scores, ranks)
    if different <= 0:
        return _NAN
    return float((_pairs_in_order(ranks, weights) + tied / 2) / different)


def _classes(rows: ScoredRows, order: Array, starts: Array) -> tuple[Array, Array]:
    """Return the weights of positives and negatives, added up in runs of ordered rows."""
    labels, weights = rows.labels[order], rows.weights[order]
    positive = labels * weights
    return np.add.reduceat(positive, starts), np.add.reduceat(weights - positive, starts)


def _equal_pairs(weights: Array, *keys: Array) -> Any:
    sums = np.add.reduceat(weights, run_starts(*keys))
    return np.dot(sums, sums) / 2


def _pairs_in_order(ranks: Array, weights: Array) -> float:
    """Return Σ w_i w_j over all i < j with ranks[i] < ranks[j].

    The two ranks of such a pair agree down to one binary digit, where they are 0 and 1. Rows
    are therefore kept in blocks of equal higher digits, in their first order, and for each
    digit, from the highest, every 1 is counted with the 0s before it in its block; then the
    digit parts each block in two.
    """
    total = 0.0
    for digit in reversed(range(int(ranks.max()).bit_length())):
        is_one = (ranks >> digit & 1).astype(bool)
        starts = run_starts(ranks >> digit + 1)
        sizes = np.diff([*starts, len(ranks)])
        lower = np.cumsum(np.where(is_one, 0.0, weights))
        before = np.r_[0.0, lower][starts]
        total += np.dot(weights[is_one], (lower - np.repeat(before, sizes))[is_one])
        place = _parted(is_one, starts, sizes)
        parted = np.empty_like(ranks), np.empty_like(weights)
        parted[0][place], parted[1][place] = ranks, weights
        ranks, weights = parted
    return total


def _parted(is_one: Array, starts: Array, sizes: Array) -> Array:
    """Return each row's place if each block has its 0s first, all else in the same order."""
    zeros = np.cumsum(~is_one)
    before = np.r_[0, zeros][starts]
    in_block = np.diff([*before, zeros[-1]])
    rows = np.arange(len(is_one))
    zero_place = zeros - 1 + np.repeat(starts - before, sizes)
    # A 1 moves behind all 0s of its block: those before it are counted in its place already.
    return np.where(is_one, rows + np.repeat(before + in_block, sizes) - zeros, zero_place)

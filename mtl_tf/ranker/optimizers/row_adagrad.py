"""Row-wise Adagrad: the cost of a step depends on the batch's ids, not on the table's size."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_SMALL = 1e-7  # a row whose gradient has always been 0 is not changed


def apply_row_adagrad(table: Any, gradient: Any, rate: Any, scratch: Any, sums: Any) -> None:
    """Update the rows that `gradient` names, each by its summed gradient.

        g_r = Σ of the gradient's values for row r
        s_r ← s_r + mean(g_r²)
        row_r ← row_r − rate · g_r / (√s_r + 1e-7)

    A row that is not named keeps its bits, as does one whose g_r is 0, such as the row that
    the padding of a bag looks up.

    Duplicates are summed without sorting: every position in the gradient writes its index to
    `scratch` at its row, and the one found there afterwards represents all positions of that
    row. All of them then write the same values, so that the result does not depend on their
    order, shapes are known in advance, as XLA requires, and a compiled step updates the
    variables in place.

    Args:
        table: variable `(rows, width)`.
        gradient: `tf.IndexedSlices`, which may hold duplicates, or a dense gradient. Slices
            of as many positions as the table has rows are summed to a dense one, which is
            cheaper.
        rate: the learning rate.
        scratch: a variable `(rows,)` of integers; its values before are ignored.
        sums: s, a variable `(rows,)`.

    Reference: Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization", JMLR 2011, with one s per row, as DLRM and FBGEMM have it.
    """
    if not isinstance(gradient, tf.IndexedSlices) or _has_fewer_rows(table, gradient):
        values = tf.cast(tf.convert_to_tensor(gradient), table.dtype)
        sums.assign_add(tf.reduce_mean(tf.square(values), axis=1))
        table.assign_sub(rate * _direction(values, sums.read_value()))
        return
    rows, values = gradient.indices, tf.cast(gradient.values, table.dtype)
    count = tf.shape(rows)[0]
    scratch.scatter_update(tf.IndexedSlices(tf.range(count, dtype=scratch.dtype), rows))
    position = scratch.sparse_read(rows)
    values = tf.gather(tf.math.unsorted_segment_sum(values, position, count), position)
    new_sums = sums.sparse_read(rows) + tf.reduce_mean(tf.square(values), axis=1)
    new_rows = table.sparse_read(rows) - rate * _direction(values, new_sums)
    sums.scatter_update(tf.IndexedSlices(new_sums, rows))
    table.scatter_update(tf.IndexedSlices(new_rows, rows))


def _has_fewer_rows(table: Any, gradient: tf.IndexedSlices) -> bool:
    """Return True if a sum over the whole table costs less than the gradient's own rows."""
    positions = gradient.values.shape[0]
    return positions is not None and table.shape[0] <= positions


def _direction(values: Any, sums: Any) -> Any:
    """g_r / (√s_r + 1e-7) of each row."""
    return values / (tf.sqrt(sums)[:, None] + _SMALL)

"""Arrays that are rows of one another: how two graphs keep one copy of a weight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The matrices below each other; no copy where they are so in memory already.

    >>> whole = np.arange(6.0).reshape(3, 2)
    >>> np.shares_memory(stacked([whole[:1], whole[1:]]), whole)
    True
    """
    first = arrays[0]
    if len(arrays) == 1:
        return first
    if not all(_follows(one, other) for one, other in pairwise(arrays)):
        return np.concatenate(arrays)
    shape = (sum(len(array) for array in arrays), *first.shape[1:])
    return np.lib.stride_tricks.as_strided(first, shape, first.strides, writeable=False)


def _follows(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether `other` begins where `one` ends, in memory that one array owns."""
    alike = one.dtype == other.dtype and one.shape[1:] == other.shape[1:]
    contiguous = one.flags.c_contiguous and other.flags.c_contiguous
    owned = one.base is not None and one.base is other.base
    return alike and contiguous and owned and _address(other) == _address(one) + one.nbytes


def rows_in(whole: np.ndarray, part: np.ndarray) -> int | None:
    """The row of `whole` where `part` begins in memory, if it consists of its rows.

    >>> whole = np.arange(6.0).reshape(3, 2)
    >>> rows_in(whole, whole[1:]), rows_in(whole, whole.copy())
    (1, None)
    """
    if not part.size or part.ndim != whole.ndim or part.shape[1:] != whole.shape[1:]:
        return None
    if part.dtype != whole.dtype or part.strides != whole.strides or not whole.flags.c_contiguous:
        return None
    # NumPy gives a single row any stride, 0 too.
    start, rest = divmod(_address(part) - _address(whole), whole.strides[0] or whole.nbytes or 1)
    return start if rest == 0 and 0 <= start <= len(whole) - len(part) else None


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])

"""Named weights: what a plan owns, and what its nodes refer to.

As with the initializers of ONNX, every array of a plan has one name, and a node refers to rows
of it. Nodes share an array by naming it. A weight that a pass computes has no name until a plan
takes it in: the plan names it after its node (`Level_1/0/kernel`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray
Owner = TypeVar("Owner")


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """Rows `start` … `stop` of the array `base`, which the plan knows as `name`.

    Two weights are equal if they are the same rows of one array under one name.

    >>> kernel = Weight(np.arange(6.0).reshape(3, 2), "level/kernel")
    >>> kernel.rows(1, 3).array.tolist(), kernel.rows(1, 3) == kernel.rows(1, 3)
    ([[2.0, 3.0], [4.0, 5.0]], True)
    """

    base: Array
    name: str = ""
    start: int = 0
    stop: int | None = None  # None: to the end

    @property
    def array(self) -> Array:
        """The rows; a view."""
        return self.base if self.is_whole else self.base[self.start : self.stop]

    @property
    def is_whole(self) -> bool:
        """True if these are all rows of the array."""
        return self.stop is None and self.start == 0

    def rows(self, start: int, stop: int) -> Weight:
        """Rows `start` … `stop` of these."""
        if (start, stop) == (0, len(self)):
            return self
        first, stop = self.start + start, self.start + stop
        whole = first == 0 and stop == len(self.base)
        return Weight(self.base, self.name, first, None if whole else stop)

    def named(self, name: str) -> Weight:
        """The same rows, of an array of that name."""
        return dataclasses.replace(self, name=name)

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape if not self.ndim else (len(self), *self.base.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.base.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return (len(self.base) if self.stop is None else self.stop) - self.start

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype, copy=copy)

    def float64(self) -> Array:
        """The values in float64, in which passes compute."""
        return self.array.astype(np.float64)

    @cached_property
    def nonzero_rows(self) -> Array:
        """True for each row that holds anything but zeros, `(rows,)`."""
        return np.asarray(self.array.any(axis=tuple(range(1, self.ndim))))

    @cached_property
    def has_different_rows(self) -> bool:
        """True if two rows differ."""
        first = self.array[:1]
        return bool((self.array[:2] != first).any() or (self.array != first).any())

    @cached_property
    def count_nonzero(self) -> int:
        """How many of the values are not zero."""
        return int(np.count_nonzero(self.array))

    def any(self) -> bool:
        """True if a value is not zero."""
        return bool(self.nonzero_rows.any()) if self.ndim > 1 else bool(self.array.any())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weight) and self._key == other._key and self.base is other.base

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.name if self.is_whole else f"{self.name}[{self.start}:{self.start + len(self)}]"

    @property
    def _key(self) -> tuple[str, int, int | None]:
        return self.name, self.start, self.stop


def as_weight(value: Any) -> Weight:
    """`value` as a weight; an array has no name yet."""
    return value if isinstance(value, Weight) else Weight(np.asarray(value))


def stacked(weights: Sequence[Weight]) -> Weight:
    """The weights below each other; no copy where they follow each other in one array.

    >>> kernel = Weight(np.arange(6.0).reshape(3, 2), "level/kernel")
    >>> stacked([kernel.rows(0, 1), kernel.rows(1, 3)]) == kernel
    True
    >>> stacked([kernel.rows(1, 3), kernel.rows(0, 1)]).name
    ''
    """
    whole = adjacent(weights)
    return (
        whole if whole is not None else Weight(np.concatenate([weight.array for weight in weights]))
    )


def adjacent(weights: Sequence[Weight]) -> Weight | None:
    """Returns the weights as one, where they are rows of one array that follow each other."""
    first, last = weights[0], weights[-1]
    if len(weights) == 1:
        return first
    for one, other in pairwise(weights):
        if other.base is not one.base or other.start != one.start + len(one):
            return None
    return Weight(first.base, first.name).rows(first.start, last.start + len(last))


def weights_in(value: Any) -> Iterator[Weight]:
    """Yields every weight in a node or a part of one."""
    if isinstance(value, Weight):
        yield value
    for _, part in _parts(value):
        yield from weights_in(part)


def with_names(
    value: Owner, name: Callable[[str, Weight], Weight], path: tuple[str, ...] = ()
) -> Owner:
    """Returns the node with every weight that has no name replaced by `name(place, weight)`.

    The place is that in the node, such as `bias` or `edges/0/weight`.
    """
    if isinstance(value, Weight):
        return value if value.name else name("/".join(path), value)  # type: ignore[return-value]
    new: dict[str, Any] = {}
    for key, part in _parts(value):
        named = with_names(part, name, (*path, key))
        if named is not part:
            new[key] = named
    if not new:
        return value
    if isinstance(value, tuple):
        return type(value)(new.get(key, part) for key, part in _parts(value))
    return dataclasses.replace(value, **new)  # type: ignore[type-var]


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """What may hold weights: the items of a tuple, and the fields of a node or a part of one."""
    if isinstance(value, tuple):
        return ((str(i), item) for i, item in enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, Weight):
        kind: Any = type(value)
        return ((name, getattr(value, name)) for name in _fields(kind))
    return ()


@functools.cache
def _fields(kind: Any) -> tuple[str, ...]:
    """The fields that can hold weights, by their types as written."""
    return tuple(each.name for each in dataclasses.fields(kind) if each.type not in _PLAIN)


_PLAIN = {"str", "str | None", "int", "bool", "tuple[int, ...]", "tuple[str, ...]", "UnitRef"}

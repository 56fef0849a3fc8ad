"""What Keras tensors stand for while a model is captured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class NotCapturableError(Exception):
    """Raised by a capture function for inputs or options that it has no nodes for."""


@dataclass(frozen=True)
class Input:
    """A Keras tensor that is a model input."""

    name: str


@dataclass(frozen=True)
class Vector:
    """A Keras tensor `(batch, D)`: the values of nodes, side by side."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """A Keras tensor `(batch, R, D)`, one vector per sub-network."""

    vectors: tuple[Vector, ...]


@dataclass(frozen=True)
class Product:
    """A Keras tensor `(batch, 1)`: the product of others, each one node's."""

    factors: tuple[str, ...]


@dataclass(frozen=True)
class Unknown:
    """A Keras tensor of another shape, which an opaque node computes."""

    node: str


Value = Input | Vector | Stack | Product | Unknown


def input_name(inputs: Any, key: str) -> str:
    """Returns the name of the model input that a dict of inputs holds under `key`.

    Raises:
        NotCapturableError: there is none, or it is not a model input.
    """
    value = inputs.get(key) if isinstance(inputs, dict) else None
    if not isinstance(value, Input):
        raise NotCapturableError
    return value.name


def vector_of(value: Any) -> Vector:
    """Returns `value`, which must be `(batch, D)`.

    Raises:
        NotCapturableError: it is anything else.
    """
    if not isinstance(value, Vector):
        raise NotCapturableError
    return value


def vectors_of(value: Any) -> tuple[Vector, ...]:
    """Returns the vectors of `value`, which must be `(batch, R, D)`.

    Raises:
        NotCapturableError: it is anything else.
    """
    if not isinstance(value, Stack):
        raise NotCapturableError
    return value.vectors


def stack_of(value: Any, count: int) -> Stack:
    """Returns `value` as `count` vectors; `(batch, D)` counts as every one of them.

    Raises:
        NotCapturableError: it has another number of vectors.
    """
    stack = Stack((value,) * count) if isinstance(value, Vector) else value
    if not isinstance(stack, Stack) or len(stack.vectors) != count:
        raise NotCapturableError
    return stack

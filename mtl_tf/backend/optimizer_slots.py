"""The variables that an optimizer keeps beside each trained variable, in either Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mtl_tf.backend.keras import LEGACY

_NOT_SLOTS = ("_variables", "_trainable_variables")


class DuplicatesKept:
    """Mixin for an optimizer whose sparse gradients may hold a row more than once.

    Keras 2 would sum duplicates by an operation that XLA cannot compile.
    """

    def _deduplicate_sparse_grad(self, gradients: Any) -> Any:
        return gradients


def unwrapped(optimizer: Any) -> Any:
    """The optimizer inside of those that only scale the loss."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def key_of(optimizer: Any, variable: Any) -> str:
    """The optimizer's key of a variable, the same for every replica's copy of it."""
    return optimizer._var_key(variable)


def index_of(optimizer: Any, variable: Any) -> int:
    """The place of a variable in the list that the optimizer was built with.

    Also of a replica's copy of the variable.
    """
    return _indices(optimizer)[key_of(optimizer, variable)]


def slots(optimizer: Any, variable: Any) -> Iterator[Any]:
    """The optimizer's variables of a trained variable's shape, such as Adam's two moments."""
    optimizer = unwrapped(optimizer)
    count, index = len(_indices(optimizer)), index_of(optimizer, variable)
    for name, values in vars(optimizer).items():
        if name in _NOT_SLOTS or not isinstance(values, list) or len(values) != count:
            continue
        if getattr(values[index], "shape", None) == variable.shape:
            yield values[index]


def adam_moments(optimizer: Any, variable: Any) -> tuple[Any, Any]:
    """What Adam keeps in the places of a variable's first and second moment."""
    index = index_of(optimizer, variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def _indices(optimizer: Any) -> Any:
    return optimizer._index_dict if LEGACY else optimizer._trainable_variables_indices

"""`DimensionGate`: gates on the dimensions of the fields' vectors, the same for every reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers._arguments import check_positive
from mtl_tf.layers._factors import scale_factors
from mtl_tf.layers.hard_concrete_gate import HardConcreteGate


@keras.saving.register_keras_serializable("mtl_tf")
class DimensionGate(keras.layers.Layer):
    """Multiplies each dimension of a field's vector by a gate: `(batch, D)` -> `(batch, D)`.

        y_f = z_t(f) ⊙ e_f

    with one hard-concrete gate per column of a table, t(f) being the table of field f. So a
    gate is the same for every value of a field and for all fields of a table: a column whose
    gate is closed is never read, and the export does not store it.

    Args:
        field_dims: widths of the fields' vectors, in their order; D is their sum.
        tables: for each field a name; fields of one name have the same gates. By default
            every field has its own.
        beta, gamma, zeta, initial_drop, penalty: see `HardConcreteGate`.
        seed: of the samples; see `HardConcreteGate`.

    Variables: those of `gate`, a `HardConcreteGate` of shape `(columns,)`, the columns of
    all tables side by side.

    Example:
    >>> layer = DimensionGate(field_dims=[2, 3, 2], tables=["video", "user", "video"])
    >>> tuple(layer(tf.ones((5, 7))).shape), layer.gate.shape
    ((5, 7), (5,))

    Reference: Louizos, Welling, Kingma, "Learning Sparse Neural Networks through
    L0 Regularization", ICLR 2018.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        tables: Sequence[str] | None = None,
        beta: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        initial_drop: float = 0.1,
        penalty: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for dim in field_dims:
            check_positive(field_dims=dim)
        self.field_dims = tuple(field_dims)
        self.tables = None if tables is None else tuple(tables)
        self._columns = _columns(self.field_dims, self.tables)  # of each dimension
        self.gate_arguments = {
            "beta": beta,
            "gamma": gamma,
            "zeta": zeta,
            "initial_drop": initial_drop,
            "penalty": penalty,
        }
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] != len(self._columns):
            raise ValueError(
                f"the last dimension must be the sum of `field_dims`, {len(self._columns)}. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        shape = (int(max(self._columns)) + 1,)
        self.gate = HardConcreteGate(shape, **self.gate_arguments, seed=self.seed, name="gate")
        self.seed = self.gate.seed  # also a drawn one: a reloaded layer continues its samples
        self.gate.build(shape)
        self.built = True

    def call(self, inputs, training=None):
        gate = self.gate(tf.ones(self.gate.shape, inputs.dtype), training=training)
        gate = tf.gather(gate, self._columns)
        outputs = inputs * gate
        scale_factors(inputs, outputs, gate)
        return outputs

    def of_fields(self, values: Any) -> list[np.ndarray[Any, Any]]:
        """Split `values`, one per gate, into those of each field's dimensions."""
        cuts = np.cumsum(self.field_dims)[:-1]
        return np.split(np.asarray(values)[self._columns], cuts)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "field_dims": list(self.field_dims),
            "tables": None if self.tables is None else list(self.tables),
            **self.gate_arguments,
            "seed": self.seed,
        }


def _columns(
    field_dims: Sequence[int], tables: Sequence[str] | None
) -> np.ndarray[Any, np.dtype[np.int32]]:
    """The index of the gate of each dimension, `(D,)`."""
    names = range(len(field_dims)) if tables is None else tables
    received = f"Received: tables={list(names)}, field_dims={list(field_dims)}"
    if len(names) != len(field_dims):
        raise ValueError(f"`tables` must name one table for each of `field_dims`. {received}")
    first: dict[Any, tuple[int, int]] = {}  # of each table, its first column and its width
    found: list[np.ndarray[Any, Any]] = []
    used = 0
    for name, dim in zip(names, field_dims, strict=True):
        if first.setdefault(name, (used, dim))[1] != dim:
            raise ValueError(f"fields of one table must have one width. {received}")
        start = first[name][0]
        used = max(used, start + dim)
        found.append(np.arange(start, start + dim, dtype=np.int32))
    return np.concatenate(found)

"""Fields side by side as a product, so that a matrix which reads them costs less.

A field of four ids has four vectors, however wide they are, and a number's lie on a line.
With B the vectors of such narrow fields and z one-hot ids and numbers, the fields are
x = [z B, e], e the vectors of all other fields, and

    x W = [z, e] [B W'; W'']        W', W'': the rows of W for the narrow and other fields

has fewer columns to multiply, and none of z needs a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

_NAME = "_mtl_tf_factors"


@dataclass(frozen=True)
class FieldBasis:
    """Narrow fields of one width: what spans their vectors, and where a batch lies in that.

    Attributes:
        coordinates: z `(batch, len(kept))`.
        vectors: `(fields, most, dim)`; fields that have fewer than most are filled up.
        kept: which of the fields · most vectors are not there to fill up.
    """

    coordinates: Any
    vectors: Any
    kept: np.ndarray[Any, Any]

    @property
    def width(self) -> int:
        """Of the fields side by side."""
        return self.vectors.shape[0] * self.vectors.shape[2]

    def times(self, kernel: Any) -> Any:
        """`(len(kept), units)` of the fields' rows of a kernel, `(width, units)`."""
        fields, most, dim = self.vectors.shape
        products = tf.matmul(self.vectors, tf.reshape(kernel, (fields, dim, -1)))
        return tf.gather(tf.reshape(products, (fields * most, -1)), self.kept)


@dataclass(frozen=True)
class Factors:
    """The factors of fields side by side, x `(batch, D)`.

    Attributes:
        bases: of the narrow fields.
        others: e, the vectors of all other fields; None if there are none.
        columns: where the fields of the bases, and then the others, lie in x.
    """

    bases: Sequence[FieldBasis]
    others: Any
    columns: np.ndarray[Any, Any]

    def times(self, kernel: Any) -> Any:
        """x · kernel."""
        widths = [basis.width for basis in self.bases]
        *own, lower = tf.split(
            tf.gather(kernel, self.columns), [*widths, len(self.columns) - sum(widths)]
        )
        upper = tf.concat([b.times(rows) for b, rows in zip(self.bases, own, strict=True)], axis=0)
        coordinates = tf.concat([basis.coordinates for basis in self.bases], axis=1)
        if self.others is None:
            return tf.matmul(coordinates, upper)
        return _matmul_parts(coordinates, self.others, upper, lower)


def attach_factors(fields: Any, factors: Factors) -> None:
    """Notes the factors at the tensor, as Keras notes masks. Who does not know them loses none."""
    setattr(fields, _NAME, factors)


def matmul(fields: Any, kernel: Any) -> Any:
    """`fields` · `kernel`, by way of the factors where they are known."""
    factors = getattr(fields, _NAME, None)
    return tf.matmul(fields, kernel) if factors is None else factors.times(kernel)


@tf.custom_gradient
def _matmul_parts(left: Any, right: Any, upper: Any, lower: Any) -> Any:
    """[left, right] · [upper; lower].

    Each part has a gradient of its own, which goes if nobody asks for it. A compiler
    calculates that of a concatenation as a whole, and cuts out what is wanted.
    """
    matrix = tf.concat([left, right], axis=1)

    def gradient(upstream: Any) -> Any:
        rows = tf.matmul(matrix, upstream, transpose_a=True)
        return (
            tf.matmul(upstream, upper, transpose_b=True),
            tf.matmul(upstream, lower, transpose_b=True),
            *tf.split(rows, [upper.shape[0], lower.shape[0]]),
        )

    return tf.matmul(matrix, tf.concat([upper, lower], axis=0)), gradient

"""Factored products: fields side by side times a matrix, for less work.

A field of four ids has four vectors, however wide they are, and a number's vectors lie on a
line. With B the vectors of such narrow fields, z their one-hot ids and numbers, and e the
vectors of all other fields, the fields side by side are x = [z B, e], and

    x W = [z, e] [B W'; W'']        W', W'': the rows of W for the narrow and other fields

multiplies fewer columns, and no part of z needs a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

_NAME = "_mtl_tf_factors"


@dataclass(frozen=True)
class FieldBasis:
    """Narrow fields of one width: the vectors that span them, and a batch's coordinates.

    Attributes:
        coordinates: z `(batch, len(kept))`.
        vectors: `(fields, max_vectors, dim)`; fields with fewer vectors are padded.
        kept: indices of the vectors, among all fields · max_vectors, that are not padding.
    """

    coordinates: Any
    vectors: Any
    kept: np.ndarray[Any, Any]

    @property
    def width(self) -> int:
        """The width of the fields side by side."""
        return self.vectors.shape[0] * self.vectors.shape[2]

    def project(self, kernel: Any) -> Any:
        """The vectors times their fields' rows of a kernel `(width, units)`: `(kept, units)`."""
        fields, max_vectors, dim = self.vectors.shape
        products = tf.matmul(self.vectors, tf.reshape(kernel, (fields, dim, -1)))
        return tf.gather(tf.reshape(products, (fields * max_vectors, -1)), self.kept)


@dataclass(frozen=True)
class Factors:
    """The factors of fields side by side, x `(batch, D)`.

    Attributes:
        bases: the narrow fields.
        others: e, the vectors of all other fields; None if there are none.
        columns: the columns of x of the fields of the bases, then of the others.
        scale: factors of the columns of x, `(D,)`; None for 1.
    """

    bases: Sequence[FieldBasis]
    others: Any
    columns: np.ndarray[Any, Any]
    scale: Any = None

    def matmul(self, kernel: Any) -> Any:
        """(scale ⊙ x) · kernel."""
        if self.scale is not None:
            kernel = self.scale[:, None] * kernel
        widths = [basis.width for basis in self.bases]
        *narrow, lower = tf.split(
            tf.gather(kernel, self.columns), [*widths, len(self.columns) - sum(widths)]
        )
        upper = tf.concat(
            [b.project(rows) for b, rows in zip(self.bases, narrow, strict=True)], axis=0
        )
        coordinates = tf.concat([basis.coordinates for basis in self.bases], axis=1)
        if self.others is None:
            return tf.matmul(coordinates, upper)
        return _matmul_parts(coordinates, self.others, upper, lower)


def attach_factors(fields: Any, factors: Factors) -> None:
    """Attach the factors to the tensor, as Keras does with masks; other layers ignore them."""
    setattr(fields, _NAME, factors)


def scale_factors(fields: Any, scaled: Any, scale: Any) -> None:
    """Attach to `scaled`, which is `fields` times `scale`, the factors of `fields`, if any."""
    factors = getattr(fields, _NAME, None)
    if factors is not None:
        whole = scale if factors.scale is None else scale * factors.scale
        attach_factors(scaled, replace(factors, scale=whole))


def matmul(fields: Any, kernel: Any) -> Any:
    """`fields` · `kernel`, by the factors if some are attached."""
    factors = getattr(fields, _NAME, None)
    return tf.matmul(fields, kernel) if factors is None else factors.matmul(kernel)


@tf.custom_gradient
def _matmul_parts(left: Any, right: Any, upper: Any, lower: Any) -> Any:
    """[left, right] · [upper; lower].

    Each part has a gradient of its own, which the compiler drops if nothing uses it. Of a
    concatenation it would compute the whole gradient and slice it.
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

"""The table of a `Projected`, made when a model is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtl_tf.inference.nodes import Block, Projected

Weights = Sequence[tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]]  # table, scale, matrix


class ProjectedTable(tf.saved_model.experimental.TrackableResource):
    """Products of table rows with matrices, `(node.rows, node.width)`, in memory only.

    A SavedModel holds what they are made of. A loader makes them as it fills lookup
    tables: TF Serving's and `tf.compat.v1.saved_model.load` in the model's init
    operation, after the variables are restored.
    """

    def __init__(self, node: Projected, weights: Weights):
        super().__init__()
        self._node = node
        self._weights = list(weights)
        self._shape = (node.rows, node.width)
        self._shared_name = _fingerprint(node)
        with tf.init_scope():  # outside of the function being traced
            _ = self.resource_handle
            self._initialize()

    def __call__(self) -> tf.Tensor:
        """The table, float32; not copied."""
        table = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.float32)
        table.set_shape(self._shape)
        return table

    # There is no `_destroy_resource`: in one process, loaded copies of a model share the
    # table by its name, and the first to go would take it from the others. TF Serving
    # frees it with the session.

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=self._shape, shared_name=self._shared_name
        )

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=self._made())

    def _made(self) -> tf.Tensor:
        columns: dict[int, tf.Tensor] = {}
        for block, weights in zip(self._node.blocks, self._weights, strict=True):
            made = self._all_rows(block, _products(block, *weights))
            known = columns.get(block.start)
            columns[block.start] = made if known is None else known + made
        return tf.concat([columns[start] for start in sorted(columns)], axis=1)

    def _all_rows(self, block: Block, products: tf.Tensor) -> tf.Tensor:
        """The block's rows where the table has them, zeros for fields that it lacks."""
        ends = np.cumsum(block.embed.sizes)
        starts = dict(zip(block.embed.fields, ends - block.embed.sizes, strict=True))
        none = int(ends[-1])  # the row of zeros behind the block's own
        index = [
            starts[field] + np.arange(size) if field in starts else np.full(size, none)
            for field, (_, size) in self._node.layout.items()
        ]
        padded = tf.pad(products, [[0, 1], [0, 0]])
        return tf.gather(padded, np.concatenate(index).astype(np.int32))


def _products(
    block: Block, table: tf.Tensor, scale: tf.Tensor | None, matrix: tf.Tensor
) -> tf.Tensor:
    """Rows times matrices, the block's fields below each other."""
    embed = block.embed
    count = len(embed.fields)
    matrices = tf.reshape(matrix, (count, embed.dim, -1))
    offsets, sizes = tf.constant(embed.offsets), tf.constant(embed.sizes)
    empty = tf.TensorArray(
        tf.float32, count, infer_shape=False, element_shape=(None, matrix.shape[1])
    )

    def add(i: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        ids = tf.range(offsets[i], offsets[i] + sizes[i])
        rows = tf.cast(tf.gather(table, ids), tf.float32)
        if scale is not None:
            rows *= tf.gather(scale, ids)
        return i + 1, found.write(i, tf.matmul(rows, matrices[i]))

    # A loop: a graph of hundreds of fields stays small.
    return tf.while_loop(lambda i, _: i < count, add, (tf.constant(0), empty))[1].concat()


def _fingerprint(node: Projected) -> str:
    """A name that only tables of the same content share."""
    digest = hashlib.blake2b(repr(list(node.layout.items())).encode(), digest_size=16)
    for block in node.blocks:
        embed = block.embed
        digest.update(repr((embed.fields, embed.offsets, block.start)).encode())
        for array in (embed.table, embed.scale, block.matrix):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
    return f"projected_{digest.hexdigest()}"

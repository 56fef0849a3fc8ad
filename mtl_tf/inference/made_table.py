"""Tables that are made when a model is loaded; a SavedModel holds what they are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from mtl_tf.inference.nodes import Array, Block, Embed, MaskedTable, Projected
from mtl_tf.inference.ops import Factors, Stored, stored_as


class MadeTable(tf.saved_model.experimental.TrackableResource):
    """A table that is in memory only.

    A loader makes it as it fills lookup tables: TF Serving's and
    `tf.compat.v1.saved_model.load` in the model's init operation, after the variables are
    restored.

    Args:
        make: gives the table, of what the model holds.
        shape: of the table.
        dtype: of the table.
        name: one that only tables of the same content have.
    """

    def __init__(
        self, make: Callable[[], tf.Tensor], shape: tuple[int, int], dtype: tf.DType, name: str
    ):
        super().__init__()
        self.name = name
        self._make, self._shape, self._dtype = make, shape, dtype
        with tf.init_scope():  # outside of the function being traced
            _ = self.resource_handle
            self._initialize()

    def __call__(self) -> tf.Tensor:
        """The table; not copied."""
        table = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=self._dtype)
        table.set_shape(self._shape)
        return table

    # There is no `_destroy_resource`: in one process, loaded copies of a model share the
    # table by its name, and the first to go would take it from the others. TF Serving
    # frees it with the session.

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=self._dtype, shape=self._shape, shared_name=self.name)

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=self._make())


def masked_table(table: MaskedTable, stored: Stored) -> tuple[MadeTable, ...]:
    """The rows of `table`, in the type of its source, and their scale if that is a small one.

    The rows of such a source stay as they are: under a mask they have a smaller scale.
    """
    source, scale, g = stored
    assert g is not None
    dtype = tf.as_dtype(stored_as(table))
    fingerprint = _fingerprint(_content(table))

    def weights(part: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        return _mask_weights(_float_rows(source, scale, places), g[part])

    def rows(part: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        found = tf.gather(source, places)
        return found * weights(part, places) if dtype == tf.float32 else found

    def scales(part: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        found = weights(part, places)
        return found if scale is None else found * tf.gather(scale, places)

    def made(shape: tuple[int, int], kind: tf.DType, of_part: _OfPart, name: str) -> MadeTable:
        return MadeTable(
            lambda: _below_each_other(table.starts, table.sizes, of_part, shape[1], kind),
            shape,
            kind,
            f"{name}_{fingerprint}",
        )

    whole = made(table.shape, dtype, rows, "masked")
    if dtype == tf.float32:
        return (whole,)
    return whole, made((len(table), 1), tf.float32, scales, "masked_scale")


def projected_table(node: Projected, factors: Sequence[Factors]) -> MadeTable:
    """Products of the rows that a `Projected` looks up with its matrices, float32."""

    def make() -> tf.Tensor:
        columns: dict[int, tf.Tensor] = {}
        for block, (stored, matrix) in zip(node.blocks, factors, strict=True):
            made = _all_rows(node, block, _products(block.embed, stored, matrix))
            known = columns.get(block.start)
            columns[block.start] = made if known is None else known + made
        return tf.concat([columns[start] for start in sorted(columns)], axis=1)

    content: list[object] = list(node.layout.items())
    for block in node.blocks:
        embed = block.embed
        content += [embed.fields, embed.offsets, block.start, block.matrix]
        content += _content(embed.table, embed.scale)
    name = f"projected_{_fingerprint(content)}"
    return MadeTable(make, (node.rows, node.width), tf.float32, name)


def _all_rows(node: Projected, block: Block, products: tf.Tensor) -> tf.Tensor:
    """The block's rows where the table has them, zeros for fields that it lacks."""
    ends = np.cumsum(block.embed.sizes)
    starts = dict(zip(block.embed.fields, ends - block.embed.sizes, strict=True))
    none = int(ends[-1])  # the row of zeros behind the block's own
    index = [
        starts[field] + np.arange(size) if field in starts else np.full(size, none)
        for field, (_, size) in node.layout.items()
    ]
    padded = tf.pad(products, [[0, 1], [0, 0]])
    return tf.gather(padded, np.concatenate(index).astype(np.int32))


def _products(embed: Embed, stored: Stored, matrix: tf.Tensor) -> tf.Tensor:
    """Rows times matrices, the lookup's fields below each other."""
    source, scale, g = stored
    matrices = tf.reshape(matrix, (len(embed.fields), embed.dim, -1))
    starts, parts = np.array(embed.offsets), np.zeros(len(embed.fields), int)
    if isinstance(embed.table, MaskedTable):
        parts, starts = embed.table.find(starts)
    mask_of = tf.constant(parts)

    def products(field: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        rows = _float_rows(source, scale, places)
        if g is not None:
            rows *= _mask_weights(rows, g[mask_of[field]])
        return tf.matmul(rows, matrices[field])

    return _below_each_other(starts, embed.sizes, products, matrices.shape[2], tf.float32)


_OfPart = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # of a part's number and its rows' places


def _below_each_other(
    starts: Sequence[int] | Array,
    sizes: Sequence[int],
    of_part: _OfPart,
    width: int,
    dtype: tf.DType,
) -> tf.Tensor:
    """What `of_part` makes of each part, rows `start` to `start + size` of a table."""
    first, size = tf.constant(starts, tf.int32), tf.constant(sizes, tf.int32)
    empty = tf.TensorArray(dtype, len(sizes), infer_shape=False, element_shape=(None, width))

    def add(i: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return i + 1, found.write(i, of_part(i, tf.range(first[i], first[i] + size[i])))

    # A loop: a graph of hundreds of fields stays small.
    return tf.while_loop(lambda i, _: i < len(sizes), add, (tf.constant(0), empty))[1].concat()


def _float_rows(source: tf.Tensor, scale: tf.Tensor | None, places: tf.Tensor) -> tf.Tensor:
    rows = tf.cast(tf.gather(source, places), tf.float32)
    return rows if scale is None else rows * tf.gather(scale, places)


def _mask_weights(rows: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """relu(tanh(g·row)), `(rows, 1)`."""
    return tf.nn.relu(tf.tanh(tf.reduce_sum(rows * g, axis=1, keepdims=True)))


def _content(table: Array | MaskedTable, scale: Array | None = None) -> list[object]:
    """All that says what the rows of a table are."""
    if isinstance(table, MaskedTable):
        return [table.source, table.scale, table.g, table.starts, table.sizes]
    return [table, scale]


def _fingerprint(content: Iterable[object]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in content:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()

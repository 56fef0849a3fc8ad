"""Tables that are computed when a model is loaded; a SavedModel holds what from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from mtl_tf.compiler.ir.nodes import Embed, MaskedTable, ProjectedLookup, ProjectedTerm, Weight
from mtl_tf.compiler.lowering.engine import StoredTable, TermTensors
from mtl_tf.compiler.lowering.ops import stored_type


class LoadTimeTable(tf.saved_model.experimental.TrackableResource):
    """A table that is in memory only.

    A loader makes it as it fills lookup tables: TF Serving's and
    `tf.compat.v1.saved_model.load` in the model's init operation, after the variables are
    restored.

    Args:
        make: computes the table from what the model holds.
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
            tf.function(self._initialize, autograph=False).get_concrete_function()()

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


def masked_table(table: MaskedTable, stored: StoredTable) -> tuple[LoadTimeTable, ...]:
    """The rows of `table`, in the type of its source, and their scale if that is a small one.

    The rows of such a source stay as they are: under a mask they have a smaller scale.
    """
    source, scale, g = stored
    dtype = tf.as_dtype(stored_type(table))
    fingerprint = _fingerprint(_content(table))
    starts, sizes = np.array(table.starts, np.int32), np.array(table.sizes, np.int32)

    def rows() -> tf.Tensor:
        places = tf.raw_ops.RaggedRange(starts=starts, limits=starts + sizes, deltas=1)
        # As a tensor: a lookup in the variable itself would make later readers copy it.
        found = tf.gather(tf.convert_to_tensor(source), places.rt_dense_values)
        return found * scales() if dtype == tf.float32 else found

    def scales() -> tf.Tensor:
        return _scales_of(source, scale, g, tf.constant(starts), tf.constant(sizes))

    whole = LoadTimeTable(rows, table.shape, dtype, f"masked_{fingerprint}")
    if dtype == tf.float32:
        return (whole,)
    of_rows = LoadTimeTable(scales, (len(table), 1), tf.float32, f"masked_scale_{fingerprint}")
    return whole, of_rows


def _scales_of(*tensors: tf.Tensor | None) -> tf.Tensor:
    """`_masked_scales` as one function for tables of all shapes: a graph then holds it once."""
    given = [None if x is None else tf.convert_to_tensor(x) for x in tensors]  # no variables
    specs = [None if x is None else tf.TensorSpec([None] * x.shape.rank, x.dtype) for x in given]
    return _masked_scales.get_concrete_function(*specs)(*(x for x in given if x is not None))


@tf.function(autograph=False)
def _masked_scales(
    source: tf.Tensor, scale: tf.Tensor | None, g: tf.Tensor, starts: tf.Tensor, sizes: tf.Tensor
) -> tf.Tensor:
    """What the masks `g` make of each part's rows, and of their scale: `(rows, 1)`."""

    def scales(part: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        weights = _mask_weights(_float_rows(source, scale, places), g[part])
        return weights if scale is None else weights * tf.gather(scale, places)

    return _below_each_other(starts, sizes, scales, 1)


def projected_table(node: ProjectedLookup, terms: Sequence[TermTensors]) -> LoadTimeTable:
    """Returns the projected table of a node: rows times matrices, plus biases, float32."""

    def make() -> tf.Tensor:
        columns: dict[int, tf.Tensor] = {}
        for term, (stored, matrix, bias) in zip(node.terms, terms, strict=True):
            made = _products(term.embed, stored, matrix)
            if bias is not None:
                size = term.embed.sizes[0]
                made = tf.concat([made[:size] + bias, made[size:]], axis=0)
            made = _all_rows(node, term, made)
            known = columns.get(term.start)
            columns[term.start] = made if known is None else known + made
        return tf.concat([columns[start] for start in sorted(columns)], axis=1)

    content: list[object] = list(node.layout.items())
    for term in node.terms:
        embed = term.embed
        content += [embed.fields, embed.offsets, term.start, term.matrix, term.bias]
        content += _content(embed.table, embed.scale)
    name = f"projected_{_fingerprint(content)}"
    return LoadTimeTable(make, (node.rows, node.width), tf.float32, name)


def _all_rows(node: ProjectedLookup, term: ProjectedTerm, products: tf.Tensor) -> tf.Tensor:
    """The term's rows where the table has them, zeros for fields that it lacks, and last."""
    ends = np.cumsum(term.embed.sizes)
    starts = dict(zip(term.embed.fields, ends - term.embed.sizes, strict=True))
    none = int(ends[-1])  # the row of zeros behind the term's own
    index = [
        starts[field] + np.arange(size) if field in starts else np.full(size, none)
        for field, (_, size) in node.layout.items()
    ]
    padded = tf.pad(products, [[0, 1], [0, 0]])
    return tf.gather(padded, np.append(np.concatenate(index), none).astype(np.int32))


def _products(embed: Embed, stored: StoredTable, matrix: tf.Tensor) -> tf.Tensor:
    """Rows times matrices, the lookup's fields below each other."""
    source, scale, g = (None if x is None else tf.convert_to_tensor(x) for x in stored)
    matrices = tf.reshape(matrix, (len(embed.fields), embed.dim, -1))
    firsts, parts = np.array(embed.offsets), np.zeros(len(embed.fields), int)
    if isinstance(embed.table, MaskedTable):
        parts, firsts = embed.table.find(firsts)
    mask_of = tf.constant(parts)

    def products(field: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        rows = _float_rows(source, scale, places)
        if g is not None:
            rows *= _mask_weights(rows, g[mask_of[field]])
        return tf.matmul(rows, matrices[field])

    starts, sizes = tf.constant(firsts, tf.int32), tf.constant(embed.sizes, tf.int32)
    return _below_each_other(starts, sizes, products, matrices.shape[2])


def _below_each_other(
    starts: tf.Tensor,
    sizes: tf.Tensor,
    of_part: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    width: int,
) -> tf.Tensor:
    """What `of_part` makes of each part: of its number, and its rows `start` … `start + size`."""
    count = tf.shape(sizes)[0]
    empty = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=(None, width))

    def add(i: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return i + 1, found.write(i, of_part(i, tf.range(starts[i], starts[i] + sizes[i])))

    # A loop: a graph of hundreds of fields stays small.
    return tf.while_loop(lambda i, _: i < count, add, (tf.constant(0), empty))[1].concat()


def _float_rows(source: tf.Tensor, scale: tf.Tensor | None, places: tf.Tensor) -> tf.Tensor:
    rows = tf.cast(tf.gather(source, places), tf.float32)
    return rows if scale is None else rows * tf.gather(scale, places)


def _mask_weights(rows: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """relu(tanh(g·row)), `(rows, 1)`."""
    return tf.nn.relu(tf.tanh(tf.reduce_sum(rows * g, axis=1, keepdims=True)))


def _content(table: Weight | MaskedTable, scale: Weight | None = None) -> list[object]:
    """All that the rows of a table depend on."""
    if isinstance(table, MaskedTable):
        stored = [table.source] if table.scale is None else [table.source, table.scale]
        parts = list(zip(table.starts, table.sizes, strict=True))
        return [table.g, *(each.rows(i, i + size) for each in stored for i, size in parts)]
    return [table, scale]


def _fingerprint(content: Iterable[object]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in content:
        if isinstance(part, Weight):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part.array).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()

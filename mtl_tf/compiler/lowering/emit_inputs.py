"""The rules of `emit.py` for nodes that read features: lookups, numeric fields and masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.lowering.emit import Emitter, emit
from mtl_tf.compiler.lowering.engine import StoredTable, Tensor, TermTensors
from mtl_tf.compiler.lowering.ops import stored_type

# Pieces of a value for which one product with a matrix of as many terms, all else zeros, is
# faster than broadcasting: some 4 % of a whole request with 7 pieces, 8 % with 40.
_FEW = 48
# TensorFlow's kernel adds up eight rows at once; two to seven that remain take longer.
_AT_ONCE = 8
_NO_FIELD = ""
Combination = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]  # fields, offsets, sizes


@emit.register
def _(node: n.Embed, emitter: Emitter) -> Tensor:
    if node.pooling is not None:
        return _pooled(node, emitter)
    if len(node.fields) == 1:
        ids = _shifted(node, emitter.features[node.fields[0]], emitter)
        return _looked_up(node, ids, emitter)
    rows = _looked_up(node, _index(node, emitter), emitter)  # (n, fields, dim)
    return emitter.engine("reshape", rows, (-1, node.width))


@emit.register
def _(node: n.ProjectedLookup, emitter: Emitter) -> Tensor:
    engine = emitter.engine
    table = engine.projected(node, lambda: _terms(node, emitter))
    ids = engine("reshape", _index(node, emitter), (-1,))
    count = len(_combination(node, emitter)[0])
    if count == 1:
        return engine("gather", table, ids)
    return engine("segment_sum", table, ids, count)


@emit.register
def _(node: n.RowProduct, emitter: Emitter) -> Tensor:
    engine = emitter.engine
    ids = emitter.features[node.field]
    if emitter.check_ids:
        sizes = engine.constant(f"{node.name}/sizes", np.array(len(node.table), np.int32))
        ids = engine("assert_in_range", ids, sizes, None)
    rows = engine("gather", engine.weight(node.table), ids)
    products = engine("multiply", rows, emitter.part(node.part))
    return engine("reshape", engine("sum", products, 1), (-1, 1))


@emit.register
def _(node: n.Numeric, emitter: Emitter) -> Tensor:
    engine, count, flat = emitter.engine, len(node.fields), node.dim == 1
    x, shape = _side_by_side(node.fields, emitter), (-1,) if flat else (count, node.dim)
    if not flat or count == 1:
        x = engine("reshape", x, (-1, 1) if flat else (-1, count, 1))
    if not flat or (node.vectors.array != 1).any():
        x = engine("multiply", x, engine.weight(node.vectors, shape=shape))
    if node.biases.any():
        x = engine("add", x, engine.weight(node.biases, shape=shape))
    return x if flat else engine("reshape", x, (-1, node.width))


@emit.register
def _(node: n.Mask, emitter: Emitter) -> Tensor:
    engine, dim, source = emitter.engine, node.dim, emitter.value(node.source)
    count = emitter.width(node.source) // dim
    every = tuple(range(count))
    shape: tuple[int, ...]
    if node.pieces == every:  # one reader of every piece
        pieces, shape = engine("reshape", source, (-1, count, dim)), (count, dim)
    elif node.pieces == every * (len(node.pieces) // count):  # several readers of all
        pieces = engine("reshape", source, (-1, 1, count, dim))
        shape = (len(node.pieces) // count, count, dim)
    else:
        pieces = engine("reshape", source, (-1, count, dim))
        index = engine.constant(f"{node.name}/pieces", np.asarray(node.pieces, np.int32))
        pieces, shape = engine("pieces", pieces, index), (len(node.pieces), dim)
    if count <= _FEW:
        kernel = engine.constant(f"{node.name}/blocks", _block_columns(node, count))
        products = engine("matmul", source, kernel)
    else:
        g = engine.weight(node.g, shape=shape)
        products = engine("sum", engine("multiply", pieces, g), -1)
    weights = engine("relu", engine("tanh", products))
    masked = engine("multiply", pieces, engine("reshape", weights, (-1, *shape[:-1], 1)))
    return engine("reshape", masked, (-1, node.width))


def _block_columns(node: n.Mask, count: int) -> np.ndarray:
    """The matrix whose product with the source's `count` pieces is every g·piece."""
    matrix = np.zeros((count, node.dim, len(node.pieces)), np.float32)
    for column, (piece, g) in enumerate(zip(node.pieces, node.g.array, strict=True)):
        matrix[piece, :, column] = g
    return matrix.reshape(count * node.dim, -1)


def _pooled(node: n.Embed, emitter: Emitter) -> Tensor:
    engine, single = emitter.engine, len(node.fields) == 1
    ids = _side_by_side(node.fields, emitter)  # (n, values) or (n, fields, values)
    weights = engine("valid_mask", ids)
    if node.weighted:
        given = _side_by_side([f"{field}__weights" for field in node.fields], emitter)
        weights = engine("multiply", weights, given)
    ids = _shifted(node, engine("clip_negative", ids), emitter)
    rows = _looked_up(node, ids, emitter)  # (n, [fields,] values, dim)
    total = engine("sum", engine("multiply", rows, engine("expand_last", weights)), -2)
    if node.pooling == "mean":
        shape = (-1, 1) if single else (-1, len(node.fields), 1)
        by = engine("reshape", engine("sum", weights, -1), shape)
        total = engine("divide_no_nan", total, by)
    return total if single else engine("reshape", total, (-1, node.width))


def _side_by_side(names: Sequence[str], emitter: Emitter) -> Tensor:
    tensors = [emitter.features[name] for name in names]
    return tensors[0] if len(tensors) == 1 else emitter.engine("stack", tensors, 1)


def _shifted(node: n.Embed, ids: Tensor, emitter: Emitter) -> Tensor:
    """Rows of a node's fused tables: ids `(n, ...)` or `(n, fields, ...)` plus offsets."""
    key, single = f"{node.name}/", len(node.fields) == 1
    ids = _checked(key, ids, np.array(node.sizes), None if single else 1, emitter)
    if not any(node.offsets):
        return ids
    offsets = np.reshape(node.offsets, (1,) if single else (-1, 1))
    return emitter.engine("add", ids, emitter.engine.constant(f"{key}offsets", offsets))


def _checked(key: str, ids: Tensor, sizes: np.ndarray, axis: int | None, e: Emitter) -> Tensor:
    """`ids`, whose fields lie along `axis`, refused where one is outside its table."""
    if not e.check_ids:
        return ids
    return e.engine("assert_in_range", ids, e.engine.constant(f"{key}sizes", sizes), axis)


def _looked_up(node: n.Embed, ids: Tensor, emitter: Emitter) -> Tensor:
    engine = emitter.engine
    if isinstance(node.table, n.MaskedTable):
        table, scale = engine.masked(node.table, lambda: _stored(node, emitter))
    else:
        table, scale, _ = _stored(node, emitter)
    rows = engine("gather", table, ids)
    if stored_type(node.table) != np.float32:
        rows = engine("to_float", rows)
    return rows if scale is None else engine("multiply", rows, engine("gather", scale, ids))


def _stored(node: n.Embed, emitter: Emitter) -> StoredTable:
    """What the node's rows are computed from."""
    weight, table = emitter.engine.weight, node.table
    if isinstance(table, n.MaskedTable):
        scale, g = table.scale, weight(table.g)
    else:
        scale, g = node.scale, None
    return weight(node.base_table), None if scale is None else weight(scale), g


def _terms(node: n.ProjectedLookup, emitter: Emitter) -> list[TermTensors]:
    """What the projected rows are computed from, by term."""
    found, weight = [], emitter.engine.weight
    for term in node.terms:
        matrix = weight(term.matrix)
        bias = None if term.bias is None else weight(term.bias)
        found.append((_stored(term.embed, emitter), matrix, bias))
    return found


def _index(node: n.Embed | n.ProjectedLookup, emitter: Emitter) -> Tensor:
    """Rows of the node's table, `(n, fields)`: one stack for all nodes of as many rows."""
    key = _combination(node, emitter)
    if key not in emitter.indices:
        per_request = node.name in emitter.plan.per_request
        emitter.indices |= _all_indices(per_request, emitter)
    return emitter.indices[key]


def _all_indices(per_request: bool, emitter: Emitter) -> dict[object, Tensor]:
    """The rows that all such nodes look up: those once per request, or all others."""
    engine, plan = emitter.engine, emitter.plan
    wanted = dict.fromkeys(
        _combination(node, emitter)
        for node in plan.nodes
        if isinstance(node, n.ProjectedLookup)
        or (isinstance(node, n.Embed) and node.pooling is None and len(node.fields) > 1)
        if (node.name in plan.per_request) == per_request
    )
    # Stacking rows and transposing once is faster than interleaving columns.
    fields = [field for fields, *_ in wanted for field in fields]
    ids = engine("stack", _ids(fields, emitter), 0)
    key = "context/" if per_request else ""
    ids = _checked(key, ids, np.concatenate([sizes for *_, sizes in wanted]), 0, emitter)
    rows = engine("transpose", ids)
    offsets = np.concatenate([offsets for _, offsets, _ in wanted])
    if offsets.any():  # a bias of the columns: broadcasting takes twice the time
        rows = engine("bias_add", rows, engine.constant(f"{key}offsets", offsets))
    widths = [len(fields) for fields, *_ in wanted]
    parts = engine("split", rows, widths) if len(widths) > 1 else [rows]
    return dict(zip(wanted, parts, strict=True))


def _combination(node: n.Embed | n.ProjectedLookup, emitter: Emitter) -> Combination:
    """What the node looks up; of rows that are added up, some of zeros to make it even."""
    fields, offsets, sizes = node.fields, node.offsets, node.sizes
    left = len(fields) % _AT_ONCE
    per_request = node.name in emitter.plan.per_request
    if isinstance(node, n.ProjectedLookup) and left > 1 and not per_request:
        zeros = _AT_ONCE - left
        fields += (_NO_FIELD,) * zeros
        offsets += (node.rows - 1,) * zeros
        sizes += (1,) * zeros
    return fields, offsets, sizes


def _ids(fields: Sequence[str], emitter: Emitter) -> list[Tensor]:
    """The ids of these fields, `(n,)` each; zeros for none."""
    first = emitter.features[fields[0]]
    none = emitter.engine("zeros_like", first) if _NO_FIELD in fields else None
    return [none if field == _NO_FIELD else emitter.features[field] for field in fields]

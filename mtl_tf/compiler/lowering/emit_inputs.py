"""The input part of `emit.py`: lookups, sums of projected rows, numbers and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.ops import Factors, Ops, Stored, Tensor, stored_as

# Pieces of a value for which one product with a matrix of as many blocks, all else zeros, is
# faster than broadcasting: some 4 % of a whole request with 7 pieces, 8 % with 40.
_FEW = 48
# TensorFlow's kernel adds up eight rows at once; two to seven that are left take longer.
_AT_ONCE = 8
_NO_FIELD = ""
Combination = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]  # fields, offsets, sizes


class InputEmitter:
    """Emits the nodes of one plan that read features, and masks of them; each is asked for once."""

    def __init__(self, plan: Plan, ops: Ops, features: Mapping[str, Tensor], check_ids: bool):
        self.plan = plan
        self.ops = ops
        self.features = features
        self.check_ids = check_ids
        self._table_keys = _table_keys(plan)
        self._indices: dict[Combination, Tensor] = {}

    def value(self, node: n.Embed | n.Projected | n.Numeric) -> Tensor:
        """The value `(n, width)` of a node."""
        if isinstance(node, n.Embed):
            return self._embed(node)
        if isinstance(node, n.Projected):
            return self._added_up(node)
        return self._numeric(node)

    def masked(self, node: n.Mask, source: Tensor) -> Tensor:
        """The value `(n, width)` of a mask, of that of its source."""
        ops, dim = self.ops, node.dim
        count = n.width_of(self.plan.by_name[node.source]) // dim
        every = tuple(range(count))
        shape: tuple[int, ...]
        if node.pieces == every:  # one reader of every piece
            pieces, shape = ops.reshape(source, (-1, count, dim)), (count, dim)
        elif node.pieces == every * (len(node.pieces) // count):  # several readers of all
            pieces = ops.reshape(source, (-1, 1, count, dim))
            shape = (len(node.pieces) // count, count, dim)
        else:
            pieces = ops.reshape(source, (-1, count, dim))
            index = ops.index(f"{node.name}/pieces", np.asarray(node.pieces, np.int32))
            pieces, shape = ops.pieces(pieces, index), (len(node.pieces), dim)
        if count <= _FEW:
            kernel = ops.weight(f"{node.name}/g", _block_columns(node, count))
            products = ops.matmul(source, kernel)
        else:
            g = ops.weight(f"{node.name}/g", node.g.reshape(shape))
            products = ops.sum(ops.multiply(pieces, g), axis=-1)
        weights = ops.activation("relu", ops.activation("tanh", products))
        masked = ops.multiply(pieces, ops.reshape(weights, (-1, *shape[:-1], 1)))
        return ops.reshape(masked, (-1, node.width))

    def _index(self, node: n.Embed | n.Projected) -> Tensor:
        """Rows of the node's table, `(n, fields)`: one stack for all nodes of as many rows."""
        key = self._combination(node)
        if key not in self._indices:
            self._indices |= self._make_indices(node.name in self.plan.once)
        return self._indices[key]

    def _combination(self, node: n.Embed | n.Projected) -> Combination:
        """What the node looks up; of rows that are added up, some of zeros to make it even."""
        fields, offsets, sizes = node.fields, node.offsets, node.sizes
        left = len(fields) % _AT_ONCE
        if isinstance(node, n.Projected) and left > 1 and node.name not in self.plan.once:
            zeros = _AT_ONCE - left
            fields += (_NO_FIELD,) * zeros
            offsets += (node.rows - 1,) * zeros
            sizes += (1,) * zeros
        return fields, offsets, sizes

    def _added_up(self, node: n.Projected) -> Tensor:
        ops = self.ops
        table = ops.projected(node, lambda: self._factors(node))
        ids = ops.reshape(self._index(node), (-1,))
        count = len(self._combination(node)[0])
        return ops.gather(table, ids) if count == 1 else ops.add_rows(table, ids, count)

    def _factors(self, node: n.Projected) -> list[Factors]:
        """What the projected rows are made of, by block."""
        found, weight = [], self.ops.weight
        for i, block in enumerate(node.blocks):
            matrix, bias = weight(f"{node.name}/{i}/matrix", block.matrix), None
            if block.bias is not None:
                bias = weight(f"{node.name}/{i}/bias", block.bias)
            found.append((self._stored(block.embed), matrix, bias))
        return found

    def _make_indices(self, once: bool) -> dict[Combination, Tensor]:
        wanted = dict.fromkeys(
            self._combination(node)
            for node in self.plan.nodes
            if isinstance(node, n.Projected)
            or (isinstance(node, n.Embed) and node.pooling is None and len(node.fields) > 1)
            if (node.name in self.plan.once) == once
        )
        # Stacking rows and transposing once is faster than interleaving columns.
        ids = self.ops.stack(self._ids([f for fields, *_ in wanted for f in fields]), axis=0)
        key = "once/" if once else ""
        ids = self._checked(key, ids, np.concatenate([sizes for *_, sizes in wanted]), axis=0)
        rows = self.ops.transpose(ids)
        offsets = np.concatenate([offsets for _, offsets, _ in wanted])
        if offsets.any():  # a bias of the columns: broadcasting takes twice the time
            rows = self.ops.bias_add(rows, self.ops.index(f"{key}offsets", offsets))
        widths = [len(fields) for fields, *_ in wanted]
        parts = self.ops.split(rows, widths) if len(widths) > 1 else [rows]
        return dict(zip(wanted, parts, strict=True))

    def _ids(self, fields: Sequence[str]) -> list[Tensor]:
        """The ids of these fields, `(n,)` each; zeros for none."""
        none = self.ops.zeros_like(self.features[fields[0]]) if _NO_FIELD in fields else None
        return [none if field == _NO_FIELD else self.features[field] for field in fields]

    def _embed(self, node: n.Embed) -> Tensor:
        if node.pooling is not None:
            return self._bag(node)
        if len(node.fields) == 1:
            return self._looked_up(node, self._shifted(node, self.features[node.fields[0]]))
        rows = self._looked_up(node, self._index(node))  # (n, fields, dim)
        return self.ops.reshape(rows, (-1, node.width))

    def _bag(self, node: n.Embed) -> Tensor:
        ops, single = self.ops, len(node.fields) == 1
        ids = self._side_by_side(node.fields)  # (n, values) or (n, fields, values)
        weights = ops.not_negative(ids)
        if node.weighted:
            given = self._side_by_side([f"{field}__weights" for field in node.fields])
            weights = ops.multiply(weights, given)
        ids = self._shifted(node, ops.clip_negative(ids))
        rows = self._looked_up(node, ids)  # (n, [fields,] values, dim)
        shape = (-1, 1) if single else (-1, len(node.fields), 1)
        total = ops.sum(ops.multiply(rows, ops.expand_last(weights)), axis=-2)
        if node.pooling == "mean":
            total = ops.divide_no_nan(total, ops.reshape(ops.sum(weights, axis=-1), shape))
        return total if single else ops.reshape(total, (-1, node.width))

    def _shifted(self, node: n.Embed, ids: Tensor) -> Tensor:
        """Rows of a node's joined tables: ids `(n, ...)` or `(n, fields, ...)` plus offsets."""
        key, single = f"{node.name}/", len(node.fields) == 1
        ids = self._checked(key, ids, np.array(node.sizes), axis=None if single else 1)
        if not any(node.offsets):
            return ids
        offsets = np.reshape(node.offsets, (1,) if single else (-1, 1))
        return self.ops.add(ids, self.ops.index(f"{key}offsets", offsets))

    def _checked(self, key: str, ids: Tensor, sizes: np.ndarray, axis: int | None) -> Tensor:
        """`ids`, whose fields lie along `axis`, refused where one is outside of its table."""
        if not self.check_ids:
            return ids
        return self.ops.refuse_outside(ids, self.ops.index(f"{key}sizes", sizes), axis)

    def _looked_up(self, node: n.Embed, ids: Tensor) -> Tensor:
        ops = self.ops
        if isinstance(node.table, n.MaskedTable):
            table, scale = ops.masked(node.table, lambda: self._stored(node))
        else:
            table, scale, _ = self._stored(node)
        rows = ops.gather(table, ids)
        if stored_as(node.table) != np.float32:
            rows = ops.to_float(rows)
        return rows if scale is None else ops.multiply(rows, ops.gather(scale, ids))

    def _stored(self, node: n.Embed) -> Stored:
        """What the node's rows are made of."""
        weight, table, key = self.ops.weight, node.table, self._table_keys[id(node.stored)]
        if isinstance(table, n.MaskedTable):
            scale, g = table.scale, weight(f"{self._table_keys[id(table)]}/g", table.g)
        else:
            scale, g = node.scale, None
        stored = weight(key, node.stored)
        return stored, None if scale is None else weight(f"{key}/scale", scale), g

    def _numeric(self, node: n.Numeric) -> Tensor:
        ops, count, flat = self.ops, len(node.fields), node.dim == 1
        x, shape = self._side_by_side(node.fields), (-1,) if flat else (count, node.dim)
        if not flat or count == 1:
            x = ops.reshape(x, (-1, 1) if flat else (-1, count, 1))
        if not flat or (node.vectors != 1).any():
            vectors = ops.weight(f"{node.name}/vectors", node.vectors.reshape(shape))
            x = ops.multiply(x, vectors)
        if node.biases.any():
            x = ops.add(x, ops.weight(f"{node.name}/biases", node.biases.reshape(shape)))
        return x if flat else ops.reshape(x, (-1, node.width))

    def _side_by_side(self, names: Sequence[str]) -> Tensor:
        tensors = [self.features[name] for name in names]
        return tensors[0] if len(tensors) == 1 else self.ops.stack(tensors, axis=1)


def _block_columns(node: n.Mask, count: int) -> np.ndarray:
    """The matrix whose product with the source's `count` pieces gives every g·piece."""
    matrix = np.zeros((count, node.dim, len(node.pieces)), np.float32)
    for column, (piece, g) in enumerate(zip(node.pieces, node.g, strict=True)):
        matrix[piece, :, column] = g
    return matrix.reshape(count * node.dim, -1)


def _table_keys(plan: Plan) -> dict[int, str]:
    """A name per table; one that several nodes share is one weight."""
    keys: dict[int, str] = {}
    for node in plan.nodes:
        for embed in n.tables_of(node):
            keys.setdefault(id(embed.stored), f"{embed.name}/table")
            keys.setdefault(id(embed.table), f"{embed.name}/masked")
    return keys

"""The NumPy interpreter: what every node computes, in float64, one node at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import singledispatch

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import ACTIVATIONS, mask_weights
from mtl_tf.errors import UserError

Array = np.ndarray
Values = Mapping[str, Array]


def evaluate(
    nodes: Iterable[n.Node],
    features: Values,
    count: int = 1,
    per_request: Collection[str] = (),
) -> dict[str, Array]:
    """Returns the value of every node but the outputs, `(n, width)`.

    Args:
        nodes: in topological order.
        features: every feature that they read.
        count: the number of rows, n.
        per_request: nodes of which there is one row, whatever n is.
    """
    values: dict[str, Array] = {}
    for node in nodes:
        if not isinstance(node, n.Output):
            rows = 1 if node.name in per_request else count
            values[node.name] = value_of(node, values, features, rows)
    return values


@singledispatch
def value_of(node: n.Node, values: Values, features: Values, count: int) -> Array:
    """Returns the value `(count, width)` of a node, of those of its inputs. One rule per kind."""
    raise TypeError(f"no interpretation of {type(node).__name__}")


@value_of.register
def _(node: n.Embed, values: Values, features: Values, count: int) -> Array:
    pooled = []
    for field, offset, size in zip(node.fields, node.offsets, node.sizes, strict=True):
        ids = features[field].astype(np.int64)
        _check_ids(field, ids, size, -1 if node.pooling else 0)
        if node.pooling is None:
            pooled.append(node.rows(ids + offset))
            continue
        weights = (ids >= 0).astype(np.float64)
        if node.weighted:
            weights = weights * features[f"{field}__weights"].astype(np.float64)
        rows = node.rows(np.maximum(ids, 0) + offset)
        total = np.einsum("nl,nld->nd", weights, rows)
        if node.pooling == "mean":
            by = weights.sum(axis=1, keepdims=True)
            total = np.divide(total, by, out=np.zeros_like(total), where=by != 0)
        pooled.append(total)
    return np.concatenate(pooled, axis=1)


@value_of.register
def _(node: n.ProjectedLookup, values: Values, features: Values, count: int) -> Array:
    total = np.zeros((count, node.width))
    for term in node.terms:
        embed, matrix = term.embed, term.matrix.float64()
        for index, (field, offset, size) in enumerate(
            zip(embed.fields, embed.offsets, embed.sizes, strict=True)
        ):
            if field in node.fields:
                ids = features[field].astype(np.int64)
                _check_ids(field, ids, size, 0)
                rows = matrix[index * embed.dim : (index + 1) * embed.dim]
                units = slice(term.start, term.stop)
                total[:, units] += embed.rows(ids + offset) @ rows
                if index == 0 and term.bias is not None:
                    total[:, units] += term.bias.array
    return total


@value_of.register
def _(node: n.Numeric, values: Values, features: Values, count: int) -> Array:
    x = np.stack([features[field].astype(np.float64) for field in node.fields], axis=1)
    return (x[:, :, None] * node.vectors.array + node.biases.array).reshape(count, node.width)


@value_of.register
def _(node: n.Mask, values: Values, features: Values, count: int) -> Array:
    source = values[node.source]
    cut = source.reshape(count, source.shape[1] // node.dim, node.dim)
    pieces = cut[:, list(node.pieces)]
    weights = mask_weights((pieces * node.g.array).sum(axis=-1))
    return (pieces * weights[:, :, None]).reshape(count, node.width)


@value_of.register
def _(node: n.Affine, values: Values, features: Values, count: int) -> Array:
    total = np.tile(node.bias.float64(), (count, 1))
    for edge in node.edges:
        source = values[edge.source]
        if edge.is_matrix:
            product = source[:, edge.start : edge.stop] @ edge.weight.float64()
        else:
            product = source * edge.weight.float64()
        total += product if edge.gate is None else product * edge.gate.array
    return ACTIVATIONS[node.activation](total)


@value_of.register
def _(node: n.Mixture, values: Values, features: Values, count: int) -> Array:
    experts = np.stack([_at(values, place, node.units) for place in node.experts], axis=1)
    logits = np.stack([_at(values, place, len(node.experts)) for place in node.gates], axis=1)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    return np.einsum("nre,neu->nru", shares, experts).reshape(count, node.width)


@value_of.register
def _(node: n.RowProduct, values: Values, features: Values, count: int) -> Array:
    ids = features[node.field].astype(np.int64)
    _check_ids(node.field, ids, len(node.table), 0)
    rows = node.table.float64()[ids]
    return (rows * _at(values, node.source, rows.shape[1])).sum(axis=1, keepdims=True)


@value_of.register
def _(node: n.Broadcast, values: Values, features: Values, count: int) -> Array:
    return np.repeat(values[node.source], count, axis=0)


@value_of.register
def _(node: n.Opaque, values: Values, features: Values, count: int) -> Array:
    operands = []
    for operand in node.operands:
        if operand.kind == "feature":
            given = features[operand.names[0][0]]
            operands.append(np.repeat(given, count, axis=0) if operand.repeated else given)
            continue
        parts = [_side_by_side([values[name] for name in group]) for group in operand.names]
        whole = parts[0] if operand.kind == "vector" else np.stack(parts, axis=1)
        operands.append(whole.astype(np.float32))
    return np.asarray(node.function(*operands)).astype(np.float64)


def _at(values: Values, place: n.UnitRef, units: int) -> Array:
    source, start = place
    return values[source][:, start : start + units]


def _side_by_side(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _check_ids(field: str, ids: Array, size: int, lowest: int) -> None:
    if ids.size and not (ids.min() >= lowest and ids.max() < size):
        wrong = ids[(ids < lowest) | (ids >= size)].flat[0]
        raise UserError(
            f"field `{field}`: ids must be in {lowest} … {size - 1}; received {wrong}. "
            "Were they made by this model's own transform?"
        )

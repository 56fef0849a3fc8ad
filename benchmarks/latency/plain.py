"""MSSM as a straightforward graph: what is written without a compiler behind it.

One table and one lookup per field, one mask per field and sub-network, one matrix product
and one gate per connection, as libraries of single-purpose layers build such models. The
weights are those of a trained Keras model; closed gates and masks are multiplied in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers import CellSparseSharing, FieldEmbedding, FieldMask, SubNetworks
from mtl_tf.transform import FittedTransform

Tensors = dict[str, tf.Tensor]


class PlainMSSM(tf.Module):
    """The scores of an MSSM model of categorical fields, one small operation after another."""

    def __init__(self, model: keras.Model, transform: FittedTransform) -> None:
        super().__init__()
        layers = {kind: [layer for layer in model.layers if type(layer) is kind] for kind in _KINDS}
        (embedding,), (mask,), (first,) = (layers[kind] for kind in _KINDS[:3])
        names = [feature["name"] for feature in embedding.features]
        self.names = names
        self.tables = [_variable(embedding.table(name)) for name in names]
        splits = np.cumsum(embedding.field_dims)[:-1]
        self.masks = [
            [_variable(part) for part in np.split(np.asarray(reader), splits)]
            for reader in tf.convert_to_tensor(mask.g).numpy()
        ]
        self.first = [
            (_variable(kernel), _variable(bias))
            for kernel, bias in zip(_array(first.kernel), _array(first.bias), strict=True)
        ]
        self.levels = [_level(layer) for layer in layers[CellSparseSharing]]
        towers = {task: model.get_layer(f"Tower_{task}") for task in model.output}
        self.reads = {task: tower.sub_network for task, tower in towers.items()}
        self.towers = {
            task: [
                (_variable(dense.kernel), _variable(dense.bias))
                for dense in (*tower.hidden, tower.score)
            ]
            for task, tower in towers.items()
        }
        self.lookups = {name: _lookup(transform, name) for name in names}

    def raw(self, columns: Mapping[str, tf.Tensor]) -> Tensors:
        """Scores for strings, one vocabulary lookup per field."""
        return self({name: self.lookups[name].lookup(columns[name]) for name in self.names})

    def __call__(self, ids: Mapping[str, tf.Tensor]) -> Tensors:
        """Scores `{task: (n,)}` for ids."""
        vectors = [
            tf.gather(table, ids[name]) for table, name in zip(self.tables, self.names, strict=True)
        ]
        cells = []
        for masks, (kernel, bias) in zip(self.masks, self.first, strict=True):
            seen = [_masked(e, g) for e, g in zip(vectors, masks, strict=True)]
            cells.append(tf.nn.relu(tf.matmul(tf.concat(seen, axis=1), kernel) + bias))
        for level in self.levels:
            cells = [_cell(cells, connections, bias) for connections, bias in level]
        return {task: _tower(cells[self.reads[task]], dense) for task, dense in self.towers.items()}


_KINDS = (FieldEmbedding, FieldMask, SubNetworks, CellSparseSharing)


def _masked(e: tf.Tensor, g: tf.Variable) -> tf.Tensor:
    return tf.nn.relu(tf.tanh(tf.reduce_sum(g * e, axis=1, keepdims=True))) * e


def _cell(cells: list[tf.Tensor], connections: Any, bias: tf.Variable) -> tf.Tensor:
    terms = [z * tf.matmul(u, w) for u, (z, w) in zip(cells, connections, strict=True)]
    return tf.nn.relu(tf.add_n(terms) + bias)


def _tower(x: tf.Tensor, dense: Any) -> tf.Tensor:
    *hidden, (kernel, bias) = dense
    for matrix, offset in hidden:
        x = tf.nn.relu(tf.matmul(x, matrix) + offset)
    return tf.reshape(tf.sigmoid(tf.matmul(x, kernel) + bias), [-1])


def _level(layer: CellSparseSharing) -> list[Any]:
    kernel, gates, bias = _array(layer.kernel), _array(layer.gate.inference_gate()), layer.bias
    return [
        (
            [(_variable(z), _variable(w)) for z, w in zip(gates[i], kernel[i], strict=True)],
            _variable(_array(bias)[i]),
        )
        for i in range(len(kernel))
    ]


def _lookup(transform: FittedTransform, name: str) -> tf.lookup.StaticHashTable:
    words = transform.vocabulary(name).values.to_pylist()
    ids = np.arange(len(words), dtype=np.int32)
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(words), ids), len(words)
    )


def _array(value: Any) -> np.ndarray:
    return tf.convert_to_tensor(value).numpy()


def _variable(value: Any) -> tf.Variable:
    return tf.Variable(tf.convert_to_tensor(value), trainable=False)

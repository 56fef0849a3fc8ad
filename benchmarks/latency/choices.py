"""The compiler's choices beside the alternatives it turned down.

Choices are made from a cost model, once, for every batch size. Whole graphs:

- `chosen`: what `optimize` makes by default.
- `for_1`, `for_512`: units joined as is best for that batch, says the cost model.
- `masks_kept`: masks computed per request, not folded into tables.

The first level alone, after which the rest is the same:

- `first_chosen`: masked rows looked up, then one matrix product per sub-network.
- `first_projected`: the product taken at export, a row per id as wide as the level;
  the request's rows are summed by `segment_sum`. Not in the compiler: see README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.inference import lower, optimize
from mtl_tf.inference.nodes import Affine, Embed
from mtl_tf.inference.plan import Plan

_LARGEST_PROJECTED = 256 << 20  # bytes
Tensors = Mapping[str, tf.Tensor]


def save(captured: Plan, folder: Path, state: str) -> None:
    """Each alternative as a SavedModel `choice_<state>_<name>` with the signature `ids`."""
    chosen, _ = optimize(captured)
    plans = {
        "chosen": chosen,
        "for_1": optimize(captured, batch=1)[0],
        "for_512": optimize(captured, batch=512)[0],
        "masks_kept": optimize(captured, table_budget=0)[0],
    }
    for name, plan in plans.items():
        module = lower(plan)
        _save(module, module.input_signature(), folder / f"choice_{state}_{name}")
    embeds = [node for node in chosen.nodes if isinstance(node, Embed)]
    numbers = len(embeds[0].table) * sum(node.width for node in _first(chosen))
    if len({node.fields for node in embeds}) == 1 and 4 * numbers <= _LARGEST_PROJECTED:
        signature = lower(chosen).input_signature()
        for name, level in {"chosen": _looked_up, "projected": _projected}.items():
            module = tf.Module()
            module.call, module.kept = level(chosen, embeds)
            _save(module, signature, folder / f"choice_{state}_first_{name}", module.call)


def _save(module: tf.Module, signature: Any, folder: Path, call: Any = None) -> None:
    function = tf.function(lambda **ids: (call or module)(ids), autograph=False)
    signatures = {"ids": function.get_concrete_function(**signature)}
    tf.saved_model.save(module, str(folder), signatures)


def _first(plan: Plan) -> list[Affine]:
    tables = {node.name for node in plan.nodes if isinstance(node, Embed)}
    return [
        node
        for node in plan.nodes
        if isinstance(node, Affine) and {edge.source for edge in node.edges} <= tables
    ]


def _looked_up(plan: Plan, embeds: list[Embed]) -> tuple[Callable[[Tensors], Any], Any]:
    tables = {node.name: tf.Variable(node.table, trainable=False) for node in embeds}
    parts = [
        (edge.source, tf.constant(edge.weight), tf.constant(node.bias))
        for node in _first(plan)
        for edge in node.edges
    ]

    def call(ids: Tensors) -> dict[str, tf.Tensor]:
        rows = _rows(embeds[0], ids)
        cells = []
        for source, weight, bias in parts:
            seen = tf.reshape(tf.gather(tables[source], rows), (-1, weight.shape[0]))
            cells.append(tf.nn.relu(tf.nn.bias_add(tf.matmul(seen, weight), bias)))
        return {"cells": tf.concat(cells, axis=1)}

    return call, tables


def _projected(plan: Plan, embeds: list[Embed]) -> tuple[Callable[[Tensors], Any], Any]:
    columns, biases = [], []
    for node in _first(plan):
        (edge,) = node.edges
        embed = plan.by_name[edge.source]
        assert isinstance(embed, Embed)
        table = np.zeros((len(embed.table), node.width), np.float32)
        for index, (offset, size) in enumerate(zip(embed.offsets, embed.sizes, strict=True)):
            block = edge.weight[index * embed.dim : (index + 1) * embed.dim]
            table[offset : offset + size] = embed.table[offset : offset + size] @ block
        columns.append(table)
        biases.append(node.bias)
    whole = tf.Variable(np.concatenate(columns, axis=1), trainable=False)
    bias = tf.constant(np.concatenate(biases))
    fields = len(embeds[0].fields)

    def call(ids: Tensors) -> dict[str, tf.Tensor]:
        rows = tf.reshape(_rows(embeds[0], ids), [-1])
        sums = tf.sparse.segment_sum(whole, rows, tf.range(tf.size(rows)) // fields)
        return {"cells": tf.nn.relu(tf.nn.bias_add(sums, bias))}

    return call, whole


def _rows(embed: Embed, ids: Tensors) -> tf.Tensor:
    offsets = np.array(embed.offsets, np.int32)[:, None]
    return tf.transpose(tf.stack([ids[name] for name in embed.fields]) + offsets)

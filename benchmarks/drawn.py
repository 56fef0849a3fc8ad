"""Models with drawn weights, closed as training leaves them; nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import GATE, MASK, TABLE, role_of
from mtl_tf.config import Config
from mtl_tf.models import build_model
from mtl_tf.schema import Schema
from mtl_tf.transform.fitted import FittedTransform, make_vocabulary

Closed = Literal["", "units", "connections"]
"""What is closed: nothing, half of the units of all connections, or half of the connections."""

CLOSED_SHARE = 1 / 2
_CLOSED = -5.0  # log α: far below where a gate becomes exactly 0


def schema_of(
    name: str, fields: Sequence[str], dim: int, tasks: int, context: Sequence[str] = ()
) -> Schema:
    """Return a schema of categorical fields, those of `context` one per request."""
    described = [
        {
            "name": field,
            "kind": "categorical",
            "embedding_dim": dim,
            "oov_buckets": 1,
            "missing": "oov",
            **({"side": "context"} if field in context else {}),
        }
        for field in fields
    ]
    labels = [{"name": f"task_{i}", "label": f"label_{i}"} for i in range(tasks)]
    return Schema.from_json({"name": name, "fields": described, "tasks": labels})


def drawn_run(
    schema: Schema, vocabularies: Sequence[int], model: Any, closed: Closed = "", seed: int = 0
) -> Any:
    """Return what `serving.export.export` takes for a run: a model, its transform and config.

    Args:
        schema: of categorical fields, from `schema_of`.
        vocabularies: number of ids of each field.
        model: the `model` part of a configuration.
        closed: see `draw_weights`.
        seed: of the weights.
    """
    tables = {
        field.name: make_vocabulary(
            schema, field.name, pa.array(_words(size - 1), pa.large_string())
        )
        for field, size in zip(schema.fields, vocabularies, strict=True)
    }
    transform = FittedTransform(schema, tables, {})
    config = Config(schema=schema, model=model)
    built = build_model(transform, schema.tasks, config.model)
    draw_weights(built, np.random.default_rng(seed), closed)
    return SimpleNamespace(
        folder=Path(), model=built, config=config, transform=transform, data=None, info=None
    )


def draw_weights(model: keras.Model, rng: np.random.Generator, closed: Closed = "") -> None:
    """Draw distinct weights of a usual size; no gate is exactly 0 or 1 unless it is closed.

    With `closed`, half of the units or connections are shut (those of a sub-network from
    itself stay open), and every third field is masked for all sub-networks.
    """
    for weight in model.weights:
        shape, role = tuple(weight.shape), role_of(weight)
        if role == GATE:
            value = rng.uniform(-1, 1, shape)
            if closed:
                value[closed_gates(rng, shape, closed)] = _CLOSED
        elif role == MASK:
            value = rng.normal(0.3, 0.3, shape)
            if closed:
                value[:, _every_third_field(model)] = 0.0
        elif role == TABLE:
            value = rng.standard_normal(shape, np.float32) * np.float32(0.5)
        elif len(shape) >= 2:
            value = rng.normal(0.0, shape[-2] ** -0.5, shape)
        elif np.issubdtype(weight.numpy().dtype, np.floating):
            value = rng.normal(0.0, 0.1, shape)
        else:
            continue  # the state of a random generator
        weight.assign(value.astype(np.float32, copy=False))


def closed_gates(rng: np.random.Generator, shape: Sequence[int], closed: Closed) -> np.ndarray:
    """Return True for the gates to close: half of them, none of a sub-network from itself.

    Args:
        shape: of the gates, (to, from) or (to, from, units).
        closed: `units` closes them one by one, `connections` all units of a connection.
    """
    shape = tuple(shape) if closed == "units" else tuple(shape)[:2]
    own = np.zeros(shape, bool)
    own[np.arange(min(shape[:2])), np.arange(min(shape[:2]))] = True
    others = np.flatnonzero(~own)
    found = np.zeros(own.size, bool)
    found[rng.permutation(others)[: round(CLOSED_SHARE * own.size)]] = True
    return found.reshape(shape)


def _every_third_field(model: keras.Model) -> np.ndarray:
    """The columns of g that belong to every third field."""
    dims = model.get_layer("Mask").field_dims
    return np.repeat(np.arange(len(dims)) % 3 == 1, dims)


def _words(count: int) -> list[str]:
    return [f"v{index}" for index in range(count)]

"""The models that are measured: MSSM in two sizes, with weights drawn, not trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_tf.backend.keras import keras
from mtl_tf.config import MSSM, Config
from mtl_tf.models import build_model
from mtl_tf.schema import Schema
from mtl_tf.transform.fitted import FittedTransform, make_vocabulary

CLOSED_CONNECTIONS = 1 / 2
_CLOSED = -5.0  # log α: far below where a gate becomes exactly 0


@dataclass(frozen=True)
class Shape:
    """Widths and counts of one model.

    Attributes:
        vocabularies: ids of each field.
        dim: width of a field's vector.
        units: of every cell of every level.
        tasks: there is one more cell per level, the shared one.
    """

    name: str
    vocabularies: tuple[int, ...]
    dim: int
    units: int
    levels: int
    tasks: int

    @property
    def fields(self) -> list[str]:
        return [f"field_{index:02d}" for index in range(len(self.vocabularies))]


SHAPES = {
    "small": Shape("small", (60,) * 40, dim=8, units=64, levels=2, tasks=2),
    "large": Shape("large", (100_000,) * 8 + (1_000,) * 32, dim=16, units=128, levels=3, tasks=4),
}


def make_run(shape: Shape, *, closed: bool, context: bool = False, seed: int = 0) -> Any:
    """What `serving.export.export` takes for a run: a model, its transform and config.

    closed: half of the connections (not into a cell from itself) and a third of the
    fields are shut, as training would have left them. context: the first half of the
    fields belongs to the request.
    """
    schema = _schema(shape, context)
    tables = {
        name: make_vocabulary(schema, name, pa.array(_words(size - 1), pa.large_string()))
        for name, size in zip(shape.fields, shape.vocabularies, strict=True)
    }
    transform = FittedTransform(schema, tables, {})
    config = Config(schema=schema, model=MSSM(units=(shape.units,) * shape.levels))
    model = build_model(transform, schema.tasks, config.model)
    draw_weights(model, np.random.default_rng(seed), closed)
    return SimpleNamespace(
        folder=Path(), model=model, config=config, transform=transform, data=None, info=None
    )


def draw_weights(model: keras.Model, rng: np.random.Generator, closed: bool) -> None:
    """Distinct weights of a usual size; no gate at exactly 0 or 1 unless closed."""
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.name.rsplit("/", 1)[-1].split(":")[0]
        if name == "log_alpha":
            value = rng.uniform(-1, 1, shape)
            if closed:
                value[_closed_connections(rng, *shape[:2])] = _CLOSED
        elif name == "g":
            value = rng.normal(0.3, 0.3, shape)
            if closed:
                value[:, _closed_fields(model)] = 0.0
        elif name.startswith("tables"):
            value = rng.normal(0.0, 0.5, shape)
        elif len(shape) >= 2:
            value = rng.normal(0.0, shape[-2] ** -0.5, shape)
        elif np.issubdtype(weight.numpy().dtype, np.floating):
            value = rng.normal(0.0, 0.1, shape)
        else:
            continue  # the state of a random generator
        weight.assign(value.astype(np.float32))


def draw_ids(shape: Shape, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Model inputs of `rows` rows, every id alike likely."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, size, rows).astype(np.int32)
        for name, size in zip(shape.fields, shape.vocabularies, strict=True)
    }


def as_words(ids: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The raw strings of these ids."""
    return {name: np.array([f"v{i}" for i in column], object) for name, column in ids.items()}


def _closed_fields(model: keras.Model) -> np.ndarray:
    """Columns of g that belong to every third field."""
    dims = model.get_layer("Mask").field_dims
    return np.repeat(np.arange(len(dims)) % 3 == 1, dims)


def _closed_connections(rng: np.random.Generator, to: int, sources: int) -> np.ndarray:
    """(to, from), half of them true: a cell keeps reading itself."""
    others = [(i, j) for i in range(to) for j in range(sources) if i != j]
    closed = np.zeros((to, sources), bool)
    for index in rng.permutation(len(others))[: round(CLOSED_CONNECTIONS * to * sources)]:
        closed[others[index]] = True
    return closed


def _words(count: int) -> list[str]:
    return [f"v{index}" for index in range(count)]


def _schema(shape: Shape, context: bool) -> Schema:
    half = len(shape.fields) // 2
    fields = [
        {
            "name": name,
            "kind": "categorical",
            "embedding_dim": shape.dim,
            "oov_buckets": 1,
            "missing": "oov",
            **({"side": "context"} if context and index < half else {}),
        }
        for index, name in enumerate(shape.fields)
    ]
    tasks = [{"name": f"task_{i}", "label": f"label_{i}"} for i in range(shape.tasks)]
    return Schema.from_json({"name": shape.name, "fields": fields, "tasks": tasks})

"""The models that are compiled, by their size."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarks.drawn import draw_weights, drawn_run, schema_of
from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import TABLE, role_of
from mtl_tf.config import Config
from mtl_tf.layers import FieldMask
from mtl_tf.models import build_model
from mtl_tf.transform import Feature

ARCHITECTURES = ("mssm", "ple", "snr_trans")
TASKS, FIELDS, LEVELS = (2, 5, 10, 20), (40, 100, 400), (1, 2, 3)
IDS = (10_000, 100_000, 1_000_000, 5_000_000)
_UNITS, _DIM = 64, 8
_CLOSED_MASKS = 1 / 3


@dataclass(frozen=True)
class Size:
    """What a model is made of.

    Attributes:
        architecture: its name in a configuration.
        tasks: number of tasks; most levels have one more sub-network.
        fields: number of categorical fields.
        levels: of sub-networks, 64 units wide each (SNR-Trans has two at least).
        ids: of all fields together, half of them in one.
    """

    architecture: str
    tasks: int = 5
    fields: int = 40
    levels: int = 2
    ids: int = 100_000

    def __str__(self) -> str:
        return (
            f"{self.architecture}: {self.tasks} tasks, {self.fields} fields, "
            f"{self.levels} levels, {self.ids:,} ids"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def sizes(architecture: str) -> list[Size]:
    """Return what is measured of an architecture: one thing varied at a time, each size once."""
    usual, many = Size(architecture), Size(architecture, tasks=max(TASKS))
    varied = [replace(usual, tasks=tasks) for tasks in TASKS]
    varied += [replace(usual, fields=fields) for fields in FIELDS]
    varied += [replace(many, levels=levels) for levels in LEVELS]
    varied += [replace(usual, ids=ids) for ids in IDS]
    return list(dict.fromkeys(varied))


def largest(architecture: str) -> Size:
    """Return the size that a whole export is measured of."""
    return Size(architecture, max(TASKS), max(FIELDS))


def make_run(size: Size, seed: int = 0) -> Any:
    """Return a model as a run that `serving.export.export` takes, closed at random."""
    run = drawn_run(_schema(size), _vocabularies(size), _model(size), "units", seed)
    _close_masks(run.model, np.random.default_rng(seed))
    return run


def make_model(size: Size, seed: int = 0) -> keras.Model:
    """Return the same model without vocabularies: its inputs are ids."""
    schema, rng = _schema(size), np.random.default_rng(seed)
    features = [
        Feature(field.name, "id", count, _DIM, field.name)
        for field, count in zip(schema.fields, _vocabularies(size), strict=True)
    ]
    config = Config(schema=schema, model=_model(size))
    model = build_model(features, schema.tasks, config.model)
    draw_weights(model, rng, "units")
    _close_masks(model, np.random.default_rng(seed))
    return model


def model_bytes(model: keras.Model) -> int:
    """Return the bytes of the trained weights."""
    return 4 * sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def work(model: keras.Model) -> int:
    """Return how many numbers the trained weights are, embedding tables left out."""
    weights = [weight for weight in model.trainable_weights if role_of(weight) != TABLE]
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _schema(size: Size) -> Any:
    names = [f"field_{index:03d}" for index in range(size.fields)]
    return schema_of("scale", names, _DIM, size.tasks)


def _vocabularies(size: Size) -> list[int]:
    large = size.ids // 2
    return [large, *[(size.ids - large) // (size.fields - 1)] * (size.fields - 1)]


def _model(size: Size) -> dict[str, Any]:
    units = [_UNITS] * size.levels
    options: dict[str, dict[str, Any]] = {
        "mssm": {"units": units},
        "ple": {
            "units": [_UNITS],
            "levels": size.levels,
            "task_experts": 1,
            "shared_experts": 1,
        },
        "snr_trans": {
            "units": units if size.levels > 1 else units * 2,
            "num_sub_networks": size.tasks + 1,
        },
    }
    return {"architecture": size.architecture, **options[size.architecture]}


def _close_masks(model: keras.Model, rng: np.random.Generator) -> None:
    """Close a third of the masks, one of each field and sub-network."""
    for layer in model.layers:
        if isinstance(layer, FieldMask):
            g = np.array(layer.g)
            is_open = rng.random((len(g), len(layer.field_dims))) >= _CLOSED_MASKS
            drawn = np.where(g == 0, rng.normal(0.3, 0.3, g.shape), g)  # all open before
            layer.g.assign((drawn * np.repeat(is_open, layer.field_dims, axis=1)).astype(g.dtype))

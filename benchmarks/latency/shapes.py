"""The models that are measured: MSSM in two sizes, with weights drawn, not trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.drawn import Closed, drawn_run, schema_of
from mtl_tf.config import MSSM


@dataclass(frozen=True)
class Shape:
    """Widths and counts of one model.

    Attributes:
        vocabularies: ids of each field.
        dim: width of a field's vector.
        units: width of every sub-network.
        tasks: number of tasks; most levels have one more sub-network, the shared one.
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


def make_run(shape: Shape, *, closed: Closed = "", context: bool = False, seed: int = 0) -> Any:
    """Return a shape's model as a run, with what `draw_weights` closes.

    With `context`, the first half of the fields belongs to the request.
    """
    half = shape.fields[: len(shape.fields) // 2] if context else []
    schema = schema_of(shape.name, shape.fields, shape.dim, shape.tasks, half)
    model = MSSM(units=(shape.units,) * shape.levels)
    return drawn_run(schema, shape.vocabularies, model, closed, seed)


def draw_ids(shape: Shape, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Return model inputs of `rows` rows, every id equally likely."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, size, rows).astype(np.int32)
        for name, size in zip(shape.fields, shape.vocabularies, strict=True)
    }


def as_words(ids: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the raw strings of these ids."""
    return {name: np.array([f"v{i}" for i in column], object) for name, column in ids.items()}

"""Models of `mtl_tf`, trained one epoch or some steps for each line on stdin.

    python -m benchmarks.mtl_tf_epochs DATASET data.npz

Lines and answers are those of `peers/deepctr_epochs.py`; `data.npz` is written at the start,
for the peer. `mmoe`, `ple` and `mssm` train an epoch as `mtl-tf train` does, from the
dataset folder. `table ROWS same|uniform` trains some steps of an MMoE whose 26 fields have
embedding tables of ROWS rows in all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.config import Config, Training, load_config
from mtl_tf.datasets import CONFIGS
from mtl_tf.models import build_model
from mtl_tf.ranker.losses import losses_for
from mtl_tf.ranker.optimizers import optimizer_for
from mtl_tf.records import PackedRows, dataset, load_info
from mtl_tf.records.read import options
from mtl_tf.schema import Task
from mtl_tf.transform import Feature

CONFIG = CONFIGS / "census_income.yaml"
BATCH = 1024
MODELS: dict[str, dict[str, Any]] = {
    "mmoe": {"architecture": "mmoe", "units": [128, 64], "num_experts": 4, "tower_units": [32]},
    "ple": {
        "architecture": "ple",
        "units": [128],
        "task_experts": 2,
        "shared_experts": 2,
        "levels": 2,
        "tower_units": [32],
    },
    "mssm": {"architecture": "mssm", "units": [64, 32], "tower_units": [16]},
}
FIELDS, WIDTH = 26, 8
SMALL = 10_000
TABLE_STEPS = 64
TASKS = (Task(name="a", label="a"), Task(name="b", label="b"))


def compiled(features: Any, tasks: Any, model: dict[str, Any]) -> keras.Model:
    """As `mtl-tf train` does by default."""
    schema = load_config(CONFIG).to_json()["schema"]
    config = Config.from_json({"schema": schema, "model": model, "training": {}}).model
    training = Training()
    built = build_model(features, tasks, config)
    losses, weights = losses_for(tasks)
    built.compile(
        optimizer_for(built, training),
        loss=losses,
        loss_weights=weights,
        jit_compile=training.jit_compile,
        steps_per_execution=training.steps_per_execution,
    )
    return built


class Epochs:
    """A model and the batches of an epoch, counted from 0; trained epoch by epoch."""

    def __init__(self, model: keras.Model, batches: Callable[[int], tf.data.Dataset]):
        self.model, self.batches = model, batches
        self.epoch = 0

    def __call__(self) -> dict[str, float]:
        start = time.perf_counter()
        batches = self.batches(self.epoch)
        self.model.fit(batches, verbose=0, shuffle=False)
        self.epoch += 1
        return {
            "rows": int(batches.cardinality()) * BATCH,
            "seconds": time.perf_counter() - start,
        }


def census(folder: Path, name: str) -> Epochs:
    """One of `MODELS`, on the training rows of a dataset folder."""
    info = load_info(folder)
    model = compiled(info.transform.features, info.schema.tasks, MODELS[name])
    rows = PackedRows(info, "train", Training().memory_mib << 20)
    model.unpack = rows.unpack
    return Epochs(model, lambda epoch: rows.batches(BATCH, seed=epoch))


def table(rows: int, ids: str) -> Epochs:
    """Steps on tables of so many rows in all; the batches are in memory.

    With `same` ids, a field has as many distinct ids in a large table as in a small one,
    spread over all of it: what differs is the table's size alone. With `uniform` ids every
    row is as likely, so a large table's rows come from main memory.
    """
    size, few = rows // FIELDS, SMALL // FIELDS
    names = [f"f{index}" for index in range(FIELDS)]
    features = [Feature(name, "id", size, WIDTH, name) for name in names]
    rng = np.random.default_rng(0)
    shape = (TABLE_STEPS * BATCH, FIELDS)
    drawn = rng.integers(0, few, shape) * (size // few)
    drawn = rng.integers(0, size, shape) if ids == "uniform" else drawn
    count = len(drawn)
    x = {name: drawn[:, index].astype(np.int32) for index, name in enumerate(names)}
    y = {task.name: rng.integers(0, 2, (count, 1)).astype(np.float32) for task in TASKS}
    weights = {task.name: np.ones(count, np.float32) for task in TASKS}
    batches = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(BATCH, True).cache()
    batches = batches.with_options(options())
    return Epochs(compiled(features, TASKS, MODELS["mmoe"]), lambda epoch: batches)


def write_arrays(folder: Path, path: str) -> None:
    """The training rows for the peer: the same ids."""
    info = load_info(folder)
    rows = info.split("train").rows
    x, y, _ = next(iter(dataset(folder, "train", rows, shuffle=False)))
    arrays = {f"x/{name}": np.asarray(column) for name, column in x.items()}
    arrays |= {f"y/{name}": np.asarray(column) for name, column in y.items()}
    np.savez(path, sizes=[feature.size for feature in info.transform.features], **arrays)


def main() -> None:
    folder = Path(sys.argv[1])
    write_arrays(folder, sys.argv[2])
    made: dict[str, Epochs] = {}
    for line in sys.stdin:
        line = line.strip()
        if line not in made and line in MODELS:
            made[line] = census(folder, line)
        elif line not in made:
            _, rows, ids = line.split()
            made[line] = table(int(rows), ids)
        print(json.dumps(made[line]()), flush=True)


if __name__ == "__main__":
    main()

"""A small dataset folder with a known truth, for the training tests."""

import json
from pathlib import Path

import numpy as np

from mtl_tf.config import Config
from mtl_tf.records import encode_blocks, frame
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform, NumericTransform
from mtl_tf.transform.fitted import make_vocabulary

READS = {"click": ("color", "amount"), "watch": ("color", "shop")}
"""By task, the fields that its label depends on; `noise` and `tags` have no influence."""

LIGHT = {"architecture": "shared_bottom", "units": [4], "tower_units": []}
"""The model that is traced fastest, for tests of something else."""

SCHEMA = {
    "name": "shop",
    "fields": [
        {"name": "color", "kind": "categorical", "hash_buckets": 8, "embedding_dim": 4},
        {"name": "shop", "kind": "categorical", "hash_buckets": 12, "embedding_dim": 4},
        {"name": "amount", "kind": "numeric", "transform": "quantile", "embedding_dim": 4},
        {"name": "noise", "kind": "categorical", "hash_buckets": 10, "embedding_dim": 4},
        {"name": "tags", "kind": "multivalued", "hash_buckets": 6, "max_values": 2,
         "embedding_dim": 2},
    ],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "watch", "kind": "regression", "label": "seconds"},
    ],
}  # fmt: skip


def config(model: dict | None = None, training: dict | None = None, schema: dict | None = None):
    """Return the configuration of a small MSSM, trained quickly and without XLA."""
    return Config.from_json(
        {
            "schema": schema or SCHEMA,
            "model": {"units": [12, 8], "tower_units": [4], **(model or {})},
            "training": {
                "epochs": 3,
                "batch_size": 100,
                "learning_rate": 0.01,
                "jit_compile": False,
                "steps_per_execution": 1,
                **(training or {}),
            },
        }
    )


def rows(count: int, seed: int, exponential: bool = False) -> dict[str, np.ndarray]:
    """Return model inputs, labels and weights; one row in five has no `watch`.

    exponential: the label of `watch` is never negative.
    """
    rng = np.random.default_rng(seed)
    effects = np.random.default_rng(99)
    color, shop, amount = (effects.permutation(np.linspace(-2, 2, n)) for n in (8, 12, 6))
    # The last id of each field never occurs, as a rare value in production would.
    columns = {
        "color": rng.integers(0, 7, count).astype(np.int32),
        "shop": rng.integers(0, 11, count).astype(np.int32),
        "amount": rng.integers(0, 5, count).astype(np.int32),
        "noise": rng.integers(0, 9, count).astype(np.int32),
        "tags": rng.integers(-1, 5, (count, 2)).astype(np.int32),
    }
    click = color[columns["color"]] + amount[columns["amount"]]
    watch = color[columns["color"]] + shop[columns["shop"]]
    columns["label/click"] = (rng.random(count) < 1 / (1 + np.exp(-click))).astype(np.float32)
    columns["weight/click"] = np.ones(count, np.float32)
    watch = watch + rng.normal(0, 0.3, count)
    columns["label/watch"] = (np.exp(watch) if exponential else watch).astype(np.float32)
    columns["weight/watch"] = (rng.random(count) < 0.8).astype(np.float32)
    return columns


def label_statistics(labels: np.ndarray, weights: np.ndarray) -> dict:
    """Return what the job would write of a regression task's labels."""
    y = labels[weights > 0].astype(np.float64)
    scales = {"plain": y, "log": np.log1p(y[y >= 0]), "log_positive": np.log(y[y > 0])}
    entry = {
        name: {"mean": x.mean(), "std": x.std()} if len(x) else {"mean": 0.0, "std": 0.0}
        for name, x in scales.items()
    }
    return {**entry, "quantiles": np.quantile(y, np.arange(129) / 128).tolist()}


def write(
    folder: Path,
    sizes: dict[str, int],
    without_labels: tuple[str, ...] = (),
    seconds: float = 1.0,
    statistics: bool = True,
    exponential: bool = False,
) -> Path:
    """Write a dataset folder with splits of these sizes.

    Args:
        folder: where to.
        sizes: rows by split.
        without_labels: tasks of which no row has a label.
        seconds: the unit of the label of `watch`.
        statistics: False for what earlier versions wrote.
        exponential: as for `rows`.
    """
    folder.mkdir()
    schema = Schema.from_json(SCHEMA)
    names = ("color", "shop", "noise", "tags")
    tables = {name: make_vocabulary(schema, name, None) for name in names}
    numbers = {"amount": NumericTransform(boundaries=(0.0, 1.0, 2.0, 3.0))}
    splits, labels = {}, {}
    for seed, split in enumerate(("train", "eval", "test")):
        splits[split] = {"rows": 0, "files": [], "labelled": {}, "positives": {}}
        if not sizes.get(split):
            continue
        columns = rows(sizes[split], seed, exponential)
        columns["label/watch"] *= np.float32(seconds)
        for task in without_labels:
            columns[f"weight/{task}"][:] = 0
        name = f"{split}-00000-of-00001.tfrecord"
        (folder / name).write_bytes(frame(encode_blocks(columns, 64)))
        if split == "train" and statistics and "watch" not in without_labels:
            labels["watch"] = label_statistics(columns["label/watch"], columns["weight/watch"])
        labelled = {task: int(columns[f"weight/{task}"].sum()) for task in READS}
        positives = {task: float(columns[f"label/{task}"].sum()) for task in READS}
        splits[split] |= {"rows": sizes[split], "files": [name]}
        splits[split] |= {"labelled": labelled, "positives": positives}
    (folder / "vocab").mkdir(exist_ok=True)
    description = {
        "format": 1,
        "schema": schema.to_json(),
        "transform": FittedTransform(schema, tables, numbers).to_json(folder),
        "layout": "block",
        "block_rows": 64,
        "compression": None,
        "splits": splits,
        **({"labels": labels} if statistics else {}),
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder

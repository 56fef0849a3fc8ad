"""Checks of a dataset against the configuration that is to be trained on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.records import DatasetInfo
from mtl_tf.schema import Schema
from mtl_tf.transform import Feature

# Options that do not affect the records.
_MODEL_ONLY = {
    "fields": {"embedding_dim", "pooling", "side"},
    "tasks": {"weight", "transform", "head", "duration", "loss", "focal_gamma"},
}


def check_schema(schema: Schema, info: DatasetInfo) -> None:
    """Raise `UserError` unless the dataset was made from these fields and tasks.

    Options of the model may differ: embedding widths, pooling, sides, and how a task is
    learned.
    """
    ours, theirs = schema.to_json(), info.schema.to_json()
    if set(ours["missing_values"]) != set(theirs["missing_values"]):
        raise UserError(
            f"{info.folder}: was preprocessed with `missing_values: {theirs['missing_values']}`, "
            f"the configuration says `{ours['missing_values']}`; preprocess the data with this "
            "configuration"
        )
    if ours["negative_sampling"] != theirs["negative_sampling"]:
        raise UserError(
            f"{info.folder}: was preprocessed with `negative_sampling: "
            f"{theirs['negative_sampling']}`, the configuration says "
            f"`{ours['negative_sampling']}`; preprocess the data with this configuration"
        )
    for what in ("fields", "tasks"):
        here = {entry["name"]: _data_part(entry, what) for entry in ours[what]}
        there = {entry["name"]: _data_part(entry, what) for entry in theirs[what]}
        if list(here) != list(there):
            differ = sorted(set(here) ^ set(there)) or ["their order"]
            raise UserError(
                f"{info.folder}: its {what} are not those of the configuration (differing: "
                f"{', '.join(differ)}); preprocess the data with this configuration"
            )
        for name, entry in here.items():
            for option, value in entry.items():
                if value != there[name].get(option):
                    raise UserError(
                        f"{info.folder}: was preprocessed with {what[:-1]} `{name}`: `{option}: "
                        f"{there[name].get(option)}`, the configuration says `{value}`; "
                        "preprocess the data with this configuration"
                    )


def trained_tasks(schema: Schema, info: DatasetInfo, split: str) -> list[str]:
    """Return the names of the tasks with a weight above 0 and labels in a split."""
    if split not in info.splits:
        return []
    rows, labelled = info.splits[split].rows, info.splits[split].labelled
    return [task.name for task in schema.tasks if task.weight and labelled.get(task.name, rows)]


def check_labels(schema: Schema, info: DatasetInfo) -> None:
    """Raise `UserError` if no task has both a weight above 0 and labels in `train`."""
    if trained_tasks(schema, info, "train"):
        return
    labelled = info.split("train").labelled
    found = ", ".join(
        f"`{task.name}`: weight {task.weight:g}, {labelled.get(task.name, 0):,} labels"
        for task in schema.tasks
    )
    raise UserError(
        f"{info.folder}: expected at least one task with a `weight` above 0 and labels in split "
        f"`train`. Received: {found}; give a task a weight, or check where its label is read"
    )


def check_calibration(config: Config, info: DatasetInfo) -> None:
    """Raise `UserError` if there are no validation rows to calibrate on."""
    if config.calibration.method != "none" and not trained_tasks(config.schema, info, "eval"):
        raise UserError(
            f"{info.folder}: expected labels in split `eval`, on which `calibration` is fitted. "
            "Received: none; preprocess the data with a share for `eval`, or remove `calibration`"
        )


def features_for(schema: Schema, info: DatasetInfo) -> tuple[Feature, ...]:
    """Return the dataset's features, with the embedding widths and poolings of `schema`."""
    return tuple(
        _with_model_options(feature, schema.field(feature.name))
        for feature in info.transform.features
    )


def _with_model_options(feature: Feature, field: Any) -> Feature:
    if feature.kind == "bag":
        return replace(feature, embedding_dim=field.embedding_dim, pooling=field.pooling)
    return replace(feature, embedding_dim=field.embedding_dim)


def _data_part(entry: dict[str, Any], what: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _MODEL_ONLY[what]}

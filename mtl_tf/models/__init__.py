"""Architectures: one per file, built from a config by `build_model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.errors import UserError
from mtl_tf.layers import JointProbability
from mtl_tf.models._inputs import features_of
from mtl_tf.models._value_heads import value_head
from mtl_tf.models.cgc import cgc
from mtl_tf.models.cross_stitch import cross_stitch
from mtl_tf.models.mmoe import mmoe
from mtl_tf.models.mssm import mssm
from mtl_tf.models.mssm_a import mssm_a
from mtl_tf.models.mssm_b import mssm_b
from mtl_tf.models.ple import ple
from mtl_tf.models.shared_bottom import shared_bottom
from mtl_tf.models.single_task import single_task
from mtl_tf.models.sluice import sluice
from mtl_tf.models.snr_aver import snr_aver
from mtl_tf.models.snr_trans import snr_trans
from mtl_tf.ranker import Ranker
from mtl_tf.schema import Task
from mtl_tf.transform import LabelStatistics

_BUILDERS = {
    "single_task": single_task,
    "shared_bottom": shared_bottom,
    "mmoe": mmoe,
    "cross_stitch": cross_stitch,
    "sluice": sluice,
    "cgc": cgc,
    "ple": ple,
    "snr_trans": snr_trans,
    "snr_aver": snr_aver,
    "mssm": mssm,
    "mssm_a": mssm_a,
    "mssm_b": mssm_b,
}

__all__ = [
    "build_model",
    "cgc",
    "cross_stitch",
    "mmoe",
    "mssm",
    "mssm_a",
    "mssm_b",
    "ple",
    "shared_bottom",
    "single_task",
    "sluice",
    "snr_aver",
    "snr_trans",
]


def build_model(
    transform_or_features: Any,
    tasks: Sequence[Task],
    config: Any,
    labels: Mapping[str, LabelStatistics] | None = None,
) -> Ranker:
    """Build the functional Keras model that `config.architecture` names.

    Inputs: dict by feature name, as `mtl_tf.records.dataset` yields them: `id` int32
    `(batch,)`, `number` float32 `(batch,)`, `bag` int32 `(batch, max_values)` padded
    with -1, and `<name>__weights` where weighted. Outputs: dict by task name, each
    `(batch, 1)`: a probability for binary tasks, a value in the label's unit for regression.

    Args:
        transform_or_features: a fitted transform, or its `features`.
        tasks: the schema's tasks; one with `probability_of` has no tower: its score is the
            product of the scores it names.
        config: the `model` part of the configuration.
        labels: by regression task, the distribution of its labels, as `DatasetInfo.labels`
            has it; a task without is learned in the unit of its label.

    Raises:
        UserError: Keras has no activation of the name in `config`; the labels of a task do
            not suit its options.
    """
    _check_activation(config.activation)
    scored = [task for task in tasks if not getattr(task, "probability_of", ())]
    model = _BUILDERS[config.architecture](features_of(transform_or_features), scored, config)
    return _with_products(_with_values(model, scored, labels or {}), tasks)


def _check_activation(name: str) -> None:
    try:
        keras.activations.get(name)
    except ValueError:
        raise UserError(
            "`activation` of the model must be one that Keras knows, such as relu, gelu or tanh. "
            f"Received: {name}"
        ) from None


def _with_values(
    model: Ranker, tasks: Sequence[Task], labels: Mapping[str, LabelStatistics]
) -> Ranker:
    """Restore the values of regression tasks from what their towers compute."""
    outputs = dict(model.output)
    for task in tasks:
        if head := value_head(task, labels.get(task.name)):
            x = outputs[task.name]
            outputs[task.name] = head([x, model.input[task.duration]] if task.duration else x)
    unchanged = all(outputs[name] is x for name, x in model.output.items())
    return model if unchanged else Ranker(model.input, outputs, name=model.name)


def _with_products(model: Ranker, tasks: Sequence[Task]) -> Ranker:
    """Add the tasks whose probability is a product of other tasks' probabilities."""
    if len(model.output) == len(tasks):
        return model
    scores = dict(model.output)
    for task in tasks:
        if task.probability_of:
            factors = [model.output[name] for name in task.probability_of]
            scores[task.name] = JointProbability(name=f"Joint_{task.name}")(factors)
    outputs = {task.name: scores[task.name] for task in tasks}
    return Ranker(model.input, outputs, name=model.name)

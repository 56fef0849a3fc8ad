"""A trained model with calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_tf.backend.graph import call_of, name_of
from mtl_tf.backend.keras import keras
from mtl_tf.errors import UserError
from mtl_tf.layers import JointProbability, Tower


def calibrated(model: keras.Model, lines: Mapping[str, tuple[float, float]]) -> keras.Model:
    """Return the model with σ(a·z + b) instead of σ(z) as the score of some tasks.

    That is a and b in the last matrix of the task's tower, so the calibrated model costs
    nothing more. Products of probabilities are those of the calibrated ones. All other layers
    are the given model's own.

    Args:
        model: a functional model of `build_model`, trained.
        lines: (a, b) by task.

    Raises:
        UserError: a task has no tower that ends in a sigmoid.
    """
    scores = {
        name_of(model.output[task]): _rescaled(task, model.output[task], line)
        for task, line in lines.items()
    }
    return keras.Model(
        model.input, {task: _score(x, scores) for task, x in model.output.items()}, name=model.name
    )


def _rescaled(task: str, score: Any, line: tuple[float, float]) -> Any:
    call = call_of(score)
    if not isinstance(call.layer, Tower) or call.layer.link != "sigmoid":
        raise UserError(f"task `{task}` has no probability of its own to calibrate")
    tower = Tower.from_config(call.layer.get_config())
    rescaled = tower(call.inputs[0])
    tower.set_weights(call.layer.get_weights())
    kernel, bias = call.layer.score.get_weights()
    tower.score.set_weights([line[0] * kernel, line[0] * bias + line[1]])
    return rescaled


def _score(score: Any, scores: Mapping[str, Any]) -> Any:
    call = call_of(score)
    if not isinstance(call.layer, JointProbability):
        return scores.get(name_of(score), score)
    factors = [scores.get(name_of(factor), factor) for factor in call.inputs]
    return JointProbability(name=call.layer.name)(factors)

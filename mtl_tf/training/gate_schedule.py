"""The schedule of the penalties that close gates and masks, from step to step."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mtl_tf.backend.graph import nested_layers
from mtl_tf.backend.keras import keras
from mtl_tf.layers import DimensionGate, FieldMask, HardConcreteGate
from mtl_tf.training.checkpoint import TrainingProgress

TOLERANCE = 0.05
"""How far an epoch's sparsity may be from the target for the epoch to be kept."""

_RISE = 1.05  # of the penalty scale, per step in which too few gates are closed
_MAX_SCALE = 1e4


def gates_of(model: keras.Model) -> list[HardConcreteGate]:
    """Return the gates of a model, also within its layers, in the order of the layers."""
    return [layer for layer in nested_layers(model) if isinstance(layer, HardConcreteGate)]


def dimension_gates_of(model: keras.Model) -> list[HardConcreteGate]:
    """Return the gates on dimensions of fields, also within other layers."""
    return [layer.gate for layer in nested_layers(model) if isinstance(layer, DimensionGate)]


def connection_gates_of(model: keras.Model) -> list[HardConcreteGate]:
    """Return the gates on connections: all others."""
    others = {id(gate) for gate in dimension_gates_of(model)}
    return [gate for gate in gates_of(model) if id(gate) not in others]


def masks_of(model: keras.Model) -> list[FieldMask]:
    """Return the field masks of a model, also within its layers."""
    return [layer for layer in nested_layers(model) if isinstance(layer, FieldMask)]


def sparsity(model: keras.Model) -> float:
    """Return the share of a model's connections that are closed, from 0 to 1.

    A gate is closed if its value in evaluation is exactly 0, which the export removes. Every
    connection counts the same, whatever the number of its units; a vector gate counts by
    the share of its units that are closed.
    """
    units = _units_of(connection_gates_of(model))
    return float(np.sum(units.share[units.closed]))


class GateSchedule(keras.callbacks.Callback):
    """Sets the `penalty_scale` of gates and masks after every execution of steps.

    Warm-up: all scales rise from 0 to 1 in `warm_up` steps, so that the tasks shape the
    model before the penalty does.

    With a `target` only the gates of least log α that together make up the target share of
    all connections are closed. Their scale μ rises by 5 % per step for as long as too few
    are closed (dual ascent on the constraint "this share is closed"; it never needs to
    fall, because a larger penalty closes no other gates), and is divided by the slope of
    P(z≠0), which vanishes for gates that are wide open. During the warm-up, and at least
    the first epoch, the share rises to the target as the square of the time. Gates beyond
    the share that closed by themselves are opened, by a negative scale. Gates are ranked
    over all layers, so that training decides which layer becomes sparser.

    Args:
        steps: per epoch.
        warm_up: in steps.
        target: the target sparsity, in (0, 1); None for the penalty alone.
        progress: of the training; holds μ.
    """

    def __init__(
        self, steps: int, warm_up: float, target: float | None, progress: TrainingProgress
    ):
        super().__init__()
        self.steps, self.warm_up, self.target = steps, warm_up, target
        self.progress = progress
        self._first = 0  # steps before those that the current `fit` counts
        self._done = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._first = self._done = epoch * self.steps + self.progress.step
        self._set_scales(self._done)

    def on_train_batch_end(self, batch, logs=None):
        done = self._first + batch + 1
        if self.target is not None or self._done < self.warm_up:
            self._set_scales(done)
        self._done = done

    def _set_scales(self, done: int) -> None:
        if self.progress.fine_tuned_from is not None:
            return
        ramp = min(1.0, done / self.warm_up) if self.warm_up else 1.0
        for mask in masks_of(self.model):
            mask.penalty_scale.assign(ramp)
        for gate in dimension_gates_of(self.model):
            gate.penalty_scale.assign(np.full(gate.shape, ramp, np.float32))
        gates = connection_gates_of(self.model)
        if self.target is not None and gates:
            reached = min(1.0, done / max(self.warm_up, self.steps))
            scales = self._towards(gates, self.target * reached**2, done - self._done)
        else:
            scales = [np.full(gate.shape, ramp, np.float32) for gate in gates]
        for gate, scale in zip(gates, scales, strict=True):
            gate.penalty_scale.assign(scale)

    def _towards(self, gates: list[Any], target: float, steps: int) -> list[Any]:
        """Return the scale of every gate, `steps` steps later, for this share to close."""
        units = _units_of(gates)
        order = np.argsort(units.log_alpha, kind="stable")
        reached = np.cumsum(units.share[order])
        chosen = np.zeros(len(order), bool)
        chosen[order] = reached <= target + units.share[order] / 2  # to the nearest gate
        scale = self.progress.penalty_scale
        if not units.closed[chosen].all():
            scale = min(scale * _RISE**steps, _MAX_SCALE)
        self.progress.penalty_scale = scale
        scales = np.where(chosen, scale, np.where(units.closed, -scale, 0.0)) / units.slope
        parts = np.split(
            scales.astype(np.float32), np.cumsum([math.prod(gate.shape) for gate in gates])[:-1]
        )
        return [part.reshape(gate.shape) for part, gate in zip(parts, gates, strict=True)]


class _Units(NamedTuple):
    """The units of all gates, each array flat."""

    closed: Any  # True if the value in evaluation is exactly 0
    share: Any  # of all connections
    log_alpha: Any
    slope: Any  # of P(z≠0), relative to its largest value, and at least 1 %


def _units_of(gates: list[Any]) -> _Units:
    connections = sum(math.prod(gate.shape[:2]) for gate in gates)
    closed, shares, log_alpha = [np.zeros(0, bool)], [np.zeros(0)], [np.zeros(0)]
    slopes = [np.zeros(0)]
    for gate in gates:
        value = np.asarray(gate.inference_gate()).ravel()
        closed.append(value == 0)
        shares.append(np.full(value.size, 1 / (connections * math.prod(gate.shape[2:]))))
        log_alpha.append(np.asarray(gate.log_alpha.numpy()).ravel())
        opened = np.asarray(gate.open_probability()).ravel()
        slopes.append(np.maximum(4 * opened * (1 - opened), 0.01))
    return _Units(*(np.concatenate(parts) for parts in (closed, shares, log_alpha, slopes)))

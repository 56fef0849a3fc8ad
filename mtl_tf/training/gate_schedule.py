"""How hard gates and masks are pressed to close, from step to step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtl_tf.backend.keras import keras
from mtl_tf.layers import FieldMask, HardConcreteGate
from mtl_tf.training.checkpoint import TrainingProgress

TOLERANCE = 0.05
"""How far from the target share an epoch may be and still be kept."""

_RISE = 1.05  # of the pressure, per step in which too few gates are closed
_LARGEST = 1e4


def gates_of(model: keras.Model) -> list[HardConcreteGate]:
    """The gates of a model, in the order of its layers."""
    found = (getattr(layer, "gate", None) for layer in model.layers)
    return [gate for gate in found if isinstance(gate, HardConcreteGate)]


def masks_of(model: keras.Model) -> list[FieldMask]:
    """The field masks of a model."""
    return [layer for layer in model.layers if isinstance(layer, FieldMask)]


def sparsity(model: keras.Model) -> float:
    """The share of connections that are closed; of a vector gate the units closed count.

    A gate is closed where its value in evaluation is exactly 0: what the export removes.
    Every connection counts the same, whatever the number of its units.
    """
    closed, shares, *_ = _pooled(gates_of(model))
    return float(np.sum(shares[closed]))


class GateSchedule(keras.callbacks.Callback):
    """Sets the `penalty_scale` of gates and masks after every execution of steps.

    Warm-up: the pressure of all rises from 0 to 1 in `warm_up` steps, so that the tasks
    speak before the penalty does.

    With a `target`, the gates of least log α that make up the target share of all
    connections are pressed to close, and no others. Their pressure μ rises by 5 % per
    step for as long as too few are closed (dual ascent on the constraint "this share is
    closed"; a step back is not needed, because pressing harder closes no others), and is
    divided by the slope of P(z≠0), which vanishes for the gates that are wide open. During
    the warm-up, and at least the first epoch, the share rises as the square of the time,
    to the target. Gates beyond the share that closed by themselves are pressed to open.
    Ranking over all layers leaves it to training which layer is closed more.

    Args:
        steps: per epoch.
        warm_up: in steps.
        target: share of connections to close, in (0, 1); None for the penalty alone.
        progress: where the training is; holds μ.
    """

    def __init__(
        self, steps: int, warm_up: float, target: float | None, progress: TrainingProgress
    ):
        super().__init__()
        self.steps, self.warm_up, self.target = steps, warm_up, target
        self.progress = progress
        self._begin = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = self._done = epoch * self.steps + self.progress.step
        self._press(self._done)

    def on_train_batch_end(self, batch, logs=None):
        done = self._begin + batch + 1
        if self.target is not None or self._done < self.warm_up:
            self._press(done)
        self._done = done

    def _press(self, done: int) -> None:
        if self.progress.fine_tuned_from is not None:
            return
        ramp = min(1.0, done / self.warm_up) if self.warm_up else 1.0
        for mask in masks_of(self.model):
            mask.penalty_scale.assign(ramp)
        gates = gates_of(self.model)
        if self.target is not None and gates:
            reached = min(1.0, done / max(self.warm_up, self.steps))
            pressures = self._towards(gates, self.target * reached**2, done - self._done)
        else:
            pressures = [np.full(gate.shape, ramp, np.float32) for gate in gates]
        for gate, pressure in zip(gates, pressures, strict=True):
            gate.penalty_scale.assign(pressure)

    def _towards(self, gates: list[Any], target: float, steps: int) -> list[Any]:
        """The pressure of every gate, for a share `target` of them to close."""
        closed, shares, log_alpha, slopes = _pooled(gates)
        order = np.argsort(log_alpha, kind="stable")
        reached = np.cumsum(shares[order])
        chosen = np.zeros(len(order), bool)
        chosen[order] = reached <= target + shares[order] / 2  # to the nearest gate
        pressure = self.progress.controller.get("pressure", 1.0)
        if not closed[chosen].all():
            pressure = min(pressure * _RISE**steps, _LARGEST)
        self.progress.controller["pressure"] = pressure
        pressed = np.where(chosen, pressure, np.where(closed, -pressure, 0.0)) / slopes
        parts = np.split(
            pressed.astype(np.float32), np.cumsum([math.prod(gate.shape) for gate in gates])[:-1]
        )
        return [part.reshape(gate.shape) for part, gate in zip(parts, gates, strict=True)]


def _pooled(gates: list[Any]) -> tuple[Any, Any, Any, Any]:
    """Of all gates, flat: closed?, the share of all connections, log α, the slope of P(z≠0).

    The slope is relative to its largest value, and at least 1 %.
    """
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
    return tuple(np.concatenate(parts) for parts in (closed, shares, log_alpha, slopes))

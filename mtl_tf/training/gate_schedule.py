"""The schedule of the penalties that close gates and masks, from step to step."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mtl_tf.backend.graph import nested_layers
from mtl_tf.backend.keras import keras
from mtl_tf.layers import DimensionGate, FieldMask, HardConcreteGate
from mtl_tf.training.budget import GateCosts
from mtl_tf.training.checkpoint import TrainingProgress

TOLERANCE = 0.05
"""How far an epoch's sparsity may be from the target for the epoch to be kept."""

_RISE = 1.05  # of the penalty scale, per step in which too few gates are closed
_MAX_SCALE = 1e4
_FREE = 1e-6  # a share of the cost that is not worth closing a gate for


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

    With a budget the same is done to all gates, those of dimensions too: each counts by its
    cost, and the target is what costs too much. Gates are ranked by log(α / cost).

    Args:
        steps: per epoch.
        warm_up: in steps.
        target: the target sparsity, in (0, 1); None for the penalty alone.
        progress: of the training; holds μ.
        costs: of the gates, where there is a budget; `target` is None then.
    """

    def __init__(
        self,
        steps: int,
        warm_up: float,
        target: float | None,
        progress: TrainingProgress,
        costs: GateCosts | None = None,
    ):
        super().__init__()
        self.steps, self.warm_up, self.target = steps, warm_up, target
        self.progress, self.costs = progress, costs
        self._first = 0  # steps before those that the current `fit` counts
        self._done = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._first = self._done = epoch * self.steps + self.progress.step
        self._set_scales(self._done)

    def on_train_batch_end(self, batch, logs=None):
        done = self._first + batch + 1
        if self.has_target or self._done < self.warm_up:
            self._set_scales(done)
        self._done = done

    def _set_scales(self, done: int) -> None:
        if self.progress.fine_tuned_from is not None:
            return
        ramp = min(1.0, done / self.warm_up) if self.warm_up else 1.0
        for mask in masks_of(self.model):
            mask.penalty_scale.assign(ramp)
        gates = gates_of(self.model)
        scales = {id(gate): np.full(gate.shape, ramp, np.float32) for gate in gates}
        if self.has_target:
            reached = min(1.0, done / max(self.warm_up, self.steps))
            scales |= self._towards(reached**2, done - self._done)
        for gate in gates:
            gate.penalty_scale.assign(scales[id(gate)])

    @property
    def has_target(self) -> bool:
        """True if gates are closed until a target is met."""
        return self.target is not None or self.costs is not None

    def _towards(self, reached: float, steps: int) -> dict[int, Any]:
        """Return the scale of every gate by its id, `steps` steps later.

        `reached` is the part of the target that is to be closed by now.
        """
        if self.costs is not None:
            gates, target = gates_of(self.model), self.costs.excess
            units = _units_of(gates).by_cost(self.costs.units)
        else:
            gates, target = connection_gates_of(self.model), self.target or 0.0
            units = _units_of(gates)
        order = np.argsort(units.rank, kind="stable")
        total = np.cumsum(units.share[order])
        chosen = np.zeros(len(order), bool)
        chosen[order] = total <= target * reached + units.share[order] / 2  # to the nearest gate
        scale = self.progress.penalty_scale
        if not units.closed[chosen].all():
            scale = min(scale * _RISE**steps, _MAX_SCALE)
        self.progress.penalty_scale = scale
        scales = np.where(chosen, scale, np.where(units.closed, -scale, 0.0)) / units.slope
        ends = np.cumsum([0, *(math.prod(gate.shape) for gate in gates)])
        return {
            id(gate): scales[start:stop].astype(np.float32).reshape(gate.shape)
            for gate, start, stop in zip(gates, ends, ends[1:], strict=False)
        }


class _Units(NamedTuple):
    """The units of all gates, each array flat."""

    closed: Any  # True if the value in evaluation is exactly 0
    share: Any  # of all connections, or of what all gates cost
    rank: Any  # the order in which they are closed, the smallest first: log α
    slope: Any  # of P(z≠0), relative to its largest value, and at least 1 %

    def by_cost(self, costs: Any) -> _Units:
        """Return the units with their share of the cost, ranked by log(α / cost)."""
        share = costs / max(float(costs.sum()), 1e-9)
        return self._replace(share=share, rank=self.rank - np.log(share + _FREE))


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

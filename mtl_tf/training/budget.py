"""Training to a budget: what each gate costs while it is open, by the compiler's own cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mtl_tf.backend.graph import nested_layers
from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, cost, optimize, passes
from mtl_tf.config.budget import Budget
from mtl_tf.errors import UserError
from mtl_tf.layers import DimensionGate, HardConcreteGate
from mtl_tf.training.checkpoint import TrainingProgress

_OPEN, _CLOSED = 4.0, -4.0  # values of log α

Array = np.ndarray[Any, Any]


class GateCosts:
    """The cost of the served model as a sum over its gates.

        cost ≈ rest + Σ_u c_u · [z_u ≠ 0]

    c_u is what the model's plan costs less without gate u than with all gates open; it is
    computed once. Units of one connection, and columns of one table, cost the same. `rest`
    is set so that the sum is right after each epoch (`measure`): it holds what closed masks
    save, and what gates save only together.

    Args:
        model: a model with gates.
        budget: what is limited.
        progress: of the training; holds `rest`.

    Raises:
        UserError: no gate of the model has a penalty that the budget could raise.
    """

    def __init__(self, model: keras.Model, budget: Budget, progress: TrainingProgress):
        self.model, self.budget, self.progress = model, budget, progress
        self.gates = [x for x in nested_layers(model) if isinstance(x, HardConcreteGate)]
        if not any(gate.penalty for gate in self.gates):
            raise UserError(
                "`training.budget` needs gates with a penalty above 0 to close; set "
                "`model.embedding_gates`, or choose an architecture with `gates`"
            )
        self.units = _unit_costs(model, self.gates, budget)
        if progress.budget_rest is None:
            self.measure()

    def measure(self) -> float:
        """Return what the model costs when it is served now; sets `rest` by it."""
        try:
            served = self.budget.of(cost(optimize(capture(self.model))[0]))
        except UserError:  # a task reads nothing for now: there is no such export
            served = _pruned_cost(self.model, self.budget)
        values = np.concatenate([np.ravel(gate.inference_gate()) for gate in self.gates])
        self.progress.budget_rest = float(served - self.units[values != 0].sum())
        return served

    @property
    def excess(self) -> float:
        """The share of the gates' cost to close, from 0 to 1."""
        total = float(self.units.sum())
        rest = self.progress.budget_rest or 0.0
        return min(max((rest + total - self.budget.limit) / total, 0.0), 1.0) if total else 0.0


class MeasureBudget(keras.callbacks.Callback):
    """Adds what the served model costs to the logs of each epoch.

    `budget_used` is that cost over the budget, and `budget_error` how far it is from 1; 0 for
    a model that is within the budget with all its gates open.

    Args:
        costs: of the model that is trained.
    """

    def __init__(self, costs: GateCosts):
        super().__init__()
        self.costs = costs

    def on_epoch_end(self, epoch, logs=None):
        used = self.costs.measure() / self.costs.budget.limit
        logs["budget_used"] = used
        logs["budget_error"] = abs(used - 1) if self.costs.excess or used > 1 else 0.0


def _unit_costs(model: keras.Model, gates: list[Any], budget: Budget) -> Array:
    """The cost of every unit of all gates, flat."""
    before = [gate.log_alpha.numpy() for gate in gates]
    found = []
    try:
        for gate in gates:
            gate.log_alpha.assign(np.full(gate.shape, _OPEN, np.float32))
        whole = _pruned_cost(model, budget)
        for gate, groups in _groups(model, gates):
            costs = np.zeros(math.prod(gate.shape))
            for units in groups:
                values = np.full(costs.shape, _OPEN, np.float32)
                values[units] = _CLOSED
                gate.log_alpha.assign(values.reshape(gate.shape))
                costs[units] = max(0.0, whole - _pruned_cost(model, budget)) / len(units)
            gate.log_alpha.assign(np.full(gate.shape, _OPEN, np.float32))
            found.append(costs)
    finally:
        for gate, values in zip(gates, before, strict=True):
            gate.log_alpha.assign(values)
    return np.concatenate(found)


def _groups(model: keras.Model, gates: list[Any]) -> Iterator[tuple[Any, list[Array]]]:
    """Each gate with its units, those that cost the same together."""
    owners = {id(x.gate): x for x in nested_layers(model) if isinstance(x, DimensionGate)}
    for gate in gates:
        units = np.arange(math.prod(gate.shape))
        if id(gate) in owners:  # fields of one table have the same units
            tables = {tuple(columns) for columns in owners[id(gate)].of_fields(units)}
            yield gate, [np.array(columns) for columns in sorted(tables)]
        else:
            yield gate, list(units.reshape(math.prod(gate.shape[:2]), -1))


def _pruned_cost(model: keras.Model, budget: Budget) -> float:
    """The cost of the model without what its gates close, before any choice for speed."""
    plan = passes.eliminate_dead(passes.fold_gates(capture(model)))
    return budget.of(cost(passes.fuse(passes.narrow_tables(plan))))

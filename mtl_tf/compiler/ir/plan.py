"""The plan: a model's inference arithmetic as a small graph of named nodes.

It is the truth for inference: its NumPy interpreter defines the score, passes must
keep it, the cost is computed from it and the served graph is generated from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from operator import is_
from typing import Any

import numpy as np

from mtl_tf.compiler.ir.activations import ACTIVATIONS, LINKS
from mtl_tf.compiler.ir.interpreter import evaluate
from mtl_tf.compiler.ir.nodes import Array, Broadcast, InputSpec, Node, Output
from mtl_tf.compiler.ir.weights import Weight, with_names
from mtl_tf.errors import UserError, refuse_text


@dataclass(frozen=True, eq=False)
class Plan:
    """Nodes in topological order, the model inputs that they may read, and their weights.

    Weights that have no name yet get one here, after their node.

    Example, a task that reads one field of three ids:
    >>> import numpy as np
    >>> from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output
    >>> plan = Plan(
    ...     (Embed("city", ("city",), np.array([[1.0], [0.0], [-1.0]])),
    ...      Affine("tower", (Edge("city", np.array([[2.0]])),), bias=np.array([0.5])),
    ...      Output("task/click", "click", "tower")),
    ...     (InputSpec("city", "int32"),))
    >>> plan.logits({"city": np.array([0, 2])})["click"].tolist()
    [2.5, -1.5]
    >>> plan.features, plan.tasks, list(plan.weights)
    (('city',), ('click',), ['city/table', 'tower/edges/0/weight', 'tower/bias'])

    Attributes:
        weights: every array by its name; nodes refer to rows of them.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[InputSpec, ...]
    weights: Mapping[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        nodes, weights = _with_names(self.nodes)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "weights", weights)
        widths: dict[str, int] = {}
        for node in nodes:
            if node.name in widths:
                raise ValueError(f"two nodes are named {node.name!r}")
            for source in node.inputs:
                if source not in widths:
                    raise ValueError(f"{node.name} reads {source!r}, which is not before it")
            node.check(widths)
            widths[node.name] = node.width
        missing = set(self.features) - {spec.name for spec in self.inputs}
        if missing:
            raise ValueError(f"nodes read {sorted(missing)}, which are not inputs")

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def users(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each node."""
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.inputs:
                found[source].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Output))

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(output.task for output in self.outputs)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the inputs that some node reads, in the model's order."""
        read = {name for node in self.nodes for name in node.features}
        known = [spec.name for spec in self.inputs]
        return tuple(dict.fromkeys([*(name for name in known if name in read), *sorted(read)]))

    @cached_property
    def per_request(self) -> frozenset[str]:
        """The nodes that have one row per request: nothing but context reaches them."""
        context = {spec.name for spec in self.inputs if spec.per_request}
        return per_request(self.nodes, context) if context else frozenset()

    def feature(self, name: str) -> InputSpec:
        return self._specs[name]

    @cached_property
    def _specs(self) -> Mapping[str, InputSpec]:
        return {spec.name: spec for spec in self.inputs}

    def with_nodes(self, nodes: Iterable[Node]) -> Plan:
        """Returns a plan of the same inputs and other nodes; this one if they are its own."""
        nodes = tuple(nodes)
        if len(nodes) == len(self.nodes) and all(map(is_, nodes, self.nodes)):
            return self
        return Plan(nodes, self.inputs)

    def ancestors(self, names: Iterable[str]) -> frozenset[str]:
        """Returns `names` and every node that they depend on."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.by_name[name].inputs
        return frozenset(found)

    def logits(self, features: Mapping[str, Any]) -> dict[str, Array]:
        """Returns each task's value before its link, float64 `(n,)`.

        Weights and features are converted to float64 first, so that rounding in here never
        hides what a pass or a float32 graph does to a score. A missing feature or an id
        outside its table is a `UserError`.
        """
        given, count = self._given(features)
        values = evaluate(self.nodes, given, count, self.per_request)
        return {output.task: _logit(output, values) for output in self.outputs}

    def _given(self, features: Mapping[str, Any]) -> tuple[dict[str, Array], int]:
        """The features that the plan reads, and the number of rows."""
        missing = [name for name in self.features if name not in features]
        if missing:
            known = ", ".join(self.features)
            raise UserError(f"feature `{missing[0]}` is missing; the model reads: {known}")
        given = {name: np.asarray(features[name]) for name in self.features}
        context = {name for name in given if self.feature(name).per_request}
        rows = {len(given[name]) for name in given if name not in context}
        if not given:
            rows = {len(values) for values in features.values()}
        if len(rows) > 1:
            raise UserError(f"features must have equal numbers of rows; received {sorted(rows)}")
        return given, rows.pop() if rows else 1

    def scores(self, features: Mapping[str, Any]) -> dict[str, Array]:
        """Returns each task's score, float64 `(n,)`."""
        links = {output.task: ACTIVATIONS[LINKS[output.link]] for output in self.outputs}
        return {task: links[task](logit) for task, logit in self.logits(features).items()}

    def to_json(self) -> dict[str, Any]:
        """Returns a summary without weights: nodes with their shapes, features, tasks."""
        return {
            "tasks": list(self.tasks),
            "features": list(self.features),
            "nodes": [node.describe() for node in self.nodes],
        }


def per_request(nodes: Iterable[Node], context: Collection[str]) -> frozenset[str]:
    """Returns the nodes that nothing but the features `context` can change.

    A `Broadcast` of one of them has a row for every row of the request, so it is not one.
    """
    found: set[str] = set()
    for node in nodes:
        read = found.issuperset(node.inputs) and set(context).issuperset(node.features)
        if read and not isinstance(node, Broadcast):
            found.add(node.name)
    return frozenset(found)


def _with_names(nodes: Iterable[Node]) -> tuple[tuple[Node, ...], dict[str, Array]]:
    """The nodes with a name for every weight, and all arrays by name."""
    nodes = tuple(nodes)
    weights: dict[str, Array] = {}
    for node in nodes:
        for weight in node.weights:
            if weight.name and weights.setdefault(weight.name, weight.base) is not weight.base:
                raise ValueError(f"two weights are named {weight.name!r}")

    def named(node: Node) -> Node:
        def name(place: str, weight: Weight) -> Weight:
            wanted = f"{node.name}/{place}"
            names = (wanted if i == 1 else f"{wanted}#{i}" for i in count(1))
            free = next(name for name in names if name not in weights)
            weights[free] = weight.base
            return weight.named(free)

        return with_names(node, name)

    return tuple(node if node.has_names else named(node) for node in nodes), weights


def _logit(output: Output, values: Mapping[str, Array]) -> Array:
    factors = [values[source][:, unit] for source, unit in output.factors]
    if len(factors) == 1 or output.link != "sigmoid":
        return np.prod(factors, axis=0)
    log_p = -np.logaddexp(0, [-z for z in factors]).sum(axis=0)  # log Π σ(z)
    with np.errstate(divide="ignore"):
        return log_p - np.log(-np.expm1(log_p))


def require_tasks(plan: Plan, tasks: Sequence[str]) -> None:
    """Raises a `UserError` for no task, or for one that the plan does not have."""
    refuse_text("tasks", tasks)
    unknown = [task for task in tasks if task not in plan.tasks]
    if unknown or not tasks:
        what = f"Unknown task `{unknown[0]}`" if unknown else "No task to keep"
        raise UserError(f"{what}; choose among: {', '.join(plan.tasks)}.")

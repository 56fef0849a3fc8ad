"""The plan: a model's inference arithmetic as a small graph of named nodes.

It is the truth for inference: its NumPy interpreter defines the score, passes must
keep it, the cost is computed from it and the served graph is generated from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mtl_tf.compiler.ir import nodes as n
from mtl_tf.compiler.ir.activations import ACTIVATIONS, LINKS
from mtl_tf.compiler.ir.describe import describe
from mtl_tf.compiler.ir.interpreter import evaluate
from mtl_tf.compiler.ir.nodes import Array, Feature, Node, Output, sources_of, width_of
from mtl_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class Plan:
    """Nodes in topological order, and the model inputs that they may read.

    Example, a task that reads one field of three ids:
    >>> import numpy as np
    >>> from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, Feature, Output
    >>> plan = Plan(
    ...     (Embed("city", ("city",), np.array([[1.0], [0.0], [-1.0]])),
    ...      Affine("tower", (Edge("city", np.array([[2.0]])),), bias=np.array([0.5])),
    ...      Output("task/click", "click", "tower")),
    ...     (Feature("city", "int32"),))
    >>> plan.logits({"city": np.array([0, 2])})["click"].tolist()
    [2.5, -1.5]
    >>> plan.features, plan.tasks
    (('city',), ('click',))
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Feature, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in seen:
                raise ValueError(f"two nodes are named {node.name!r}")
            for source in sources_of(node):
                if source not in seen:
                    raise ValueError(f"{node.name} reads {source!r}, which is not before it")
            _check_widths(node, seen)
            seen[node.name] = node
        missing = set(self.features) - {feature.name for feature in self.inputs}
        if missing:
            raise ValueError(f"nodes read {sorted(missing)}, which are no inputs")

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each node."""
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in sources_of(node):
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
        read = {name for node in self.nodes for name in getattr(node, "features", ())}
        known = [feature.name for feature in self.inputs]
        return tuple(dict.fromkeys([*(name for name in known if name in read), *sorted(read)]))

    @cached_property
    def once(self) -> frozenset[str]:
        """The nodes that no feature changes but those with one row for all others."""
        single = {feature.name for feature in self.inputs if feature.once}
        found: set[str] = set()
        for node in self.nodes if single else ():
            if single.issuperset(getattr(node, "features", ())) and found.issuperset(
                sources_of(node)
            ):
                found.add(node.name)
        return frozenset(found)

    def feature(self, name: str) -> Feature:
        return next(feature for feature in self.inputs if feature.name == name)

    def with_nodes(self, nodes: Iterable[Node]) -> Plan:
        """The same inputs, other nodes."""
        return Plan(tuple(nodes), self.inputs)

    def needed(self, names: Iterable[str]) -> frozenset[str]:
        """`names` and every node that they depend on."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += sources_of(self.by_name[name])
        return frozenset(found)

    def logits(self, features: Mapping[str, Any]) -> dict[str, Array]:
        """Each task's value before its link, float64 `(n,)`.

        Weights and features are taken to float64 first, so that rounding in here never
        hides what a pass or a float32 graph does to a score. A missing feature or an id
        outside its table is a `UserError`.
        """
        values = evaluate(self.nodes, self.features, self._repeated(features))
        return {o.task: self._logit(o, values) for o in self.outputs}

    def _logit(self, output: Output, values: Mapping[str, Array]) -> Array:
        factors = [values[source][:, unit] for source, unit in output.factors]
        if len(factors) == 1 or output.link != "sigmoid":
            return np.prod(factors, axis=0)
        log_p = -np.logaddexp(0, [-z for z in factors]).sum(axis=0)  # log Π σ(z)
        with np.errstate(divide="ignore"):
            return log_p - np.log(-np.expm1(log_p))

    def _repeated(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        """`features` with what is given once repeated for every row."""
        single = [feature.name for feature in self.inputs if feature.once]
        rest = [name for name in self.features if name not in single and name in features]
        if not single or not rest:
            return features
        count = len(features[rest[0]])
        repeated = {k: np.repeat(features[k], count, axis=0) for k in single if k in features}
        return {**features, **repeated}

    def scores(self, features: Mapping[str, Any]) -> dict[str, Array]:
        """Each task's score, float64 `(n,)`."""
        links = {output.task: ACTIVATIONS[LINKS[output.link]] for output in self.outputs}
        return {task: links[task](logit) for task, logit in self.logits(features).items()}

    def to_json(self) -> dict[str, Any]:
        """A summary without weights: nodes with their shapes, features, tasks."""
        return {
            "tasks": list(self.tasks),
            "features": list(self.features),
            "nodes": [describe(node) for node in self.nodes],
        }


def _check_widths(node: Node, seen: Mapping[str, Node]) -> None:
    if isinstance(node, n.Affine):
        for edge in node.edges:
            _check_edge(node, edge, width_of(seen[edge.source]))
    elif isinstance(node, n.Mask):
        pieces = width_of(seen[node.source]) / node.dim
        if len(node.pieces) != len(node.g) or max(node.pieces) >= pieces:
            raise ValueError(f"{node.name}: masks {node.pieces} do not fit {node.source}")
    elif isinstance(node, n.Mix):
        ends = [(place, node.units) for place in node.experts]
        ends += [(place, len(node.experts)) for place in node.gates]
        if any(start + units > width_of(seen[source]) for (source, start), units in ends):
            raise ValueError(f"{node.name}: a node is too narrow for its experts or gates")
    elif isinstance(node, n.Output):
        for source, unit in node.factors:
            if unit >= width_of(seen[source]):
                raise ValueError(f"{node.name}: {source} has no unit {unit}")


def _check_edge(node: n.Affine, edge: n.Edge, width: int) -> None:
    if edge.weight.ndim == 2:
        good = edge.weight.shape[1] == node.width and edge.start + len(edge.weight) <= width
    else:
        good = edge.weight.shape in ((), (node.width,)) and width == node.width
    if edge.gate is not None:
        good = good and edge.gate.shape in ((), (node.width,))
    if not good:
        raise ValueError(
            f"{node.name}: an edge {edge.weight.shape} from {edge.source} (width {width}) "
            f"does not fit {node.width} units"
        )


def require_tasks(plan: Plan, tasks: Sequence[str]) -> None:
    """`UserError` for no task, or for one that the plan does not have."""
    unknown = [task for task in tasks if task not in plan.tasks]
    if unknown or not tasks:
        what = f"Unknown task `{unknown[0]}`" if unknown else "No task to keep"
        raise UserError(f"{what}; choose among: {', '.join(plan.tasks)}.")

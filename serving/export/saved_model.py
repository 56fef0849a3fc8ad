"""The SavedModels of an export: the served one, and the baseline it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.variables import resource
from mtl_tf.compiler import LoweredModule, Plan, lower
from mtl_tf.transform import FittedTransform
from mtl_tf.transform.graph import TransformModule
from serving.protocol.protos import meta_graph_pb2
from serving.protocol.signatures import DEFAULT, EXAMPLES, IDS, RANK

Tensors = dict[str, tf.Tensor]

# Neither arithmetic nor lookups: inputs, weights, renamed tensors, function calls.
_NOT_COUNTED = {
    "Const", "HashTableV2", "Identity", "IdentityN", "NoOp", "PartitionedCall", "Placeholder",
    "ReadVariableOp", "StatefulPartitionedCall", "VarHandleOp", "_Arg", "_Retval",
}  # fmt: skip


@dataclass(frozen=True)
class Ranking:
    """The scoring of many candidates in one context.

    Args:
        context: names of the raw inputs that have one row.
        scores: raw tensors to `{task: (candidates,)}`.
        tracked: the owners of the variables and lookup tables.
    """

    context: frozenset[str]
    scores: Callable[[Tensors], Tensors]
    tracked: Any = None


class ServedModule(tf.Module):
    """A transform and a scoring function, as the signatures of an export.

    Args:
        transform: raw tensors to features.
        scores: features to `{task: (n,)}`.
        checked: the same, but an id outside its table is an error, for the signature `ids`.
        features: specifications of the features that `scores` reads.
        tracked: the owner of the variables.
        ranking: for the signature `rank`, if there is to be one.
    """

    def __init__(
        self,
        transform: TransformModule,
        scores: Callable[[Tensors], Tensors],
        checked: Callable[[Tensors], Tensors],
        features: Mapping[str, tf.TensorSpec],
        tracked: Any = None,
        ranking: Ranking | None = None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.tracked = tracked
        self.ranked = None if ranking is None else ranking.tracked
        self._ranking = ranking
        self._scores = scores
        self._checked = checked
        self._features = dict(features)

    def signatures(self) -> dict[str, Any]:
        """Return `serving_default` (raw columns), `examples`, `ids` (features) and `rank`."""

        def serving_default(**raw: tf.Tensor) -> Tensors:
            return self._scores(self.transform(raw))

        def from_examples(examples: tf.Tensor) -> Tensors:
            return self._scores(self.transform(self.transform.parse_examples(examples)))

        def ids(**features: tf.Tensor) -> Tensors:
            return self._checked(features)

        serialized = {EXAMPLES: tf.TensorSpec([None], tf.string, EXAMPLES)}
        signatures = {
            DEFAULT: _concrete(serving_default, self.transform.raw_signature()),
            EXAMPLES: _concrete(from_examples, serialized),
            IDS: _concrete(ids, self._features),
        }
        # Last: it shares the weights that the others have created.
        return signatures | ({RANK: self._rank()} if self._ranking else {})

    def _rank(self) -> Any:
        assert self._ranking is not None
        context, scores = self._ranking.context, self._ranking.scores
        specs = {
            name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name) if name in context else spec
            for name, spec in self.transform.raw_signature().items()
        }

        def rank(**raw: tf.Tensor) -> Tensors:
            return scores(raw)

        return _concrete(rank, specs)


def save(module: ServedModule, folder: Path) -> None:
    """Write `module` as a SavedModel."""
    tf.saved_model.save(module, str(folder), module.signatures())


def ranking(
    transform: FittedTransform, like: TransformModule, plan: Plan, module: LoweredModule
) -> Ranking | None:
    """Return `rank` for a plan split into context and candidates; None if either is empty.

    It shares the lookup tables of `like` and the weights of `module`.
    """
    context_inputs = frozenset(feature.name for feature in plan.inputs if feature.per_request)
    used = [field.name for field in transform.schema.fields if field.name in plan.features]
    of_context = [name for name in used if name in context_inputs]
    of_candidates = [name for name in used if name not in context_inputs]
    if not of_context or not of_candidates:
        return None
    parts = [TransformModule(transform, names, like) for names in (of_candidates, of_context)]
    scored = lower(plan, share_weights_with=module)

    def scores(raw: Tensors) -> Tensors:
        candidates = {name: x for name, x in raw.items() if name not in context_inputs}
        context = {name: x for name, x in raw.items() if name in context_inputs}
        return scored(parts[0](candidates) | parts[1](context))

    return Ranking(context_inputs, scores, [scored, *parts])


def baseline_module(
    model: keras.Model, transform: TransformModule, context: frozenset[str] = frozenset()
) -> ServedModule:
    """Return the baseline, exported without the compiler: the "before" of every report.

    `ids` is the graph that Keras' own `model.export()` writes. The other signatures put the
    same raw transform in front of it, for all fields, as Keras does not know the unused ones.
    `rank` repeats the raw inputs `context` for every candidate.
    """

    def rank(raw: Tensors) -> Tensors:
        count = next(tf.shape(x)[0] for name, x in raw.items() if name not in context)
        repeated = {k: tf.repeat(x, count, axis=0) for k, x in raw.items() if k in context}
        return scores(transform(raw | repeated))

    def scores(features: Tensors) -> Tensors:
        outputs = model(features, training=False)
        return {task: tf.reshape(output, [-1]) for task, output in outputs.items()}

    features = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for name, tensor in model.input.items()
    }
    # Keras 3 wraps tf.Variables; TF Serving finds only those that are tracked themselves.
    variables = [resource(variable) for variable in model.variables]
    ranked = Ranking(context, rank) if context else None
    return ServedModule(transform, scores, scores, features, variables, ranked)


def raw_names(transform: TransformModule, fields: Collection[str]) -> frozenset[str]:
    """Return the names of the raw inputs of these fields, including weights."""
    names = transform.raw_signature()
    return frozenset(name for name in names if name.removesuffix("__weights") in fields)


def count_ops(meta_graph: meta_graph_pb2.MetaGraphDef, signature: str) -> int:
    """Count the operations of a signature, including all functions that it calls."""
    functions = {f.signature.name: f.node_def for f in meta_graph.graph_def.library.function}
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    outputs = meta_graph.signature_def[signature].outputs.values()
    waiting = [info.name.split(":")[0] for info in outputs]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in reached:
            reached.add(name)
            waiting += [_node_of(source) for source in nodes[name].input]
    return sum(_weight(nodes[name], functions) for name in reached)


def size_on_disk(folder: Path) -> int:
    """Return the bytes of a SavedModel, without `assets.extra`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if "assets.extra" not in path.parts)


def _concrete(function: Callable[..., Tensors], specs: Mapping[str, tf.TensorSpec]) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def _node_of(source: str) -> str:
    return source.removeprefix("^").split(":")[0]


def _weight(node: Any, functions: Mapping[str, Any]) -> int:
    if "f" in node.attr and node.op.endswith("PartitionedCall"):
        return sum(_weight(inner, functions) for inner in functions[node.attr["f"].func.name])
    return int(node.op not in _NOT_COUNTED)

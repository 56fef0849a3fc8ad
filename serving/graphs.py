"""The SavedModels of an export: the one that is served, and the one it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtl_tf._keras import keras
from mtl_tf.transform.graph import TransformModule
from serving.encoder import DEFAULT, EXAMPLES, IDS
from serving.protos import meta_graph_pb2

Tensors = dict[str, tf.Tensor]

# Neither arithmetic nor lookups: inputs, weights, names for tensors, calls of functions.
_NOT_COUNTED = {
    "Const", "HashTableV2", "Identity", "IdentityN", "NoOp", "PartitionedCall", "Placeholder",
    "ReadVariableOp", "StatefulPartitionedCall", "VarHandleOp", "_Arg", "_Retval",
}  # fmt: skip


class ServedModule(tf.Module):
    """A transform and the scores on top of it, as the three signatures of an export.

    Args:
        transform: raw tensors to features.
        scores: features to `{task: (n,)}`.
        checked: the same, refusing ids outside their table: `ids` come from elsewhere.
        features: specifications of the features that `scores` reads.
        tracked: what owns the variables.
    """

    def __init__(
        self,
        transform: TransformModule,
        scores: Callable[[Tensors], Tensors],
        checked: Callable[[Tensors], Tensors],
        features: Mapping[str, tf.TensorSpec],
        tracked: Any = None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.tracked = tracked
        self._scores = scores
        self._checked = checked
        self._features = dict(features)

    def signatures(self) -> dict[str, Any]:
        """`serving_default` (raw columns), `examples` (tf.Example) and `ids` (features)."""

        def serving_default(**raw: tf.Tensor) -> Tensors:
            return self._scores(self.transform(raw))

        def from_examples(examples: tf.Tensor) -> Tensors:
            return self._scores(self.transform(self.transform.parse_examples(examples)))

        def ids(**features: tf.Tensor) -> Tensors:
            return self._checked(features)

        serialized = {EXAMPLES: tf.TensorSpec([None], tf.string, EXAMPLES)}
        return {
            DEFAULT: _concrete(serving_default, self.transform.raw_signature()),
            EXAMPLES: _concrete(from_examples, serialized),
            IDS: _concrete(ids, self._features),
        }


def save(module: ServedModule, folder: Path) -> None:
    """Writes `module` as a SavedModel."""
    tf.saved_model.save(module, str(folder), module.signatures())


def plain_module(model: keras.Model, transform: TransformModule) -> ServedModule:
    """What is served without this project's compiler; the "before" of every report.

    `ids` is the graph that Keras' own `model.export()` writes; the other signatures put
    the same raw transform in front of it, of all fields, as nothing says which are unread.
    """

    def scores(features: Tensors) -> Tensors:
        outputs = model(features, training=False)
        return {task: tf.reshape(output, [-1]) for task, output in outputs.items()}

    features = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for name, tensor in model.input.items()
    }
    # Keras 3 variables wrap tf.Variables; TF Serving finds only what is tracked plainly.
    variables = [v if isinstance(v, tf.Variable) else v.value for v in model.variables]
    return ServedModule(transform, scores, scores, features, variables)


def count_ops(meta_graph: meta_graph_pb2.MetaGraphDef, signature: str) -> int:
    """Operations that a signature needs, through all the functions it calls."""
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
    """Bytes of a SavedModel, without the extras beside it."""
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

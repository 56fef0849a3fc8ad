"""The inputs every architecture starts from, and the vectors of their fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.layers import DimensionGate, FieldEmbedding, FieldMask

_ANCHOR = 0.35


def features_of(transform_or_features: Any) -> tuple[Any, ...]:
    """The features of a fitted transform, or those of a sequence of features."""
    return tuple(getattr(transform_or_features, "features", transform_or_features))


def inputs_for(features: Iterable[Any]) -> dict[str, Any]:
    """Keras inputs by feature name: ids int32, numbers and weights float32."""
    inputs = {}
    for feature in features:
        shape = (feature.max_values,) if feature.kind == "bag" else ()
        dtype = "float32" if feature.kind == "number" else "int32"
        inputs[feature.name] = keras.Input(shape=shape, dtype=dtype, name=feature.name)
        if feature.kind == "bag" and feature.weighted:
            name = f"{feature.name}__weights"
            inputs[name] = keras.Input(shape=shape, dtype="float32", name=name)
    return inputs


def embedding_features(features: Sequence[Any]) -> list[dict[str, Any]]:
    """The argument `features` of `FieldEmbedding`."""
    return [
        {
            "name": feature.name,
            "kind": feature.kind,
            "size": feature.size,
            "dim": feature.embedding_dim,
            "table": feature.table,
            "pooling": feature.pooling,
            "weighted": feature.weighted,
        }
        for feature in features
    ]


def embedded_fields(features: Sequence[Any], config: Any) -> tuple[dict[str, Any], Any]:
    """The inputs by name, and all fields' vectors side by side, `(batch, D)`."""
    inputs = inputs_for(features)
    return inputs, vectors_of(inputs, features, config)


def vectors_of(
    inputs: dict[str, Any], features: Sequence[Any], config: Any, anchor: float = 0.0, of: str = ""
) -> Any:
    """All fields' vectors side by side, `(batch, D)`, gated where `config` asks for it.

    Args:
        inputs: Keras inputs by feature name.
        features: the features of the model.
        config: the `model` part of the configuration.
        anchor: see `FieldEmbedding`.
        of: a suffix of the layers' names.
    """
    embedding = FieldEmbedding(embedding_features(features), anchor=anchor, name=f"Embedding{of}")
    vectors = embedding(inputs)
    if config.embedding_gates is None:
        return vectors
    tables = [f.get("table", f"number/{f['name']}") for f in embedding.features]
    gates = config.embedding_gates.arguments()
    return DimensionGate(embedding.field_dims, tables, **gates, name=f"Dimensions{of}")(vectors)


def masked_fields(
    features: Sequence[Any], num_readers: int, config: Any
) -> tuple[dict[str, Any], Any]:
    """The inputs by name, and the fields as each reader sees them, `(batch, readers, D)`.

    Every mask starts open.
    """
    inputs = inputs_for(features)
    dims = [feature.embedding_dim for feature in features]
    mask = FieldMask(num_readers, dims, anchor=_ANCHOR, penalty=config.masks.penalty, name="Mask")
    return inputs, mask(vectors_of(inputs, features, config, anchor=_ANCHOR))

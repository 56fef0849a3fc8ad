"""The descriptions of a `FieldEmbedding`'s fields, and the layout of their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_tf.layers._arguments import check_positive

_KINDS = ("id", "bag", "number")


def completed(feature: Mapping[str, Any]) -> dict[str, Any]:
    """The feature with its defaults filled in; raises `ValueError` for a wrong entry."""
    if feature.get("kind") not in _KINDS:
        raise ValueError(f"`kind` must be one of {_KINDS}. Received: feature={dict(feature)}")
    check_positive(dim=feature.get("dim"))
    kept = {key: feature[key] for key in ("name", "kind", "dim")}
    if feature["kind"] == "number":
        return kept
    check_positive(size=feature.get("size"))
    kept |= {"size": feature["size"], "table": feature.get("table") or feature["name"]}
    if feature["kind"] == "bag":
        kept |= {"pooling": feature.get("pooling") or "mean"}
        kept |= {"weighted": bool(feature.get("weighted", False))}
        if kept["pooling"] not in ("mean", "sum"):
            raise ValueError(f"`pooling` must be 'mean' or 'sum'. Received: feature={kept}")
    return kept


def by_dim(kind: str, features) -> dict[int, list[dict[str, Any]]]:
    """The features of one kind, by the width of their vectors."""
    found: dict[int, list[dict[str, Any]]] = {}
    for feature in features:
        if feature["kind"] == kind:
            found.setdefault(feature["dim"], []).append(feature)
    return found


def is_narrow(feature: Mapping[str, Any]) -> bool:
    """Return True if fewer numbers select a field's vector than the vector has."""
    if feature["kind"] == "number":
        return feature["dim"] > 2
    return feature["kind"] == "id" and feature["size"] <= feature["dim"]


def table_layout(features) -> tuple[dict[str, int], dict[int, int]]:
    """The first row of each table in the variable of its width, and the rows of each variable."""
    offsets: dict[str, int] = {}
    shapes: dict[str, tuple[int, int]] = {}
    rows: dict[int, int] = {}
    for feature in features:
        if feature["kind"] == "number":
            continue
        name, shape = feature["table"], (feature["size"], feature["dim"])
        if shapes.setdefault(name, shape) != shape:
            raise ValueError(
                f"fields that share table `{name}` must agree on `size` and `dim`. "
                f"Received: {shapes[name]} and {shape}"
            )
        if name not in offsets:
            offsets[name] = rows.get(shape[1], 0)
            rows[shape[1]] = offsets[name] + shape[0]
    return offsets, rows


def columns_of(features: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of each field's vector, where the features' vectors lie side by side."""
    ends = np.cumsum([f["dim"] for f in features])
    return {f["name"]: np.arange(e - f["dim"], e) for f, e in zip(features, ends, strict=True)}

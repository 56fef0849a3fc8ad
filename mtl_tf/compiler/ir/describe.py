"""A node in words and shapes, for JSON and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mtl_tf.compiler.ir import nodes as n


def describe(node: n.Node) -> dict[str, Any]:
    """One JSON object: name, kind, width and what the kind adds."""
    entry: dict[str, Any] = {
        "name": node.name,
        "kind": type(node).__name__.lower(),
        "width": n.width_of(node),
    }
    if isinstance(node, (n.Embed, n.Numeric, n.Projected)):
        entry["fields"] = list(node.fields)
    if isinstance(node, n.Projected):
        entry |= {"rows": node.rows, "products": [list(b.matrix.shape) for b in node.blocks]}
    if isinstance(node, n.Embed):
        entry |= {"rows": len(node.table), "pooling": node.pooling, "weighted": node.weighted}
        if isinstance(node.table, n.MaskedTable):
            entry["masks"] = len(node.table.g)
        if node.table.dtype in (np.float16, np.int8):
            entry["dtype"] = str(node.table.dtype)
    elif isinstance(node, n.Mask):
        entry |= {"source": node.source, "masks": len(node.g)}
    elif isinstance(node, n.Affine):
        entry["activation"] = node.activation
        entry["edges"] = [_edge(edge) for edge in node.edges]
    elif isinstance(node, n.Mix):
        entry |= {"experts": _places(node.experts), "gates": _places(node.gates)}
    elif isinstance(node, n.Opaque):
        entry |= {"layer": type(node.layer).__name__, "features": list(node.features)}
        entry["sources"] = list(n.sources_of(node))
    elif isinstance(node, n.Output):
        entry |= {"task": node.task, "source": node.source, "link": node.link, "unit": node.unit}
        entry["times"] = _places(node.times)
    return entry


def _places(places: Iterable[n.Place]) -> list[list[Any]]:
    return [list(place) for place in places]


def _edge(edge: n.Edge) -> dict[str, Any]:
    return {
        "source": edge.source,
        "start": edge.start,
        "weight": list(edge.weight.shape),
        "gate": None if edge.gate is None else list(edge.gate.shape),
        "open": bool(edge.folded.any()),
    }

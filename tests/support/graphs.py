"""Counting what is in a TensorFlow graph."""

from __future__ import annotations

_NOT_OPERATIONS = ("Const", "Placeholder", "Identity", "NoOp", "ReadVariableOp")


def count_operations(graph) -> int:
    """Operations of a function's graph: neither inputs nor weights."""
    return sum(op.type not in _NOT_OPERATIONS for op in graph.get_operations())

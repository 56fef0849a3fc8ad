"""Counting what is in a TensorFlow graph."""

from __future__ import annotations

NOT_OPERATIONS = ("Const", "Placeholder", "Identity", "NoOp", "ReadVariableOp")
_BRANCHES = ("then_branch", "else_branch")


def count_operations(graph) -> int:
    """Operations of a function's graph; of two branches the longer one."""
    definition = graph.as_graph_def()
    functions = {
        function.signature.name: function.node_def for function in definition.library.function
    }

    def count(nodes):
        total = 0
        for node in nodes:
            if node.op in NOT_OPERATIONS:
                continue
            branches = [functions[node.attr[b].func.name] for b in _BRANCHES if b in node.attr]
            total += 1 + max(map(count, branches), default=0)
        return total

    return count(definition.node)

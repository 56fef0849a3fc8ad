"""A plan as operations: the served graph, and what it costs."""

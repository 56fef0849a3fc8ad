"""What a task alone reads and costs, against plans that hold nothing else."""

import numpy as np

from mtl_tf.compiler import cost, cost_per_task
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output
from mtl_tf.compiler.ir.plan import Plan


def plan_of(tasks, fields):
    """Task t reads field t and the field `both`; 3 ids of 2 numbers each."""
    rng = np.random.default_rng(0)
    tables = {name: rng.normal(size=(3, 2)).astype(np.float32) for name in ("x", "y", "both")}
    nodes = [Embed(name, (name,), tables[name]) for name in fields]
    weight = np.ones((2, 1), np.float32)
    for task in tasks:
        edges = tuple(Edge(name, weight) for name in (task, "both"))
        nodes.append(Affine(f"tower_{task}", edges, np.ones(1, np.float32)))
        nodes.append(Output(f"task/{task}", task, f"tower_{task}"))
    return Plan(tuple(nodes), tuple(InputSpec(name, "int32") for name in fields))


def test_each_task_alone_is_a_model_of_its_own():
    alone = cost_per_task(plan_of(("x", "y"), ("x", "y", "both")))
    assert {task: entry["fields"] for task, entry in alone.items()} == {
        "x": ["x", "both"],
        "y": ["y", "both"],
    }
    for entry in alone.values():
        assert entry["parameters"] == 2 * 3 * 2 + 2 * 2 + 1  # tables, matrix, bias
        assert entry["flops"] == 2 * 4 + 1 + 1 + 2  # product, bias, link, offsets
        assert entry["bytes"] == 4 * (17 + 2)  # and two offsets


def test_smaller_tables_count():
    plan = plan_of(("x", "y"), ("x", "y", "both"))
    whole, rounded = cost_per_task(plan)["x"], cost_per_task(plan, "int8")["x"]
    assert rounded["bytes"] == whole["bytes"] - 3 * 12 + 4 * 6
    assert set(rounded) == {"fields", *cost(plan).to_json()}

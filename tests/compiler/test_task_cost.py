"""What a task alone reads and costs, against plans that hold nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from mtl_tf.compiler import cost, cost_per_task, optimize
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output, ProjectedLookup
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.passes.optimize import optimize_each
from mtl_tf.compiler.passes.report import PassReport
from mtl_tf.errors import UserError
from tests.support.random_plans import assert_same, plans, rows_for

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


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


@quick
@given(plan=plans())
def test_a_task_alone_keeps_its_logits(plan):
    """With the alternatives that all tasks together chose, whatever those are."""
    rows = rows_for(plan, 9)
    wanted = plan.logits(rows)
    for known in (False, True):
        try:
            found = dict(optimize_each(plan, like=optimize(plan)[1] if known else None))
        except UserError:  # a task reads nothing
            return
        assert [*found] == [*plan.tasks]
        for task, alone in found.items():
            assert_same({task: wanted[task]}, alone.logits(rows))


@pytest.mark.parametrize("way", [0, 1])
def test_a_task_alone_takes_the_alternatives_of_all(way):
    plan = plan_of(("x", "y"), ("x", "y", "both"))
    taken = PassReport("project_tables", cost(plan), cost(plan), way=way)
    for like, projected in (([], False), ([taken], True)):
        for _, alone in optimize_each(plan, like=like):
            assert any(isinstance(node, ProjectedLookup) for node in alone.nodes) == projected

"""The models that the benchmarks draw instead of training them."""

import numpy as np
import pytest

from benchmarks.drawn import closed_gates, drawn_run, schema_of
from mtl_tf.compiler import capture
from mtl_tf.compiler.ir.nodes import Affine
from mtl_tf.config import MSSM

SHAPE = (3, 3, 8)


@pytest.mark.parametrize("closed", ["units", "connections"])
def test_half_is_closed_and_nothing_of_a_sub_network_from_itself(closed):
    found = closed_gates(np.random.default_rng(0), SHAPE, closed)
    gates = np.zeros(SHAPE, bool)
    gates[found] = True
    assert gates.mean() == pytest.approx(0.5, abs=0.06)
    assert not gates[[0, 1, 2], [0, 1, 2]].any()
    by_connection = gates.reshape(9, 8).mean(axis=1)
    assert bool(np.isin(by_connection, [0, 1]).all()) == (closed == "connections")


def test_scalar_gates_are_closed_as_connections():
    found = closed_gates(np.random.default_rng(0), (4, 4), "units")
    assert found.shape == (4, 4)
    assert found.sum() == 8
    assert not found.diagonal().any()


def test_a_drawn_run_has_exact_zeros_where_it_is_closed():
    schema = schema_of("drawn", ["a", "b", "c"], dim=2, tasks=2, context=["a"])
    run = drawn_run(schema, [5, 5, 5], MSSM(units=(8, 8)), "units")
    assert [field.name for field in run.config.schema.fields if field.side == "context"] == ["a"]
    plan = capture(run.model)
    gates = [
        np.asarray(getattr(edge.gate, "array", edge.gate))
        for node in plan.nodes
        if isinstance(node, Affine)
        for edge in node.edges
        if edge.gate is not None
    ]
    assert np.mean([np.mean(gate == 0) for gate in gates]) == pytest.approx(0.5, abs=0.06)
    assert sorted(plan.scores({name: np.array([1]) for name in "abc"})) == ["task_0", "task_1"]

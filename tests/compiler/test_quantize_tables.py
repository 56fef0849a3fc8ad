"""Tables in fewer bytes: how far they are off, and that the graph holds just them."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.compiler import cost, lower, optimize, passes
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Output, Weight
from mtl_tf.compiler.ir.plan import Plan
from tests.compiler.test_lower import readable
from tests.support.graphs import count_operations
from tests.support.random_plans import assert_same, rows_for


def plan_of(table, pooling=None):
    shape = (3,) if pooling else ()
    shared = Weight(table, "table")
    nodes = (
        Embed("a", ("a",), shared, pooling=pooling),
        Embed("b", ("b",), shared, pooling=pooling),
        Affine(
            "t",
            tuple(Edge(name, np.eye(table.shape[1], 1, dtype=np.float32)) for name in "ab"),
            np.zeros(1, np.float32),
        ),
        Output("task/t", "t", "t"),
    )
    return Plan(nodes, tuple(InputSpec(name, "int32", shape) for name in "ab"))


TABLE = np.array([[1.0, -2.0], [0.0, 0.0], [0.3, 0.1], [1e6, 5.0], [1e-44, 0.0]], np.float32)


def test_int8_by_hand():
    embed = passes.quantize_tables(plan_of(TABLE), "int8").by_name["a"]
    assert embed.table.dtype == np.int8 and embed.scale.shape == (5, 1)
    np.testing.assert_array_equal(embed.table.array[:4], [[64, -127], [0, 0], [127, 42], [127, 0]])
    scale = np.maximum(np.abs(TABLE).max(axis=1, keepdims=True) / 127, 1e-45)
    assert (np.abs(embed.rows(np.arange(4)) - TABLE[:4]) <= 0.5001 * scale[:4]).all()
    assert (np.abs(embed.rows(np.array([4]))) <= 1e-43).all()


def test_float16_by_hand():
    embed = passes.quantize_tables(plan_of(TABLE), "float16").by_name["a"]
    assert embed.table.dtype == np.float16 and embed.scale is None
    limit = np.where(np.abs(TABLE) > 65504, np.abs(TABLE) - 65504, np.abs(TABLE) / 2048 + 1e-7)
    assert (np.abs(embed.rows(np.arange(5)) - TABLE) <= limit).all()


def test_shared_tables_stay_shared():
    stored = passes.quantize_tables(plan_of(TABLE), "int8")
    assert stored.by_name["a"].table == stored.by_name["b"].table
    assert cost(stored).bytes == cost(plan_of(TABLE)).bytes - 4 * 10 + 10 + 4 * 5


def test_float32_changes_nothing_and_others_are_refused():
    plan = plan_of(TABLE)
    assert passes.quantize_tables(plan, "float32") is plan
    with pytest.raises(ValueError, match="`dtype` must be one of float32, float16, int8"):
        passes.quantize_tables(plan, "int4")


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("seed", range(5))
def test_lowered(dtype, seed):
    plan = readable(seed, fields=5, closed=0.0)
    final = optimize(plan, table_budget=[None, 0][seed % 2])[0]
    stored = passes.quantize_tables(final, dtype)
    module = lower(stored)
    rows = rows_for(plan, 7, seed)
    assert_same(stored.scores(rows), module(rows))
    assert_same(plan.scores(rows), stored.scores(rows), tolerance=0.1)
    function = tf.function(lambda **features: module(features))
    graph = function.get_concrete_function(**module.input_signature()).graph
    assert cost(stored).ops == count_operations(graph)


@pytest.mark.parametrize("rows", [4_000, 80_000])  # constants, variables
@pytest.mark.parametrize(("dtype", "share"), [("float16", 0.5), ("int8", 0.25 + 1 / 16)])
def test_bytes_on_disk_fall(rows, dtype, share, tmp_path):
    plan = plan_of(np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32))
    sizes = []
    for name, each in (("before", plan), ("after", passes.quantize_tables(plan, dtype))):
        module = lower(each)
        function = tf.function(lambda module=module, **features: module(features))
        signature = function.get_concrete_function(**module.input_signature())
        tf.saved_model.save(module, str(tmp_path / name), signatures=signature)
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        sizes.append(sum(path.stat().st_size for path in files))
    assert sizes[1] <= share * sizes[0] + 20_000

"""The interpreter against the equations, and what a plan says about itself."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import cost, lower
from mtl_tf.compiler.ir.activations import ACTIVATIONS
from mtl_tf.compiler.ir.nodes import Affine, Edge, Embed, InputSpec, Mask, Mixture, Numeric, Output
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.errors import UserError
from tests.support.random_plans import PlanMaker, assert_same, rows_for

NOT_IN_KERAS = {"expm1": tf.math.expm1, "square": tf.square}
TABLE = np.array([[1.0, 2.0], [3.0, -4.0], [0.5, 0.0]])
BAG = {"x": np.array([[0, 1, -1], [-1, -1, -1], [2, -1, 2]])}
WEIGHTS = {"x__weights": np.array([[2.0, 0.5, 9.0], [1.0, 1.0, 1.0], [1.0, 5.0, -1.0]])}


def value_of(node, features, *before):
    """The value of `node`: one linear task per unit reads it."""
    inputs = tuple(
        InputSpec(name, "float32" if values.dtype.kind == "f" else "int32", values.shape[1:])
        for name, values in features.items()
    )
    width = 1 if isinstance(node, Output) else node.width
    read = Affine("read", (Edge(node.name, np.eye(width)),), np.zeros(width))
    outputs = [Output(f"task/{i}", str(i), "read", "identity", i) for i in range(width)]
    plan = Plan((*before, node, read, *outputs), inputs)
    logits = plan.logits(features)
    assert_same(logits, lower(plan).logits(features))
    return np.stack([logits[str(i)] for i in range(width)], axis=1)


@pytest.mark.parametrize(
    ("pooling", "weighted", "expected"),
    [
        ("sum", False, [[4, -2], [0, 0], [1, 0]]),
        ("mean", False, [[2, -1], [0, 0], [0.5, 0]]),
        ("sum", True, [[3.5, 2], [0, 0], [0, 0]]),
        ("mean", True, [[1.4, 0.8], [0, 0], [0, 0]]),  # weights of the last sum to 0
    ],
)
def test_bags_are_pooled_rows(pooling, weighted, expected):
    node = Embed("e", ("x",), TABLE, pooling=pooling, weighted=weighted)
    features = BAG | WEIGHTS if weighted else BAG
    np.testing.assert_allclose(value_of(node, features), expected, atol=1e-12)


def test_fields_of_one_node_are_side_by_side():
    node = Embed("e", ("x", "y"), TABLE, offsets=(0, 1), sizes=(1, 2))
    values = value_of(node, {"x": np.array([0, 0]), "y": np.array([0, 1])})
    assert values.tolist() == [[1, 2, 3, -4], [1, 2, 0.5, 0]]


def test_numbers_are_scaled_vectors_with_a_bias():
    node = Numeric("e", ("x", "y"), np.array([[1.0, 2], [3, 4]]), np.array([[0.5, 0], [0, 1]]))
    values = value_of(node, {"x": np.array([2.0]), "y": np.array([-1.0])})
    assert values.tolist() == [[2.5, 4, -3, -3]]


def test_a_mask_scales_each_piece_by_its_own_scalar():
    source = Embed("e", ("x", "y"), TABLE, offsets=(0, 0), sizes=(3, 3))
    g = np.array([[1.0, 0.25], [1.0, 1.0], [0.0, 1.0]])
    node = Mask("m", "e", g, pieces=(1, 0, 1))
    values = value_of(node, {"x": np.array([0]), "y": np.array([1])}, source)
    w = [math.tanh(3 - 1), math.tanh(1 + 2), 0]
    expected = [3 * w[0], -4 * w[0], w[1], 2 * w[1], 0, 0]
    np.testing.assert_allclose(values, [expected], rtol=1e-12)


def test_edges_are_matrices_diagonals_and_scalars_with_gates():
    source = Embed("e", ("x",), TABLE)
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    node = Affine(
        "a",
        (
            Edge("e", matrix, np.array([1.0, 0.5])),
            Edge("e", np.array([10.0, 20.0]), np.array(0.1)),
            Edge("e", np.array(7.0)),
            Edge("e", matrix[1:], start=1),
        ),
        bias=np.array([0.25, 0.5]),
        activation="relu",
    )
    x, y = 3.0, -4.0
    first = (x * 1 + y * 3) * 1 + x * 10 * 0.1 + x * 7 + y * 3 + 0.25
    second = (x * 2 + y * 4) * 0.5 + y * 20 * 0.1 + y * 7 + y * 4 + 0.5
    expected = [[max(first, 0), max(second, 0)]]
    np.testing.assert_allclose(value_of(node, {"x": np.array([1])}, source), expected)


def test_an_affine_without_edges_is_a_constant():
    node = Affine("a", (), np.array([-1.0, 2.0]), "relu")
    assert value_of(node, {"x": np.array([1, 1])}, Embed("e", ("x",), TABLE)).tolist() == [
        [0, 2],
        [0, 2],
    ]


def test_a_mixture_weighs_its_experts_by_a_softmax():
    nodes = [Embed("e", ("x",), TABLE), Embed("f", ("x",), 2 * TABLE)]
    gate = Affine("g", (Edge("e", np.eye(2)),), np.zeros(2))
    mix = Mixture("m", (("e", 0), ("f", 0)), (("g", 0),), 2)
    values = value_of(mix, {"x": np.array([0])}, *nodes, gate)
    share = math.exp(2) / (math.exp(1) + math.exp(2))
    np.testing.assert_allclose(values, [[1 + share, 2 + 2 * share]])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_tensorflows(name):
    source = Numeric("e", ("x",), np.ones((1, 1)), np.zeros((1, 1)))
    node = Affine("a", (Edge("e", np.ones((1, 1))),), np.zeros(1), name)
    x = np.array([-30.0, -2, -0.5, 0, 0.5, 2, 30])
    assert np.isfinite(value_of(node, {"x": x}, source)).all()  # compares with TensorFlow too


@pytest.mark.keras
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_kerass(name):
    x = np.array([-30.0, -2, -0.5, 0, 0.5, 2, 30], np.float32)
    function = NOT_IN_KERAS.get(name) or keras.activations.get(name)
    expected = function(tf.constant(x))
    np.testing.assert_allclose(ACTIVATIONS[name](x.astype(float)), expected, rtol=2e-6, atol=1e-6)


def test_a_sigmoid_keeps_its_digits_far_out():
    x = np.array([-700.0, -100, -36, -5, 0, 5, 36])
    exact = (1 / (1 + np.exp(-np.longdouble(x)))).astype(float)
    np.testing.assert_allclose(ACTIVATIONS["sigmoid"](x), exact, rtol=1e-14)


def test_scores_apply_the_link():
    plan = PlanMaker(0).plan()
    rows = rows_for(plan, 5)
    logits, scores = plan.logits(rows), plan.scores(rows)
    for output in plan.outputs:
        logit = logits[output.task]
        expected = 1 / (1 + np.exp(-logit)) if output.link == "sigmoid" else logit
        np.testing.assert_allclose(scores[output.task], expected)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, r"feature `x` is missing; the model reads: x$"),
        ({"x": np.array([3])}, r"field `x`: ids must be in 0 … 2; received 3\. Were they made by"),
        ({"x": np.array([-1])}, r"field `x`: ids must be in 0 … 2; received -1"),
    ],
)
def test_rows_that_the_plan_cannot_read_are_explained(features, message):
    plan = Plan(
        (Embed("e", ("x",), TABLE), Output("task/t", "t", "e", unit=1)), (InputSpec("x", "int32"),)
    )
    with pytest.raises(UserError, match=message):
        plan.logits(features)


def test_rows_must_be_equally_many():
    plan = PlanMaker(3, fields=3, masks=False, closed=0).plan()
    rows = rows_for(plan, 4)
    rows[plan.features[0]] = rows[plan.features[0]][:2]
    with pytest.raises(UserError, match=r"equal numbers of rows; received \[2, 4\]"):
        plan.logits(rows)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Affine("a", (Edge("e", np.eye(2)),), np.zeros(2))] * 2, "two nodes are named 'a'"),
        ([Output("t", "t", "nowhere")], "reads 'nowhere', which is not before it"),
        ([Output("t", "t", "e", unit=2)], "e has no unit 2"),
        ([Affine("a", (Edge("e", np.eye(3)),), np.zeros(3))], "does not fit 3 units"),
        ([Affine("a", (Edge("e", np.ones(3)),), np.zeros(3))], "does not fit 3 units"),
        ([Mask("m", "e", np.ones((1, 2)), (1,))], "do not fit e"),
        ([Mixture("m", (("e", 1),), (("e", 0),), 2)], "too narrow for its experts or gates"),
        (
            [Mixture("m", (("e", 0), ("e", 1)), (("e", 1),), 1)],
            "too narrow for its experts or gates",
        ),
        ([Embed("f", ("y",), TABLE)], r"nodes read \['y'\], which are not inputs"),
    ],
)
def test_a_plan_that_does_not_hold_together_is_refused(nodes, message):
    with pytest.raises(ValueError, match=message):
        Plan((Embed("e", ("x",), TABLE), *nodes), (InputSpec("x", "int32"),))


def test_the_summary_is_json_without_weights():
    plan = PlanMaker(5).plan()
    summary = json.loads(json.dumps(plan.to_json()))
    assert summary["tasks"] == list(plan.tasks)
    assert summary["features"] == list(plan.features)
    assert [node["name"] for node in summary["nodes"]] == [node.name for node in plan.nodes]
    affine = next(node for node in summary["nodes"] if node["kind"] == "affine")
    assert {"source", "start", "weight", "gate", "open"} == affine["edges"][0].keys()


def test_cost_counts_parameters_flops_and_bytes():
    nodes = (
        Embed("e", ("x",), TABLE),  # 6 numbers, one of them zero
        Affine("a", (Edge("e", np.ones((2, 3))),), np.ones(3), "relu"),
        Affine("t", (Edge("a", np.ones((3, 1))),), np.ones(1)),
        Output("task/t", "t", "t"),
    )
    counted = cost(Plan(nodes, (InputSpec("x", "int32"),)))
    assert counted.parameters == 5 + (6 + 3) + (3 + 1)
    assert counted.bytes == 4 * (6 + (6 + 3) + (3 + 1))
    # products, bias and relu; products and bias; sigmoid
    assert counted.flops == (2 * 6 + 3 + 3) + (2 * 3 + 1) + 1
    # gather; matmul, bias, relu; matmul, bias; sigmoid, reshape
    assert counted.ops == 1 + 3 + 2 + 2

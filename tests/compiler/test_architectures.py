"""Every architecture as a plan: captured, optimised and lowered, the same scores."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.compiler import capture, cost, lower, optimize, sharing
from mtl_tf.compiler.ir.nodes import Affine, Mixture
from tests.support.architectures import ROWS, TASKS, batch, build, set_distinct

pytestmark = pytest.mark.keras


@pytest.fixture(params=ROWS.values(), ids=ROWS.keys())
def captured(request):
    keras.utils.set_random_seed(1)
    model = set_distinct(build(request.param.config))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layer without a capture function
        return model, capture(model)


def test_plan_and_graph_score_like_keras(captured):
    model, plan = captured
    features = batch(40)
    scores = {task: score[:, 0] for task, score in model(features, training=False).items()}
    smaller, _ = optimize(plan)
    graph = lower(smaller)({name: tf.constant(features[name]) for name in smaller.features})
    assert set(plan.tasks) == set(scores)
    logits, small_logits = plan.logits(features), smaller.logits(features)
    for task in scores:
        np.testing.assert_allclose(plan.scores(features)[task], scores[task], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(small_logits[task], logits[task], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(graph[task], scores[task], rtol=1e-5, atol=1e-6)


def test_what_is_shared_can_be_told(captured):
    _, plan = captured
    found = sharing(plan)
    assert found["tasks"].keys() == {task.name for task in TASKS}
    assert all(set(reads) <= {"city", "age", "seen", "shop"} for reads in found["tasks"].values())


def test_a_task_alone_costs_less(captured):
    _, plan = captured
    whole, _ = optimize(plan)
    alone, _ = optimize(plan, tasks=["buy"])
    assert alone.tasks == ("buy",)
    assert cost(alone).flops < cost(whole).flops
    features = batch(9)
    np.testing.assert_allclose(
        alone.scores(features)["buy"], plan.scores(features)["buy"], rtol=1e-5
    )


def test_closed_connections_leave_the_graph():
    model = set_distinct(build(ROWS["snr_trans"].config))
    gate = model.get_layer("Routing_2").gate
    open_only = np.full(gate.shape, -4.0, np.float32)
    np.fill_diagonal(open_only, 4.0)
    gate.log_alpha.assign(open_only)
    plan = capture(model)
    smaller, reports = optimize(plan)
    removed = next(report for report in reports if report.name == "fold_gates").edges
    assert {f"Level_1/{j} -> Routing_2/{i}" for i in range(4) for j in range(4) if i != j} <= set(
        removed
    )
    assert cost(smaller).parameters < cost(plan).parameters


def test_an_averaged_sub_network_leaves_once_nobody_reads_it():
    model = set_distinct(build(ROWS["snr_aver"].config))
    gate = model.get_layer("Routing_2").gate
    log_alpha = np.full(gate.shape, 4.0, np.float32)
    log_alpha[:, 2] = -4.0
    gate.log_alpha.assign(log_alpha)
    _, reports = optimize(capture(model))
    assert any("Level_1/2" in report.nodes for report in reports)
    log_alpha[1, 2] = 4.0
    gate.log_alpha.assign(log_alpha)
    _, reports = optimize(capture(model))
    assert not any("Level_1/2" in report.nodes for report in reports)


def test_a_gate_costs_nothing_where_there_is_one_expert():
    model = set_distinct(build(ROWS["mmoe"].config.model_copy(update={"num_experts": 1})))
    plan = capture(model)
    assert not any(isinstance(node, Mixture) for node in plan.nodes)
    assert not any("gate" in node.name for node in plan.nodes if isinstance(node, Affine))
    features = batch(5)
    for task in TASKS:
        expected = model(features)[task.name][:, 0]
        np.testing.assert_allclose(plan.scores(features)[task.name], expected, rtol=1e-5)

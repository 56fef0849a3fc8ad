"""Limits in which two architectures are equal: the same weights, the same scores."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.config import model as mc
from mtl_tf.models import build_model
from tests.support.architectures import FEATURES, ROWS, TASKS, K, batch, build, set_distinct, value

pytestmark = pytest.mark.keras


def assert_same_scores(first, second):
    features = batch(30)
    a, b = first(features, training=False), second(features, training=False)
    for task in TASKS:
        assert np.ptp(a[task.name]) > 1e-3
        np.testing.assert_allclose(a[task.name], b[task.name], rtol=1e-5, atol=1e-6)


def copy(source, target):
    """Embeddings, or layers of equal variables."""
    target.set_weights(source.get_weights())


def assign(layer, kernel, bias):
    layer.kernel.assign(np.asarray(kernel, np.float32))
    layer.bias.assign(np.asarray(bias, np.float32))


def set_gates(model, opened):
    """Opens the gates that `opened(i, j)` names exactly, and closes the others exactly."""
    for layer in model.layers:
        if hasattr(layer, "gate"):
            shape = tuple(layer.gate.log_alpha.shape)
            states = [[opened(i, j) for j in range(shape[1])] for i in range(shape[0])]
            log_alpha = np.where(states, 4.0, -4.0)
            log_alpha = log_alpha.reshape(log_alpha.shape + (1,) * (len(shape) - 2))
            layer.gate.log_alpha.assign(np.broadcast_to(log_alpha, shape).astype(np.float32))


def weights(model, name):
    """Kernel and bias, one per sub-network."""
    layer = model.get_layer(name)
    return value(layer.kernel), value(layer.bias)


def copy_towers(source, target, through=None):
    """Copies the towers, with the matrix `through(k)` ahead of each."""
    for k, task in enumerate(TASKS):
        a, b = (model.get_layer(f"Tower_{task.name}") for model in (source, target))
        for old, new in zip((*a.hidden, a.score), (*b.hidden, b.score), strict=True):
            kernel = value(old.kernel)
            if through is not None and old is (*a.hidden, a.score)[0]:
                kernel = through(k) @ kernel
            assign(new, kernel, old.bias)


def test_snr_trans_with_all_gates_open_is_shared_bottom():
    snr = set_distinct(build(mc.SNRTrans(units=(4, 3), num_sub_networks=3, tower_units=(4,))))
    set_gates(snr, lambda i, j: True)
    shared = build(mc.SharedBottom(units=(12, 9), tower_units=(4,)))
    copy(snr.get_layer("Embedding"), shared.get_layer("Embedding"))
    kernel, bias = weights(snr, "Level_1")
    assign(shared.get_layer("Level_1"), [np.hstack(kernel)], [np.hstack(bias)])
    routing = value(snr.get_layer("Routing_2").kernel)  # (I, J, d, units)
    kernel, bias = weights(snr, "Level_2")
    below = [np.vstack(routing[i]) @ kernel[i] for i in range(3)]
    assign(shared.get_layer("Level_2"), [np.hstack(below)], [np.hstack(bias)])
    to_towers = value(snr.get_layer("Routing_towers").kernel)
    copy_towers(snr, shared, through=lambda k: np.vstack(to_towers[k]))
    assert_same_scores(snr, shared)


def test_snr_trans_with_only_the_diagonal_open_is_independent_networks():
    snr = set_distinct(build(mc.SNRTrans(units=(5, 4), num_sub_networks=K, tower_units=(4,))))
    set_gates(snr, lambda i, j: i == j)
    single = build(mc.SingleTask(units=(5, 4), tower_units=(4,)))
    routing = value(snr.get_layer("Routing_2").kernel)
    for k, task in enumerate(TASKS):
        copy(snr.get_layer("Embedding"), single.get_layer(f"Embedding_{task.name}"))
        for level in (1, 2):
            kernel, bias = weights(snr, f"Level_{level}")
            matrix = kernel[k] if level == 1 else routing[k, k] @ kernel[k]
            assign(single.get_layer(f"Level_{level}_{task.name}"), [matrix], bias[k : k + 1])
    to_towers = value(snr.get_layer("Routing_towers").kernel)
    copy_towers(snr, single, through=lambda k: to_towers[k, k])
    assert_same_scores(snr, single)


@pytest.mark.parametrize("closed", [(0, 1), (2, 0)])
def test_a_closed_connection_transmits_nothing(closed):
    config = mc.SNRAver(units=(4,), num_sub_networks=3, tower_units=(4,))
    task, source = closed
    snr = set_distinct(build(config))
    set_gates(snr, lambda i, j: (i, j) != closed)
    features = batch(20)
    before = snr(features)
    level = snr.get_layer("Level_1")
    level.bias.assign(value(level.bias) + 3.0 * (np.arange(3)[:, None] == source))
    after = snr(features)
    for k, name in enumerate(task.name for task in TASKS):
        assert np.array_equal(before[name], after[name]) == (k == task)


def test_ple_with_one_level_is_cgc():
    sizes = {"units": (5, 4), "tower_units": (3,), "task_experts": 2, "shared_experts": 3}
    cgc, ple = set_distinct(build(mc.CGC(**sizes))), build(mc.PLE(**sizes, levels=1))
    copy(cgc, ple)
    assert_same_scores(cgc, ple)


def test_mmoe_with_one_expert_is_shared_bottom():
    mmoe = set_distinct(build(mc.MMoE(units=(6, 5), num_experts=1)))
    shared = build(mc.SharedBottom(units=(6, 5)))
    pairs = {"Embedding": "Embedding", "Experts_1_1": "Level_1", "Experts_1_2": "Level_2"}
    pairs |= {f"Tower_{task.name}": f"Tower_{task.name}" for task in TASKS}
    for source, target in pairs.items():
        copy(mmoe.get_layer(source), shared.get_layer(target))
    assert_same_scores(mmoe, shared)


@pytest.mark.parametrize("per", ["unit", "layer"])
def test_cross_stitch_at_the_identity_is_independent_networks(per):
    stitched = set_distinct(build(mc.CrossStitchNetwork(units=(5, 4), granularity=per)))
    single = build(mc.SingleTask(units=(5, 4)))
    for level, units in ((1, 5), (2, 4)):
        alpha = np.eye(K) if per == "layer" else np.repeat(np.eye(K)[..., None], units, axis=2)
        stitched.get_layer(f"Stitch_{level}").alpha.assign(alpha.astype(np.float32))
    for k, task in enumerate(TASKS):
        copy(stitched.get_layer("Embedding"), single.get_layer(f"Embedding_{task.name}"))
        for level in (1, 2):
            kernel, bias = weights(stitched, f"Level_{level}")
            layer = single.get_layer(f"Level_{level}_{task.name}")
            assign(layer, kernel[k : k + 1], bias[k : k + 1])
    copy_towers(stitched, single)
    assert_same_scores(stitched, single)


def test_sluice_with_one_subspace_and_the_last_level_is_cross_stitch_per_layer():
    sluice = set_distinct(build(mc.SluiceNetwork(units=(4, 4), num_subspaces=1)))
    sluice.get_layer("Levels").beta.assign(np.tile([0.0, 1.0], (K, 1)).astype(np.float32))
    stitched = build(mc.CrossStitchNetwork(units=(4, 4), granularity="layer"))
    for name in ("Embedding", *(f"Tower_{task.name}" for task in TASKS)):
        copy(sluice.get_layer(name), stitched.get_layer(name))
    for level in (1, 2):
        layer = sluice.get_layer(f"Level_{level}")
        copy(layer.sub_networks, stitched.get_layer(f"Level_{level}"))
        stitched.get_layer(f"Stitch_{level}").alpha.assign(layer.alpha)
    assert_same_scores(sluice, stitched)


def test_mssm_with_all_gates_open_is_mssm_b():
    mssm = set_distinct(build(ROWS["mssm"].config))
    set_gates(mssm, lambda i, j: True)
    without = build(ROWS["mssm_b"].config)
    for name in ("Embedding", "Mask", "Level_1", *(f"Tower_{task.name}" for task in TASKS)):
        copy(mssm.get_layer(name), without.get_layer(name))
    kernel, bias = weights(mssm, "Level_2")
    assign(without.get_layer("Level_2"), [np.vstack(matrices) for matrices in kernel], bias)
    assert_same_scores(mssm, without)


STARTS = [("cross_stitch", "Stitch_1"), ("cross_stitch_layer", "Stitch_2"), ("sluice", "Level_1")]


@pytest.mark.parametrize(("name", "layer"), STARTS)
def test_stitches_start_near_the_identity(name, layer):
    alpha = value(build(ROWS[name].config).get_layer(layer).alpha)
    alpha = alpha.reshape(len(alpha), len(alpha), -1)
    others = 0.1 / (len(alpha) - 1)
    expected = np.where(np.eye(len(alpha)), 0.9, others)[..., None]
    np.testing.assert_allclose(alpha, np.broadcast_to(expected, alpha.shape), rtol=1e-6)


def test_the_levels_of_a_sluice_start_near_the_last():
    beta = value(build(ROWS["sluice"].config).get_layer("Levels").beta)
    np.testing.assert_allclose(beta, np.tile([0.1, 0.9], (K, 1)), rtol=1e-6)


def test_single_task_sub_networks_do_not_depend_on_other_tasks():
    """Nothing that a single-task network computes depends on the other tasks."""
    model = set_distinct(build_model(FEATURES, TASKS, ROWS["single_task"].config))
    features = batch(16)
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(model(features, training=True)["buy"])
    for variable, gradient in zip(
        model.trainable_variables,
        tape.gradient(score, model.trainable_variables),
        strict=True,
    ):
        name = getattr(variable, "path", variable.name)
        own = gradient is not None
        assert own == any(layer in name for layer in OWN), name


OWN = ("Embedding_buy", "Level_1_buy", "Level_2_buy", "Tower_buy")

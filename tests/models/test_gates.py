"""Gates and penalties of the architectures against their closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf import layers
from mtl_tf.backend.keras import keras
from tests.support.activations import sigmoid
from tests.support.architectures import GATES, ROWS, K, batch, build, set_distinct, value

pytestmark = pytest.mark.keras

GATED = {  # where the gates are, and that they are scalars (SNR) or vectors (MSSM)
    "snr_trans": {"Routing_2": (4, 4), "Routing_towers": (K, 4)},
    "snr_aver": {"Routing_2": (4, 4), "Routing_towers": (K, 4)},
    "mssm": {"Level_2": (K, K + 1, 5)},
    "mssm_a": {"Level_2": (K, K + 1, 5)},
}


def gated_layers(model):
    """The layers that have gates on connections."""
    return {
        layer.name: layer
        for layer in model.layers
        if hasattr(layer, "gate") and not isinstance(layer, layers.DimensionGate)
    }


@pytest.fixture(params=GATED)
def gated(request):
    keras.utils.set_random_seed(2)
    model = set_distinct(build(ROWS[request.param].config))
    return GATED[request.param], model


def test_the_other_architectures_have_no_gates():
    for name in {name for name in ROWS if name.removesuffix("_gated") not in GATED}:
        assert not gated_layers(build(ROWS[name].config)), name


def test_gates_are_where_the_paper_has_them(gated):
    shapes, model = gated
    found = gated_layers(model)
    assert {name: tuple(layer.gate.log_alpha.shape) for name, layer in found.items()} == shapes


@pytest.mark.parametrize("training", [False, True])
def test_penalty_and_its_gradient(gated, training):
    shapes, model = gated
    with tf.GradientTape() as tape:
        model(batch(4), training=training)
        penalty = tf.add_n(model.losses)
    gates = [model.get_layer(name).gate for name in shapes]
    gradients = tape.gradient(penalty, [gate.log_alpha for gate in gates])
    opens = [
        sigmoid(value(gate.log_alpha) - GATES.beta * np.log(-GATES.gamma / GATES.zeta))
        for gate in gates
    ]
    np.testing.assert_allclose(penalty, GATES.penalty * sum(p.sum() for p in opens), rtol=1e-6)
    for gradient, p in zip(gradients, opens, strict=True):
        np.testing.assert_allclose(gradient, GATES.penalty * p * (1 - p), rtol=1e-5, atol=1e-9)


def test_noise_in_training_only(gated):
    _, model = gated
    features = batch(6)
    evaluated = [model(features, training=False)["click"] for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)
    trained = [model(features, training=True)["click"] for _ in range(2)]
    assert np.any(trained[0] != trained[1])


def sampled(layer, calls):
    """z of a routing without matrices, read from its outputs: `(calls, I, J)`."""
    inputs = tf.eye(layer.gate.shape[1])[None]  # u_j is the unit vector j
    return np.stack([layer(inputs, training=True)[0] for _ in range(calls)])


CLOSED_FORMS = [
    (beta, gamma, zeta, log_alpha)
    for beta, gamma, zeta in ((2 / 3, -0.1, 1.1), (0.9, -0.1, 1.1), (0.5, -1.0, 2.0))
    for log_alpha in (0.0, -1.5, 2.0)
]


@pytest.mark.parametrize(("beta", "gamma", "zeta", "log_alpha"), CLOSED_FORMS)
def test_sampled_gates_are_distributed_as_the_closed_forms_say(beta, gamma, zeta, log_alpha):
    keras.utils.set_random_seed(3)
    layer = layers.SubNetworkRouting(100, beta=beta, gamma=gamma, zeta=zeta)
    layer(tf.ones((1, 100, 1)))
    layer.gate.log_alpha.assign(tf.fill((100, 100), log_alpha))
    z = sampled(layer, calls=10)

    def at_most(t):
        s = (t - gamma) / (zeta - gamma)
        return sigmoid(beta * np.log(s / (1 - s)) - log_alpha)

    steps = (np.arange(100_000) + 0.5) / 100_000
    within = 5 * 0.5 / np.sqrt(z.size)  # five standard errors
    assert abs((z == 0).mean() - at_most(0.0)) < within
    assert abs((z == 1).mean() - (1 - at_most(1.0))) < within
    assert abs(z.mean() - (1 - at_most(steps)).mean()) < within
    open_probability = 1 - at_most(0.0)
    np.testing.assert_allclose(layer.gate.open_probability()[0, 0], open_probability, rtol=1e-5)


def test_the_table_of_closed_forms():
    """The published numbers for log α = 0."""
    expected = {(2 / 3, -0.1, 1.1): 0.832, (0.9, -0.1, 1.1): 0.896, (0.5, -1.0, 2.0): 0.586}
    for (beta, gamma, zeta), penalty in expected.items():
        gate = layers.HardConcreteGate((1,), beta, gamma, zeta)
        gate.build()
        gate.log_alpha.assign([0.0])
        assert abs(gate.open_probability().numpy()[0] - penalty) < 5e-4


def test_one_scalar_per_connection_and_batch():
    keras.utils.set_random_seed(4)
    layer = layers.SubNetworkRouting(2, 3, initial_drop=0.5)
    inputs = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)
    inputs[:, 1] = 0  # only connections from sub-network 0 remain
    full = tf.einsum("bd,idu->biu", inputs[:, 0], built_kernel(layer, inputs)[:, 0])
    first, second = (layer(inputs, training=True) / full for _ in range(2))
    for z in (first, second):  # the same for all rows and units of a connection
        np.testing.assert_allclose(z, np.broadcast_to(z[:1, :, :1], z.shape), rtol=1e-4, atol=1e-6)
    assert np.ptp([first[0, :, 0], second[0, :, 0]]) > 1e-3


def built_kernel(layer, inputs):
    layer(inputs)
    return tf.convert_to_tensor(layer.kernel)


def test_sluice_penalty_and_its_gradient():
    config = ROWS["sluice"].config
    model = set_distinct(build(config))
    sluices = [model.get_layer(name) for name in ("Level_1", "Level_2")]
    kernels = [layer.sub_networks.kernel for layer in sluices]
    with tf.GradientTape() as tape:
        model(batch(4), training=True)
        penalty = tf.add_n(model.losses)
    expected = 0.0
    for kernel, gradient in zip(kernels, tape.gradient(penalty, kernels), strict=True):
        for g, found in zip(value(kernel), gradient.numpy(), strict=True):
            first, second = g[:, :2], g[:, 2:]
            product = first.T @ second
            expected += config.penalty * (product**2).sum()
            by_hand = 2 * config.penalty * np.hstack([second @ product.T, first @ product])
            np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_sluice_penalty_of_three_subspaces_counts_each_pair_once():
    layer = layers.Sluice(num_tasks=2, units=6, num_subspaces=3, penalty=1.0)
    layer(tf.ones((1, 5)))
    g = value(layer.sub_networks.kernel)
    blocks = [[g[k, :, 2 * s : 2 * s + 2] for s in range(3)] for k in range(2)]
    pairs = ((0, 1), (0, 2), (1, 2))
    expected = sum(((b[s].T @ b[t]) ** 2).sum() for b in blocks for s, t in pairs)
    np.testing.assert_allclose(layer.overlap(), expected, rtol=1e-5)

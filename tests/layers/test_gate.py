"""`HardConcreteGate` against the closed forms of Louizos et al., ICLR 2018."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.layers import HardConcreteGate
from tests.support.gates import gate_of

pytestmark = pytest.mark.keras

# β, γ, ζ; log α at which ẑ reaches 0 and 1; P(z=0) and penalty at log α = 0
TABLE = [
    (2 / 3, -0.1, 1.1, -2.3979, 2.3979, 0.168, 0.832),
    (0.9, -0.1, 1.1, -2.3979, 2.3979, 0.104, 0.896),
    (0.5, -1.0, 2.0, -0.6931, 0.6931, 0.414, 0.586),
]
table = pytest.mark.parametrize(("beta", "gamma", "zeta", "zero", "one", "closed", "opened"), TABLE)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


@table
def test_evaluation_reaches_zero_and_one_exactly_at_the_thresholds(
    beta, gamma, zeta, zero, one, closed, opened
):
    log_alpha = [zero - 0.001, zero + 0.001, 0.0, one - 0.001, one + 0.001]
    gate = gate_of(log_alpha, beta=beta, gamma=gamma, zeta=zeta).inference_gate().numpy()
    assert gate[0] == 0 and gate[1] > 0
    assert gate[3] < 1 and gate[4] == 1
    assert gate[2] == pytest.approx(0.5 * (zeta - gamma) + gamma)


@table
def test_penalty_is_the_probability_of_being_open(beta, gamma, zeta, zero, one, closed, opened):
    gate = gate_of(np.zeros((2, 3)), beta=beta, gamma=gamma, zeta=zeta, penalty=0.5)
    gate(tf.ones((4, 2, 3)))
    assert float(tf.add_n(gate.losses)) == pytest.approx(0.5 * 6 * opened, abs=0.002)
    assert closed == pytest.approx(1 - opened)


def test_penalty_and_its_gradient_in_closed_form():
    log_alpha = np.linspace(-4, 4, 7)
    gate = gate_of(log_alpha, beta=0.8, gamma=-0.3, zeta=1.2, penalty=0.01)
    with tf.GradientTape() as tape:
        gate(tf.ones(7))
        loss = tf.add_n(gate.losses)
    gradient = tape.gradient(loss, gate.trainable_variables[0])
    p = _sigmoid(log_alpha - 0.8 * math.log(0.3 / 1.2))
    assert float(loss) == pytest.approx(0.01 * p.sum(), rel=1e-6)
    np.testing.assert_allclose(gradient, 0.01 * p * (1 - p), rtol=1e-5)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
@table
def test_samples_follow_the_closed_forms(log_alpha, beta, gamma, zeta, zero, one, closed, opened):
    n = 200_000
    gate = gate_of(np.full(n, log_alpha), beta=beta, gamma=gamma, zeta=zeta, seed=1)
    z = gate.sample().numpy()
    at_zero = _sigmoid(beta * math.log(-gamma / zeta) - log_alpha)
    at_one = _sigmoid(log_alpha - beta * math.log((1 - gamma) / (zeta - 1)))
    u = (np.arange(n) + 0.5) / n  # the mean by quadrature
    s = _sigmoid((np.log(u) - np.log(1 - u) + log_alpha) / beta)
    mean = np.clip(s * (zeta - gamma) + gamma, 0, 1).mean()
    error = 4 * 0.5 / math.sqrt(n)  # four standard errors
    assert np.mean(z == 0) == pytest.approx(at_zero, abs=error)
    assert np.mean(z == 1) == pytest.approx(at_one, abs=error)
    assert z.mean() == pytest.approx(mean, abs=error)
    assert z.min() >= 0 and z.max() <= 1


def test_training_draws_one_sample_per_batch_and_evaluation_none():
    gate = gate_of(np.zeros((3, 50)))
    rows = tf.ones((4, 3, 50))
    first, second = gate(rows, training=True).numpy(), gate(rows, training=True).numpy()
    assert (first == first[0]).all(), "one sample for all rows"
    assert (first[0] != second[0]).mean() > 0.5
    assert len(np.unique(first[0])) > 50, "every gate has its own"
    expected = np.broadcast_to(gate.inference_gate(), rows.shape)
    for _ in range(2):
        np.testing.assert_array_equal(gate(rows, training=False), expected)
        np.testing.assert_array_equal(gate(rows), expected)


def test_a_compiled_step_draws_a_new_sample_each_time():
    gate = gate_of(np.zeros(50))
    step = tf.function(lambda rows: gate(rows, training=True), jit_compile=True)
    assert (step(tf.ones(50)).numpy() != step(tf.ones(50)).numpy()).mean() > 0.5


def test_samples_follow_from_the_seed_and_continue_after_a_restart():
    one, two = (gate_of(np.zeros(20), seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.sample(), two.sample())
    later = gate_of(np.zeros(20), seed=5)
    later.set_weights(one.get_weights())  # as a checkpoint does
    np.testing.assert_array_equal(one.sample(), later.sample())
    assert (one.sample().numpy() != gate_of(np.zeros(20), seed=6).sample().numpy()).any()


def test_the_model_seed_seeds_the_samples():
    def sample():
        keras.utils.set_random_seed(3)
        return gate_of(np.zeros(20)).sample()

    np.testing.assert_array_equal(sample(), sample())


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.8])
def test_log_alpha_starts_at_the_drop_rate(drop):
    gate = HardConcreteGate((1000,), initial_drop=drop)
    gate.build((1000,))
    values = tf.convert_to_tensor(gate.log_alpha).numpy()
    assert values.mean() == pytest.approx(math.log((1 - drop) / drop), abs=0.002)
    assert values.std() == pytest.approx(0.01, rel=0.1)


def test_log_alpha_is_clamped_by_training():
    gate = gate_of([4.6, -4.6])
    inputs = keras.Input((2,))
    model = keras.Model(inputs, gate(inputs))
    model.compile(keras.optimizers.SGD(10.0), loss=lambda y, p: -tf.reduce_sum(y * p))
    model.fit(np.ones((8, 2)), np.ones((8, 2)) * [[1.0, -1.0]], epochs=3, verbose=0)
    values = tf.convert_to_tensor(gate.log_alpha).numpy()
    assert (np.abs(values) <= math.log(100) + 1e-6).all()

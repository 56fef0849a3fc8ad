"""Loss weighting: each strategy against its formula in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.ranker.loss_weighting import DynamicWeightAverage, Fixed, GradNorm, Uncertainty
from tests.support.weighting_toy import (
    BATCHES,
    KINDS,
    NAMES,
    RATE,
    WEIGHTS,
    Toy,
    combined,
    how,
    labelled,
    moved,
)

pytestmark = pytest.mark.keras


class Adam:
    """Adam in NumPy, an own step count per number."""

    def __init__(self, count, rate):
        self.m, self.v, self.t, self.rate = np.zeros(count), np.zeros(count), np.zeros(count), rate

    def step(self, x, gradient, moves):
        self.t += moves
        self.m = np.where(moves, 0.9 * self.m + 0.1 * gradient, self.m)
        self.v = np.where(moves, 0.999 * self.v + 0.001 * gradient**2, self.v)
        t = np.maximum(self.t, 1)
        m, v = self.m / (1 - 0.9**t), self.v / (1 - 0.999**t)
        return np.where(moves, x - self.rate * m / (np.sqrt(v) + 1e-7), x)


@how
def test_fixed(how):
    toy = Toy(Fixed(), how)
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        _, gradients = toy.parts(batch)
        moved(toy, batch, combined(WEIGHTS, gradients))


@how
def test_uncertainty(how):
    toy = Toy(Uncertainty(learning_rate=0.05), how)
    s, adam = np.zeros(3), Adam(3, 0.05)
    a = np.array([1, 1, 0.5])
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        losses, gradients = toy.parts(batch)
        logs = moved(toy, batch, combined(WEIGHTS * a * np.exp(-s), gradients))
        # of w (a exp(−s) L + s/2)
        gradient = WEIGHTS * (0.5 - a * np.exp(-s) * losses)
        s = adam.step(s, gradient, labelled(without))
        np.testing.assert_allclose(toy.weighting.log_variance.numpy(), s, rtol=1e-3, atol=1e-5)
        found = [logs[f"weight_{name}"][0] for name in NAMES]
        np.testing.assert_allclose(found, WEIGHTS * a * np.exp(-s), rtol=1e-3)


def test_uncertainty_finds_the_minimum():
    """At the minimum exp(s) = 2 a L: the noise that explains the loss."""
    weighting = Uncertainty(0.05)
    weighting.build(NAMES, WEIGHTS, KINDS, None)
    losses = tf.constant([0.3, 1.2, 4.0])
    from mtl_tf.ranker.loss_weighting import Batch

    batch = Batch(None, [], losses, tf.constant([True] * 3), None)
    step = tf.function(lambda: weighting.coefficients(batch))
    for _ in range(800):
        step()
    expected = np.log(2 * np.array([1, 1, 0.5]) * losses.numpy())
    np.testing.assert_allclose(weighting.log_variance.numpy(), expected, atol=0.02)


@how
def test_dwa(how):
    temperature = 1.5
    toy = Toy(DynamicWeightAverage(temperature), how)
    history = {name: [] for name in NAMES}
    # In the second epoch nothing has a label for `buy`: no epoch for it.
    epochs = [[(0, ()), (1, ("click",))], [(2, ("buy",)), (3, ("buy",))], [(4, ()), (5, ())],
              [(6, ()), (7, ())], [(8, ()), (9, ())]]  # fmt: skip
    for epoch in epochs:
        rates = np.array([h[-1] / h[-2] if len(h) > 1 else 1.0 for h in history.values()])
        shares = np.exp(rates / temperature)
        expected = WEIGHTS * 3 * shares / shares.sum()
        np.testing.assert_allclose(toy.weighting.current().numpy(), expected, rtol=1e-4)
        before, sums = toy.values(), {name: [] for name in NAMES}
        batches = [toy.batch(seed, without) for seed, without in epoch]
        for batch, (_, without) in zip(batches, epoch, strict=True):
            losses, gradients = toy.parts(batch)
            for name, loss in zip(NAMES, losses, strict=True):
                if name not in without:
                    sums[name].append(loss)
            step = combined(expected, gradients)
            values = [v - RATE * g for v, g in zip(toy.values(), step, strict=True)]
            toy.model.set_weights(values)
        after = toy.values()
        toy.model.set_weights(before)
        stacked = tf.nest.map_structure(lambda *x: np.stack(x), *batches)
        toy.model.fit(tf.data.Dataset.from_tensor_slices(stacked), verbose=0, shuffle=False)
        for a, b in zip(toy.values(), after, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        for name, values in sums.items():
            if values:
                history[name].append(np.mean(values))


@how
def test_gradnorm(how):
    alpha = 0.7
    toy = Toy(GradNorm(alpha, learning_rate=0.05), how)
    last = toy.model.get_layer("last").weights
    v, first, adam = np.ones(3), np.zeros(3), Adam(3, 0.05)
    for seed, without in BATCHES:
        batch = toy.batch(seed, without)
        losses, gradients = toy.parts(batch)
        _, on_last = toy.parts(batch, last)
        norms = np.array([np.sqrt(sum((g**2).sum() for g in each)) for each in on_last])
        moved(toy, batch, combined(WEIGHTS * v, gradients))
        seen = labelled(without)
        if seen.any():
            first = np.where(seen & (first == 0), losses, first)
            ratio = np.divide(losses, first, out=np.zeros(3), where=seen)
            target = (v * norms)[seen].mean() * (ratio / ratio[seen].mean()) ** alpha
            stepped = adam.step(v, np.sign(v * norms - target) * norms, seen & (seen.sum() > 1))
            rest = 3 - v[~seen].sum()
            v = np.where(seen, stepped * rest / stepped[seen].sum(), v)
        np.testing.assert_allclose(toy.weighting.balance.numpy(), v, rtol=1e-3)
        assert toy.weighting.balance.numpy().sum() == pytest.approx(3, rel=1e-5)


def test_gradnorm_equalizes_norms():
    """With α = 0 it drives v_k ‖∇L_k‖ together; nothing else moves here."""
    toy = Toy(GradNorm(0.0, learning_rate=0.02), {"jit_compile": False})
    batch = toy.batch(0)
    toy.model.optimizer.learning_rate.assign(0.0)
    data = tf.data.Dataset.from_tensors(batch).repeat(200)
    toy.model.fit(data, verbose=0)
    _, gradients = toy.parts(batch, toy.model.get_layer("last").weights)
    norms = np.array([np.sqrt(sum((g**2).sum() for g in each)) for each in gradients])
    balanced = toy.weighting.balance.numpy() * norms
    np.testing.assert_allclose(balanced, balanced.mean(), rtol=0.15)


def test_penalties_are_not_weighted():
    toy = Toy(Uncertainty(), {"run_eagerly": True}, penalty=0.1)
    toy.weighting.log_variance.assign([3.0, 3.0, 3.0])
    batch = toy.batch(0, without=("click", "watch"))
    _, gradients = toy.parts(batch)
    expected = combined(WEIGHTS * [1, 1, 0.5] * np.exp(-3), gradients)
    index = [v.name for v in toy.model.trainable_variables]
    kernel = toy.model.get_layer("last").kernel
    place = next(i for i, v in enumerate(toy.model.trainable_variables) if v is kernel)
    expected[place] = expected[place] + 0.2 * np.array(kernel)
    assert len(index) == 10
    moved(toy, batch, expected)

"""Gradient surgery (PCGrad) against its algorithm in NumPy, for every order."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.ranker.loss_weighting import PCGrad
from mtl_tf.ranker.loss_weighting.pcgrad import surgery
from mtl_tf.ranker.loss_weighting.products import inner_products
from mtl_tf.ranker.propagate import TaskSlices
from tests.support.weighting_toy import BATCHES, KINDS, NAMES, RATE, WEIGHTS, Toy, how

pytestmark = pytest.mark.keras


def projected(h, orders):
    """PCGrad by its algorithm, on flat gradients `(tasks, n)`."""
    found = h.copy()
    for i, order in enumerate(orders):
        for j in order:
            if j != i and found[i] @ h[j] < 0:
                found[i] = found[i] - (found[i] @ h[j]) / (h[j] @ h[j]) * h[j]
    return found.sum(axis=0)


@how
def test_pcgrad(how):
    toy = Toy(PCGrad(), how, seed=2, penalty=0.01)
    shared, conflicts = toy.shared(), 0
    for seed, without in [*BATCHES, (6, ()), (7, ())]:
        batch = toy.batch(seed, without)
        _, on_shared = toy.parts(batch, shared)
        h = np.stack([w * np.concatenate([g.ravel() for g in each])
                      for w, each in zip(WEIGHTS, on_shared, strict=True)])  # fmt: skip
        _, all_gradients = toy.parts(batch)
        last = toy.model.get_layer("last")
        shapes, before = [tuple(v.shape) for v in shared], [np.array(v) for v in shared]
        kernel = np.array(last.kernel)
        towers = [(n, [np.array(v) for v in toy.model.get_layer(n).weights]) for n in NAMES]
        toy.fit(batch)
        step = np.concatenate(
            [((b - np.array(v)) / RATE).ravel() for b, v in zip(before, shared, strict=True)]
        )
        penalty = [np.zeros(shape) for shape in shapes]
        penalty[2] = 2 * 0.01 * kernel
        step -= np.concatenate([p.ravel() for p in penalty]) if seed != 5 else 0
        others = [[j for j in range(3) if j != i] for i in range(3)]
        choices = itertools.product(*[(o, o[::-1]) for o in others])
        candidates = [projected(h, orders) for orders in choices]
        conflicts += any(np.abs(c - h.sum(axis=0)).max() > 1e-3 for c in candidates)
        assert min(np.abs(step - c).max() for c in candidates) < 2e-5
        # Towers: their own plain gradient.
        names = [v.name for v in toy.model.trainable_variables]
        assert len(names) == 10
        for k, (name, old) in enumerate(towers):
            own = [g for g, v in zip(all_gradients[k], toy.model.trainable_variables, strict=True)
                   if any(v is w for w in toy.model.get_layer(name).weights)]  # fmt: skip
            for a, v, g in zip(old, toy.model.get_layer(name).weights, own, strict=True):
                np.testing.assert_allclose(np.array(v), a - RATE * WEIGHTS[k] * g, atol=2e-6)
    assert conflicts >= 2


def test_surgery_is_the_algorithm_for_every_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        h = rng.normal(size=(4, 5))
        orders = [rng.permutation(4) for _ in range(4)]
        factors = surgery(tf.constant(h @ h.T, tf.float32), tf.constant(np.array(orders, np.int32)))
        found = (factors.numpy() @ h).sum(axis=0)
        np.testing.assert_allclose(found, projected(h, orders), rtol=1e-3, atol=1e-4)


def test_pcgrad_s_order_is_random():
    weighting = PCGrad()
    weighting.build(NAMES, WEIGHTS, KINDS, None)
    orders = [tuple(weighting._order(tf.constant(i, tf.int64)).numpy().ravel()) for i in range(20)]
    assert len(set(orders)) > 10
    again = PCGrad(seed=0)
    again.build(NAMES, WEIGHTS, KINDS, None)
    assert orders[3] == tuple(again._order(tf.constant(3, tf.int64)).numpy().ravel())


def test_inner_products_of_sparse_gradients_sum_duplicates():
    table = np.zeros((2, 6, 3))
    rng = np.random.default_rng(0)
    sparse = []
    for k in range(2):
        indices, values = rng.integers(0, 6, 9), rng.normal(size=(9, 3))
        np.add.at(table[k], indices, values)
        sparse.append(
            tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices), (6, 3))
        )
    slices = TaskSlices(np.array([True, True, True]))
    flat = np.concatenate([table.reshape(2, -1), np.zeros((1, 18))])
    found = tf.function(lambda: inner_products([*sparse, None], slices), jit_compile=True)()
    np.testing.assert_allclose(found, flat @ flat.T, rtol=1e-5, atol=1e-6)

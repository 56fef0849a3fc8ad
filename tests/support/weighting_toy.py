"""A small model of three tasks, for the tests of loss weighting."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.ranker import Ranker
from mtl_tf.ranker.losses import losses_for
from mtl_tf.schema import Task

NAMES = ("click", "buy", "watch")
KINDS = ("binary", "binary", "regression")
WEIGHTS = np.array([2.0, 1.0, 0.5])
RATE = 0.1
how = pytest.mark.parametrize(
    "how", [{"run_eagerly": True}, {"jit_compile": not LEGACY}], ids=("eager", "graph")
)
"""Marks a test for the eager step and for the traced one, which XLA compiles in Keras 3."""

BATCHES = [(0, ()), (1, ("buy",)), (2, ()), (3, ("click", "watch")), (4, ()), (5, NAMES)]
"""Each batch's seed, and the tasks that it has no labels for."""


class Toy:
    """Two shared layers, a tower per task; the last one's kernel is all that is below it."""

    def __init__(self, weighting, arguments, seed=0, penalty=0.0):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4,))
        regularizer = keras.regularizers.L2(penalty) if penalty else None
        x = keras.layers.Dense(5, "tanh", name="first")(inputs)
        x = keras.layers.Dense(3, "tanh", name="last", kernel_regularizer=regularizer)(x)
        outputs = {
            name: keras.layers.Dense(1, "sigmoid" if kind == "binary" else None, name=name)(x)
            for name, kind in zip(NAMES, KINDS, strict=True)
        }
        self.model = Ranker(inputs, outputs)
        tasks = [Task(name=n, kind=k, label=n) for n, k in zip(NAMES, KINDS, strict=True)]
        self.losses, _ = losses_for(tasks)
        self.weighting = weighting
        self.model.compile(
            keras.optimizers.SGD(RATE),
            self.losses,
            loss_weights=dict(zip(NAMES, WEIGHTS.tolist(), strict=True)),
            weighting=weighting,
            **arguments,
        )

    def batch(self, seed, without=()):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(16, 4)).astype(np.float32)
        y = {
            name: (rng.random((16, 1)) > 0.5 if kind == "binary" else rng.normal(3, 2, (16, 1)))
            for name, kind in zip(NAMES, KINDS, strict=True)
        }
        y = {name: labels.astype(np.float32) for name, labels in y.items()}
        w = {name: rng.uniform(0.5, 2, 16).astype(np.float32) for name in NAMES}
        for name in without:
            y[name][:], w[name][:] = np.nan, 0
        return x, y, w

    def values(self):
        return [np.array(v) for v in self.model.get_weights()]

    def fit(self, *batches):
        logs = None
        for data in batches:
            logs = self.model.fit(tf.data.Dataset.from_tensors(data), verbose=0, shuffle=False)
        return logs.history

    def parts(self, batch, variables=None):
        """L_k, and its gradient with respect to each variable, `(tasks, variables)`."""
        x, y, w = batch
        variables = variables or self.model.trainable_variables
        losses, gradients = [], []
        for name in NAMES:
            with tf.GradientTape() as tape:
                scores = self.model(x)
                loss = self.losses[name](y[name], scores[name], sample_weight=w[name])
            losses.append(float(loss))
            found = tape.gradient(loss, variables)
            gradients.append(
                [np.zeros(v.shape) if g is None else np.array(g, float)
                 for g, v in zip(found, variables, strict=True)]
            )  # fmt: skip
        return np.array(losses), gradients

    def shared(self):
        return [v for name in ("first", "last") for v in self.model.get_layer(name).weights]


def moved(toy, batch, expected):
    """One step, compared to SGD along `expected`, a gradient per variable."""
    before = toy.values()
    logs = toy.fit(batch)
    for old, new, gradient in zip(before, toy.values(), expected, strict=True):
        np.testing.assert_allclose(new, old - RATE * gradient, rtol=2e-4, atol=2e-6)
    return logs


def combined(coefficients, gradients):
    """Σ_k c_k g_k, per variable."""
    return [
        sum(c * g for c, g in zip(coefficients, each, strict=True))
        for each in zip(*gradients, strict=True)
    ]


def labelled(without):
    """One truth per task."""
    return np.array([name not in without for name in NAMES])

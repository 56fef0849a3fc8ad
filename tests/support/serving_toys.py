"""Small SavedModels for the serving tests: quick to write, with scores that are easy to compute."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.runtime import warmup


class Toy(tf.Module):
    """a = dense·[1, 10] + table[ids] + shift, b = −a."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.table = tf.Variable([100.0, 200.0, 300.0])
        self.shift = tf.constant(shift)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, "dense"),
            tf.TensorSpec([None], tf.int64, "ids"),
        ]
    )
    def score(self, dense, ids):
        product = tf.linalg.matvec(dense, tf.constant([1.0, 10.0]))
        a = product + tf.gather(self.table, ids) + self.shift
        return {"a": a, "b": -a}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "ids")])
    def only_ids(self, ids):
        return {"a": tf.gather(self.table, ids), "b": -tf.gather(self.table, ids)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def echo(self, text):
        return {"upper": tf.strings.upper(text), "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "rounds")])
    def slow(self, rounds):
        count = tf.constant(0, tf.int64)
        while count < tf.reduce_max(rounds):
            count += 1
        return {"count": count + rounds * 0}


def expected(dense, ids, shift=0.0):
    return dense @ np.array([1, 10]) + np.array([100, 200, 300])[ids] + shift


def save_toy(folder, name="m", version=1, shift=0.0, only_ids=False):
    """Write folder/name/version and return its path."""
    path = Path(folder, name, str(version))
    toy = Toy(shift)
    score = toy.only_ids if only_ids else toy.score
    signatures = {"serving_default": score, "echo": toy.echo, "slow": toy.slow}
    tf.saved_model.save(toy, str(path), signatures)
    arrays = {"dense": np.ones((1, 2), np.float32), "ids": np.array([0])}
    if not only_ids:
        warmup.write(path, [warmup.predict_request(name, "serving_default", arrays)])
    return path


def rows(count=3):
    """Return rows for the model `m`."""
    return [{"dense": [i, 2 * i], "ids": i % 3} for i in range(count)]


def answers(count=3, shift=0.0):
    """Return the scores of these rows."""
    dense = np.array([[i, 2 * i] for i in range(count)]).reshape(-1, 2)
    return expected(dense, np.arange(count) % 3, shift)

"""The layers in a `tfrs.Model` of your own: `python examples/tfrs_ranking.py`.

Two tasks on generated rows: `click` depends on city and hour, `buy` on city and price;
`noise` is irrelevant. Field masks and gated sub-networks learn that in training.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tensorflow-recommenders needs Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from mtl_tf.layers import CellSparseSharing, FieldEmbedding, FieldMask, SubNetworks, Tower

SIZES = {"city": 20, "hour": 24, "price": 10, "noise": 30}
TASKS = ("click", "buy")


class TwoTasks(tfrs.Model):
    """Masks at the input, a sub-network per task and a shared one, a tower per task."""

    def __init__(self):
        super().__init__()
        self.embedding = FieldEmbedding(
            [
                {"name": name, "kind": "id", "size": size, "dim": 8, "table": name}
                for name, size in SIZES.items()
            ]
        )
        self.mask = FieldMask(num_readers=3, field_dims=[8] * len(SIZES), penalty=0.02)
        self.first = SubNetworks(3, 16, activation="relu")
        self.second = CellSparseSharing(2, 8, activation="relu", penalty=1e-3)
        self.towers = [Tower(index, units=[8]) for index in range(len(TASKS))]
        self.rankings = [
            tfrs.tasks.Ranking(metrics=[tf.keras.metrics.AUC(name=f"auc_{task}")]) for task in TASKS
        ]

    def call(self, features, training=None):
        seen = self.mask(self.embedding(features), training=training)
        x = self.second(self.first(seen), training=training)
        return [tower(x) for tower in self.towers]

    def compute_loss(self, inputs, training=False):
        features, labels = inputs
        scores = self(features, training=training)
        losses = zip(self.rankings, TASKS, scores, strict=True)
        return tf.add_n([ranking(labels[task], score) for ranking, task, score in losses])


def rows(count=12_000, seed=0):
    """Random rows whose labels follow a known rule."""
    rng = np.random.default_rng(seed)
    features = {name: rng.integers(0, size, count) for name, size in SIZES.items()}
    effect = {name: rng.normal(size=size)[features[name]] for name, size in SIZES.items()}
    logits = {
        "click": effect["city"] + effect["hour"] - 0.5,
        "buy": effect["city"] + effect["price"] - 1.0,
    }
    labels = {
        task: (rng.uniform(size=count) < 1 / (1 + np.exp(-logit)))[:, None].astype("float32")
        for task, logit in logits.items()
    }
    features = {name: ids.astype("int32") for name, ids in features.items()}
    return tf.data.Dataset.from_tensor_slices((features, labels)).batch(500)


def main():
    tf.keras.utils.set_random_seed(0)
    model = TwoTasks()
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    data = rows().cache()
    for epoch, logs in enumerate(_epochs(model, data), start=1):
        print(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4f}" for k, v in logs.items()))
    features = next(iter(data))[0]
    masks = tf.reduce_mean(model.mask.masks(model.embedding(features)), axis=0).numpy()
    for reader, mask in zip((*TASKS, "shared"), masks, strict=True):
        open_ = ", ".join(f"{name} {m:.2f}" for name, m in zip(SIZES, mask, strict=True))
        print(f"{reader} reads: {open_}")


def _epochs(model, data, count=4):
    history = model.fit(data, epochs=count, verbose=0).history
    wanted = ("loss", *(f"auc_{task}" for task in TASKS))
    for epoch in range(count):
        yield {name: history[name][epoch] for name in wanted}


if __name__ == "__main__":
    main()

"""The steps of one execution as one program train the same as single steps."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.ranker import Ranker
from mtl_tf.ranker.loss_weighting import GradNorm, PCGrad
from mtl_tf.ranker.losses import losses_for
from mtl_tf.ranker.xla_loop import CompiledTrainLoop
from mtl_tf.training import train
from tests.support import architectures as arch
from tests.support.training_data import LIGHT, config, write

pytestmark = pytest.mark.skipif(LEGACY, reason="Keras 2 counts the steps of an execution itself")

ROWS = 8


def batches(count, rows=ROWS):
    """Full batches of features, labels and weights; some batches have no label of a task."""
    labels = arch.labels(count * rows, 1)
    weights = {name: np.ones(count * rows, np.float32) for name in labels}
    weights["buy"][rows : 3 * rows] = 0
    data = tf.data.Dataset.from_tensor_slices((arch.batch(count * rows, 0), labels, weights))
    return data.batch(rows, drop_remainder=True)


def fitted(data, name="shared_bottom", steps=4, **options):
    """A model after an epoch, and its history."""
    keras.utils.set_random_seed(3)
    model = arch.build(arch.ROWS[name].config)
    losses, weights = losses_for(arch.TASKS)
    model.compile(
        keras.optimizers.SGD(0.05),  # Adam's first steps are as long for rounding's sake
        losses,
        loss_weights=weights,
        jit_compile=True,
        steps_per_execution=steps,
        **options,
    )
    return model, model.fit(data, verbose=0, shuffle=False).history


def assert_alike(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weighting"),
    [("mssm", None), ("shared_bottom", GradNorm), ("shared_bottom", PCGrad)],
)
def test_it_trains_as_single_steps_do(name, weighting):
    """Ten batches are two executions of four and one of two; the gates draw every step anew."""
    data = batches(10)
    options = {"weighting": weighting and weighting()}
    one, history = fitted(data, name, **options)
    assert isinstance(one.train_function, CompiledTrainLoop)
    options = {"weighting": weighting and weighting()}
    other, expected = fitted(data, name, steps=1, **options)
    assert not isinstance(other.train_function, CompiledTrainLoop)
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations) == 10
    assert_alike(one, other)
    assert history.keys() == expected.keys()
    for figure, values in expected.items():
        np.testing.assert_allclose(history[figure], values, rtol=1e-3, err_msg=figure)


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append((batch, int(self.model.optimizer.iterations), sorted(logs)))


def test_callbacks_are_called_after_every_execution():
    model, _ = fitted(batches(7), steps=3)
    seen = Seen()
    model.fit(batches(7), verbose=0, shuffle=False, callbacks=[seen])
    names = sorted(model.get_metrics_result() | {f"weight_{task.name}": 0 for task in arch.TASKS})
    assert [(batch, steps) for batch, steps, _ in seen.steps] == [(2, 10), (5, 13), (8, 14)]
    assert all(logged == names for *_, logged in seen.steps)


def test_a_dataset_of_unknown_length_ends():
    endless = batches(5).filter(lambda *_: True)
    assert int(endless.cardinality()) < 0
    model, _ = fitted(endless)
    assert int(model.optimizer.iterations) == 5


def test_batches_of_several_sizes_fall_back_to_keras():
    data = batches(3).unbatch().batch(10)  # 24 rows: 10, 10, 4
    one, _ = fitted(data)
    other, _ = fitted(data, steps=1)
    assert int(one.optimizer.iterations) == 3
    assert_alike(one, other)


def test_compiled_metrics_fall_back_to_keras():
    inputs = keras.Input((2,))
    model = Ranker(inputs, {"click": keras.layers.Dense(1, activation="sigmoid")(inputs)})
    metrics = {"click": ["mae"]}
    model.compile("sgd", {"click": "mse"}, metrics=metrics, jit_compile=True, steps_per_execution=2)
    data = tf.data.Dataset.from_tensors((tf.ones((4, 2)), {"click": tf.ones((4, 1))})).repeat(3)
    history = model.fit(data, verbose=0).history
    assert not isinstance(model.train_function, CompiledTrainLoop)
    assert any("mae" in name or "mean_absolute" in name for name in history), list(history)
    assert int(model.optimizer.iterations) == 3


def test_a_resumed_training_ends_the_same(tmp_path, monkeypatch):
    """In programs of four steps, the last one of an epoch of ten has two."""
    from mtl_tf.training.checkpoint import CheckpointFile

    data = write(tmp_path / "data", {"train": 1000, "eval": 200})
    options = {"jit_compile": True, "steps_per_execution": 4, "save_steps": 4, "epochs": 2}
    whole = train(config(LIGHT, options), data, tmp_path / "whole", progress=False)
    save = CheckpointFile.save

    def save_and_stop(self, progress, *arguments, **named):
        save(self, progress, *arguments, **named)
        if (progress.epoch, progress.step) == (1, 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFile, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config(LIGHT, options), data, tmp_path / "run", progress=False)
    again = train(config(LIGHT, options), data, tmp_path / "run", progress=False)
    assert again.metrics == whole.metrics

"""`Ranker`: the step is the sum of its parts; tasks without labels are unchanged."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.optimizer_slots import slots
from mtl_tf.backend.variables import GATE, role_of
from mtl_tf.models import build_model
from mtl_tf.ranker import Ranker
from mtl_tf.ranker.losses import losses_for
from mtl_tf.ranker.optimizers import Adam
from mtl_tf.ranker.task_reach import TaskReach
from mtl_tf.schema import Task
from tests.support import architectures as arch

pytestmark = pytest.mark.keras

NAMES = [task.name for task in arch.TASKS]
ROWS = 32
EAGER = {"run_eagerly": True}
"""For a few steps, tracing takes longer than what it saves."""


def value(variable):
    return np.array(tf.convert_to_tensor(variable))


def batch(without=(), rows=ROWS, seed=0):
    """Features, labels and weights; a task in `without` has labels of NaN and weights of 0."""
    features, labels = arch.batch(rows, seed), arch.labels(rows, seed + 1)
    weights = {name: np.ones(rows, np.float32) for name in labels}
    for name in without:
        labels[name] = np.full_like(labels[name], np.nan)
        weights[name] = np.zeros(rows, np.float32)
    return features, labels, weights


def compiled(name, optimizer=None, seed=3, **arguments):
    keras.utils.set_random_seed(seed)
    model = arch.build(arch.ROWS[name].config)
    losses, weights = losses_for(arch.TASKS)
    arguments = {"loss_weights": weights, "jit_compile": False, **arguments}
    model.compile(optimizer or Adam(0.01), losses, **arguments)
    model.optimizer.build(model.trainable_variables)  # or a step is traced twice
    return model


def fit(model, *batches):
    for data in batches:
        model.fit(tf.data.Dataset.from_tensors(data), verbose=0)


def state(model):
    """Of every trainable variable, its value and its two moments."""
    return [
        [value(each) for each in (variable, *slots(model.optimizer, variable))]
        for variable in model.trainable_variables
    ]


def reached(model):
    """By task, per trainable variable, the elements with a gradient from the task's score,
    by brute force: sampled weights and rows, no knowledge of the architecture."""
    variables = model.trainable_variables
    found = {task: [np.zeros(tuple(v.shape), bool) for v in variables] for task in NAMES}
    for draw in range(4):
        rng = np.random.default_rng(draw)
        for variable in variables:
            scale = 0.3 if role_of(variable) == GATE else 0.5
            variable.assign(rng.normal(0.1, scale, tuple(variable.shape)).astype(np.float32))
        with tf.GradientTape(persistent=True) as tape:
            scores = model(arch.batch(128, draw), training=False)
        for task, marks in found.items():
            for mark, gradient in zip(marks, tape.gradient(scores[task], variables), strict=True):
                if gradient is not None:
                    mark |= value(gradient) != 0
    return found


@pytest.mark.parametrize("name", arch.ROWS)
def test_task_reach_equals_what_gradients_reach(name):
    model = arch.build(arch.ROWS[name].config)
    reach, truth = TaskReach(model, NAMES), reached(model)
    for column, task in enumerate(NAMES):
        for variable, found in zip(model.trainable_variables, truth[task], strict=True):
            slices = reach.of(variable)
            if slices.axis is None:
                assert slices.tasks[column] == found.any(), (variable.name, task)
            else:
                others = tuple(a for a in range(found.ndim) if a != slices.axis)
                np.testing.assert_array_equal(
                    slices.tasks[:, column], found.any(axis=others), (variable.name, task)
                )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, EAGER) for name in ("ple", "snr_trans", "cross_stitch", "single_task")),
        ("mssm", {"jit_compile": False}),
        ("mssm", {"jit_compile": True}),
        *([] if LEGACY else [("cgc", {"jit_compile": True})]),  # XLA is the same in both
    ],
    ids=str,
)
def test_a_task_without_labels_keeps_its_bits(name, how):
    model = compiled(name, Adam(0.01, weight_decay=0.1), **how)
    fit(model, batch(), batch(seed=3), batch(seed=6))
    reach = TaskReach(model, NAMES)
    before = state(model)
    fit(model, batch(without=["buy"], seed=9))
    after = state(model)
    labelled = np.array([task != "buy" for task in NAMES])
    unchanged = changed = 0
    for variable, *values in zip(model.trainable_variables, before, after, strict=True):
        slices = reach.of(variable)
        updated = (slices.tasks & labelled).any(axis=-1)
        updated = np.broadcast_to(slices.broadcast(updated, len(variable.shape)), variable.shape)
        assert len(values[0]) == 3
        for old, new in zip(*values, strict=True):
            assert np.isfinite(new).all()
            assert (old[~updated] == new[~updated]).all(), variable.name
            unchanged += (~updated).sum()
            changed += (old[updated] != new[updated]).sum()
    assert unchanged and changed
    tower = model.get_layer("Tower_buy").trainable_variables
    assert all(not (reach.of(v).tasks & labelled).any() for v in tower)


def test_a_batch_without_any_label_changes_nothing():
    model = compiled("mssm", **EAGER)
    fit(model, batch(), batch(seed=3))
    before = state(model)
    fit(model, batch(without=NAMES))
    for variable, *values in zip(model.trainable_variables, before, state(model), strict=True):
        for old, new in zip(*values, strict=True):
            assert (old == new).all(), variable.name


def test_tables_updated_by_rows_keep_the_rows_of_unlabelled_tasks():
    model = compiled("single_task", Adam(0.01, row_sparse_widths=[4, 2]), **EAGER)
    fit(model, batch(), batch(seed=3))
    own = model.get_layer("Embedding_buy").tables["4"]
    other = model.get_layer("Embedding_watch").tables["4"]
    before, before_other = value(own), value(other)
    fit(model, batch(without=["buy"]))
    assert (value(own) == before).all()
    assert (value(other) != before_other).any()


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rmsprop"])
def test_tasks_without_labels_are_unchanged_with_any_keras_optimizer(optimizer):
    config = {"momentum": 0.9} if optimizer == "sgd" else {}
    made = {
        "sgd": keras.optimizers.SGD,
        "adagrad": keras.optimizers.Adagrad,
        "rmsprop": keras.optimizers.RMSprop,
    }[optimizer](0.01, **config)
    model = compiled("shared_bottom", made, run_eagerly=True)
    fit(model, batch(), batch(seed=3))
    tower = model.get_layer("Tower_buy")
    before = [value(v) for v in tower.trainable_variables]
    fit(model, batch(without=["buy"]))
    for old, variable in zip(before, tower.trainable_variables, strict=True):
        assert (old == value(variable)).all()


@pytest.mark.parametrize("name", ["mssm", "ple"])
def test_with_all_labels_a_step_equals_that_of_keras(name):
    ours = compiled(
        name,
        keras.optimizers.Adam(0.01),
        loss_weights={"click": 2.0, "buy": 1.0, "watch": 1.0},
        run_eagerly=True,
    )
    keras.utils.set_random_seed(3)
    theirs = arch.build(arch.ROWS[name].config)
    theirs = keras.Model(theirs.input, theirs.output)
    losses, _ = losses_for(arch.TASKS)
    weights = {"click": 2.0, "buy": 1.0, "watch": 1.0}
    theirs.compile(keras.optimizers.Adam(0.01), losses, loss_weights=weights, run_eagerly=True)
    logs = []
    for model in (ours, theirs):
        data = tf.data.Dataset.from_tensors(batch()).repeat(3)
        logs.append(model.fit(data, verbose=0).history)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    # Plain Keras 2 calls an output by its layer.
    expected = {key.removeprefix("Tower_"): values for key, values in logs[1].items()}
    assert set(logs[0]) - set(expected) == {f"weight_{name}" for name in NAMES}
    for key, values in expected.items():
        np.testing.assert_allclose(logs[0][key], values, rtol=1e-5)


def test_losses_not_given_by_task_train_as_keras_does():
    inputs = keras.Input((2,))
    model = Ranker(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", loss="mse")
    history = model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0).history
    assert list(history) == ["loss"]
    with pytest.raises(ValueError, match="`weighting` needs `loss`, a dict by task"):
        from mtl_tf.ranker.loss_weighting import Fixed

        model.compile("sgd", loss="mse", weighting=Fixed())


def test_a_step_that_finds_its_optimizer_built_is_traced_once(monkeypatch):
    traced, step = [], Ranker.train_step
    monkeypatch.setattr(
        Ranker, "train_step", lambda model, data: traced.append(1) or step(model, data)
    )
    inputs = keras.Input((2,))
    model = Ranker(inputs, {name: keras.layers.Dense(1)(inputs) for name in NAMES})
    model.compile("adam", loss=dict.fromkeys(NAMES, "mse"), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    model.fit(np.ones((8, 2)), dict.fromkeys(NAMES, np.ones((8, 1))), batch_size=4, verbose=0)
    assert len(traced) == 1


def test_a_loss_without_an_output_is_named():
    model = arch.build(arch.ROWS["shared_bottom"].config)
    with pytest.raises(ValueError, match="Received: loss for `clock`"):
        model.compile("sgd", loss={"clock": "mse"})


def test_saved_and_loaded_it_continues_the_same(tmp_path):
    model = compiled("shared_bottom")
    fit(model, batch(), batch(seed=3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded) is Ranker
    for each in (model, loaded):
        fit(each, batch(seed=6))
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_every_architecture_is_a_ranker():
    for row in arch.ROWS.values():
        assert isinstance(build_model(arch.FEATURES, arch.TASKS, row.config), Ranker)


def test_one_task_alone():
    task = Task(name="click", label="click")
    model = build_model(arch.FEATURES, [task], arch.ROWS["shared_bottom"].config)
    losses, weights = losses_for([task])
    model.compile(Adam(0.01), losses, loss_weights=weights, run_eagerly=True)
    features, labels, sample = batch()
    data = (features, {"click": labels["click"]}, {"click": sample["click"]})
    history = model.fit(tf.data.Dataset.from_tensors(data), verbose=0).history
    assert set(history) == {"loss", "weight_click"}


def test_the_compiled_loss_of_keras_2_and_3_is_logged_by_task():
    model = compiled("shared_bottom", run_eagerly=True)
    features, labels, weights = batch()
    scores, (losses, _) = model(features), losses_for(arch.TASKS)
    history = model.fit(tf.data.Dataset.from_tensors(batch()), verbose=0).history
    for name in NAMES:
        expected = losses[name](labels[name], scores[name], sample_weight=weights[name])
        assert history[f"{name}_loss"] == [pytest.approx(float(expected), rel=1e-5)]

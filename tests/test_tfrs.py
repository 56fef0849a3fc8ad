"""`MultiTaskRanker`: the same training as `fit` on the plain model, told by tfrs' own classes."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.compiler import capture, lower, optimize
from mtl_tf.errors import UserError
from mtl_tf.ranker.losses import losses_for
from mtl_tf.runs.metrics import measure
from mtl_tf.runs.scored_rows import ScoredRows
from mtl_tf.schema import Task
from tests.conftest import ROOT
from tests.support import architectures as arch

pytestmark = pytest.mark.keras
keras_2 = pytest.mark.skipif(not LEGACY, reason="tensorflow-recommenders needs Keras 2")

TASKS = (
    Task(name="click", label="click"),
    Task(name="buy", label="buy", weight=2.0),
    Task(name="watch", kind="regression", label="watch", weight=0.5),
)
KERAS_METRICS = {"binary": ("auc", "logloss"), "regression": ("mse", "mae")}
SHOWN = ("shared_bottom", "mmoe", "ple", "sluice", "snr_trans", "mssm")


def batch(rows=40):
    """Features, labels `(rows, 1)` and weights `(rows,)`; a third has no `buy`."""
    rng = np.random.default_rng(5)
    weights = {task.name: rng.uniform(0.5, 2, rows).astype(np.float32) for task in TASKS}
    weights["buy"][::3] = 0
    return arch.batch(rows), arch.labels(rows), weights


def ranker(name, seed=3):
    from mtl_tf.tfrs import MultiTaskRanker

    keras.utils.set_random_seed(seed)
    return MultiTaskRanker(arch.FEATURES, TASKS, arch.ROWS[name].config)


@pytest.mark.skipif(LEGACY, reason="the sentence is for Keras 3")
def test_keras_3_is_told_what_to_set():
    with pytest.raises(ImportError, match=r"^mtl_tf.tfrs needs Keras 2.*TF_USE_LEGACY_KERAS=1"):
        import mtl_tf.tfrs  # noqa: F401


@keras_2
@pytest.mark.parametrize("name", SHOWN)
def test_trains_as_fit_does(name):
    """Same seed, same batch: the same weights after three steps."""
    how = {"run_eagerly": name != "mssm"}  # a graph takes seconds to trace
    data = tf.data.Dataset.from_tensors(batch()).repeat(3)
    model = ranker(name)
    model.compile(optimizer=keras.optimizers.Adam(0.01), **how)
    model.fit(data, verbose=0)
    keras.utils.set_random_seed(3)
    plain = arch.build(arch.ROWS[name].config, TASKS)
    losses, loss_weights = losses_for(TASKS)
    plain.compile(keras.optimizers.Adam(0.01), losses, loss_weights=loss_weights, **how)
    plain.fit(data, verbose=0)
    for ours, theirs in zip(model.network.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@keras_2
def test_metrics_count_what_is_labelled():
    features, labels, weights = batch(rows=400)
    labels["buy"][::3] = np.nan
    model = ranker("mssm")
    arch.set_distinct(model.network)
    model.compile(run_eagerly=True)
    found = model.evaluate(
        tf.data.Dataset.from_tensors((features, labels, weights)), return_dict=True, verbose=0
    )
    scores = model(features)
    total = 0.0
    for task in TASKS:
        rows = ScoredRows.labeled(
            labels[task.name], np.asarray(scores[task.name]), weights[task.name]
        )
        expected = measure(task.kind, rows)
        for name in KERAS_METRICS[task.kind]:
            tolerance = 0.02 if name == "auc" else 1e-5  # Keras' AUC has 200 bins
            assert found[f"{name}_{task.name}"] == pytest.approx(expected[name], abs=tolerance)
        total += task.weight * expected["logloss" if task.kind == "binary" else "mse"]
    assert found["loss"] == pytest.approx(total, rel=1e-5)
    assert found["regularization_loss"] > 0  # the gates' penalty


@keras_2
@pytest.mark.parametrize("suffix", ["", ".weights.h5"])
def test_weights_are_saved_and_the_network_is_exported(tmp_path, suffix):
    features = arch.batch(20)
    model, other = ranker("mssm"), ranker("mssm", seed=4)
    arch.set_distinct(model.network)
    expected = model(features)
    path = str(tmp_path / f"ranker{suffix}")
    model.save_weights(path)
    other(features)
    other.load_weights(path)
    plan, _ = optimize(capture(other.network))
    found = {
        "keras": other(features),
        "plan": plan.scores(features),
        "graph": lower(plan)(features),
    }
    for scores in found.values():
        for task in TASKS:
            np.testing.assert_allclose(
                np.ravel(scores[task.name]), np.ravel(expected[task.name]), rtol=1e-5, atol=1e-6
            )


@keras_2
def test_a_label_that_is_missing_is_named():
    features, labels, weights = batch()
    del labels["buy"]
    with pytest.raises(UserError, match="received none for `buy`"):
        ranker("shared_bottom").compute_loss((features, labels, weights))


@pytest.mark.slow
@pytest.mark.skipif(LEGACY, reason="the example sets the mode itself; once is enough")
def test_the_example_runs():
    command = [sys.executable, str(ROOT / "examples" / "tfrs_ranking.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    losses = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert len(losses) == 4
    assert "shared reads: city" in done.stdout

"""The stages of a training: data → setup → trained model → run folder."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from mtl_tf.models.calibrated import calibrated
from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.runs.platt import Line, fit_platt
from mtl_tf.training.callback_order import callbacks_for
from mtl_tf.training.checkpoint import unreadable
from mtl_tf.training.data import TrainingData
from mtl_tf.training.distribution import DistributedFit
from mtl_tf.training.gate_schedule import gates_of, masks_of
from mtl_tf.training.loop import TrainingLoop, keras_fit
from mtl_tf.training.loss_balance import dominance, first_losses
from mtl_tf.training.passed_best import passed_best
from mtl_tf.training.prepare import TrainingSetup, Workspace, new_model, prepare
from mtl_tf.training.result import RunResult, TrainedModel, write_run
from mtl_tf.training.run_folder import BEST_WEIGHTS


def make_run(data: TrainingData, workspace: Workspace) -> RunResult:
    """Train on `data` and write the run into the workspace's folder."""
    start = time.perf_counter()
    setup = prepare(data, workspace)
    seconds_before = setup.progress.seconds  # of the training that this one resumes
    trained = fit(setup)
    seconds = seconds_before + time.perf_counter() - start
    write_run(workspace.folder, data.config, data.info, trained, seconds)
    return RunResult(
        workspace.folder,
        trained.metrics,
        trained.best_epoch,
        trained.epochs,
        seconds,
        workspace.cluster.chief,
    )


def fit(setup: TrainingSetup) -> TrainedModel:
    """Train to the end and return the model with the weights to keep.

    Raises:
        NotResumable: the loss became NaN or infinite.
    """
    data, progress, display = setup.data, setup.progress, setup.workspace.display
    loop = TrainingLoop(setup.model, data.batches, data.steps, _fit_epoch(setup))
    if progress.has_started:
        loop.restore(setup.workspace.checkpoint, data.steps_per_execution)
        display.print(f"resuming epoch {progress.epoch + 1}, step {progress.step:,}")
    elif warning := dominance(first_losses(setup.model, data)):
        display.print(f"warning: {warning}")
    if data.reset_tables:
        display.print("`reset_tables`: the embedding tables start anew in each epoch")
    with display.live():
        callbacks = callbacks_for(setup)
        epochs = data.config.training.epochs
        loop.run(progress, epochs, partial(should_continue, setup), list(callbacks.values()))
    _report(setup)
    return _trained_model(setup)


def _report(setup: TrainingSetup) -> None:
    """Say which epoch is kept, and which tasks were clearly better in another one."""
    epochs, display = setup.progress.epochs, setup.workspace.display
    display.print(setup.best.summary(epochs))
    if setup.data.validated:
        for sentence in passed_best(epochs, setup.best.index_of_best(epochs), setup.data.tasks):
            display.print(sentence)


def _fit_epoch(setup: TrainingSetup) -> Any:
    cluster = setup.workspace.cluster
    if cluster.name is None:
        return keras_fit
    return DistributedFit(cluster, setup.model, setup.data.steps_per_execution)


def should_continue(setup: TrainingSetup) -> bool:
    """Return True if another epoch is worth it; freeze gates and masks when it is time to."""
    step = setup.best.next_step(setup.progress.epochs, setup.progress.fine_tuned_from)
    if step == "fine_tune":
        _freeze(setup)
    return step != "stop"


def _freeze(setup: TrainingSetup) -> None:
    if setup.data.validated and setup.progress.epochs:
        # Not `load_weights`, which Keras 2 cannot do for a model with replicas.
        setup.model.set_weights(_best_model(setup).get_weights())
    for layer in (*gates_of(setup.model), *masks_of(setup.model)):
        layer.freeze()
    setup.progress.fine_tuned_from = setup.progress.epoch


def _trained_model(setup: TrainingSetup) -> TrainedModel:
    data, epochs = setup.data, setup.progress.epochs
    if data.validated:
        model = _best_model(setup)
        metrics, lines = _measured(model, data)
    else:
        model, metrics, lines = new_model(data), {}, {}
        model.set_weights(setup.model.get_weights())
    for layer in (*gates_of(model), *masks_of(model)):
        layer.unfreeze()
    best = setup.best.index_of_best(epochs) + 1
    return TrainedModel(model, metrics, best, tuple(epochs), lines)


def _measured(model: Any, data: TrainingData) -> tuple[Metrics, dict[str, Line]]:
    """Return the metrics of the kept model on the validation rows, and its calibration."""
    evaluator = Evaluator(model, data.evaluation, data.tasks, data.group)
    if data.config.calibration.method == "none":
        return evaluator(), {}
    lines = fit_platt(data.tasks, evaluator.predict())
    evaluator = Evaluator(calibrated(model, lines), data.evaluation, data.tasks, data.group)
    return evaluator(), lines


def _best_model(setup: TrainingSetup) -> Any:
    """Return a new model, on one device, with the weights of the best epoch."""
    path: Path = setup.workspace.folder / BEST_WEIGHTS
    model = new_model(setup.data)
    try:
        model.load_weights(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(path, error) from None
    return model

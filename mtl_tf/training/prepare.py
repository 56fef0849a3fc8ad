"""What a training starts from: its data, its compiled model, its place to write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_tf.backend.keras import keras
from mtl_tf.models import build_model
from mtl_tf.ranker.loss_weighting import weighting_for
from mtl_tf.ranker.losses import losses_for
from mtl_tf.ranker.optimizers import optimizer_for
from mtl_tf.schema import NegativeSampling
from mtl_tf.training.best_epoch import BestEpoch
from mtl_tf.training.checkpoint import CheckpointFile, TrainingProgress
from mtl_tf.training.data import TrainingData
from mtl_tf.training.distribution import Cluster, progress_of_chief
from mtl_tf.training.progress import Display
from mtl_tf.training.run_folder import BEST_WEIGHTS
from mtl_tf.training.untrained_ids import zero_untrained_rows


@dataclass(frozen=True)
class Workspace:
    """Where a training writes, and with whom it trains.

    Attributes:
        folder: of the run while it is made.
        checkpoint: to resume from and to save to.
        cluster: the replicas.
        display: for the person who watches.
    """

    folder: Path
    checkpoint: CheckpointFile
    cluster: Cluster
    display: Display


@dataclass(frozen=True)
class TrainingSetup:
    """A training that is ready to run.

    Attributes:
        data: the data and the configuration.
        workspace: where it writes.
        model: compiled, under the cluster's strategy.
        progress: where it starts; updated while it runs.
        best: which epoch to keep.
    """

    data: TrainingData
    workspace: Workspace
    model: Any
    progress: TrainingProgress
    best: BestEpoch


def prepare(data: TrainingData, workspace: Workspace) -> TrainingSetup:
    """Return the setup of a training: of its checkpoint, if there is one.

    Raises:
        UserError: a batch that the replicas cannot share, a damaged checkpoint.
    """
    cluster = workspace.cluster
    progress = progress_of_chief(cluster, workspace.checkpoint, workspace.folder)
    cluster.check_batch_size(data.batch_size)
    best = BestEpoch.configured(data.config, data.validated, data.criterion)
    keras.utils.set_random_seed(data.config.training.seed)
    with cluster.strategy.scope():
        model = new_model(data)
    model.unpack = data.rows.unpack
    if not progress.has_started:
        # Before training, since every epoch is measured with these rows at zero.
        zero_untrained_rows(model, data.id_counts)
        start_among_all_rows(model, data.info.schema.negative_sampling)
    with cluster.strategy.scope():
        _compile(model, data, cluster)
    (workspace.folder / BEST_WEIGHTS).parent.mkdir(exist_ok=True)
    return TrainingSetup(data, workspace, model, progress, best)


def new_model(data: TrainingData) -> Any:
    """Return a new model of the configured architecture."""
    return build_model(data.features, data.tasks, data.config.model, data.labels)


def start_among_all_rows(model: Any, sampling: NegativeSampling | None) -> None:
    """Set the bias of a task with sampled negatives to log(keep): even odds among its rows.

    It starts as other tasks do; the first steps need not find that positives are rarer than
    they seem.
    """
    if sampling:
        model.get_layer(f"Tower_{sampling.task}").score.bias.assign([math.log(sampling.keep)])


def _compile(model: Any, data: TrainingData, cluster: Cluster) -> None:
    training = data.config.training
    losses, weights = losses_for(data.tasks, model, data.info.schema.negative_sampling)
    model.compile(
        optimizer=optimizer_for(model, training),
        loss=losses,
        loss_weights=weights,
        weighting=weighting_for(training.loss_weighting, data.base_rates),
        jit_compile=training.jit_compile and cluster.name is None,
        steps_per_execution=data.steps_per_execution,
    )
    # A step that creates variables is traced a second time.
    model.optimizer.build(model.trainable_variables)

"""`train`: from a configuration and a dataset folder to a run folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.records import DatasetInfo, load_info
from mtl_tf.records.read import translate_read_errors
from mtl_tf.training.checkpoint import CheckpointFile
from mtl_tf.training.data import TrainingData
from mtl_tf.training.dataset_check import check_calibration, check_labels, check_schema
from mtl_tf.training.distribution import Cluster
from mtl_tf.training.fingerprint import fingerprint
from mtl_tf.training.former_defaults import with_former_defaults
from mtl_tf.training.prepare import Workspace
from mtl_tf.training.progress import Display
from mtl_tf.training.result import RunResult
from mtl_tf.training.run_folder import staged_run, staging_path
from mtl_tf.training.trainer import make_run


def train(
    config: Config,
    data: str | Path,
    run: str | Path,
    *,
    progress: bool = True,
    restart: bool = False,
    strategy: str | None = None,
) -> RunResult:
    """Train the model of `config` on a dataset folder and write a run folder.

    After each epoch the model is measured on the `eval` split. The weights of the epoch that
    is best by `training.keep` are kept; with a target sparsity, of the best within 5 points
    of it. Training stops when no epoch was better for `patience` epochs, or continues with
    fine-tuning if that is configured. A dataset without `eval` rows, or without labels in
    them, is trained for all epochs, and the last weights are kept. The embeddings of ids
    in no training row are zero (see `mtl_tf.training.untrained_ids`).

    The same seed gives the same result on the same machine. A training that was killed has
    saved its state in `.NAME.partial` beside the run folder after every
    `training.save_steps` steps; the same call resumes it, and gives the same result too.

    Args:
        config: schema, model and training. The schema must be the dataset's, except for
            options of the model: embedding widths, pooling, task weights.
        data: dataset folder, as the preprocessing job writes it.
        run: folder to write; it appears complete or not at all.
        progress: print a line per epoch on stderr, and show a bar in a terminal.
        restart: discard an interrupted training of this run.
        strategy: `mirrored` trains on all devices of this machine, `multi_worker` on all
            machines of the environment variable TF_CONFIG, each of which calls this; only
            the chief writes the run. `training.batch_size` is the global batch. The result
            is that of one device, to rounding; XLA is not used.

    Raises:
        UserError: `run` exists, no such dataset or strategy, another schema than the
            dataset's, or an unfinished training with different settings.
        DataError: the loss became NaN or infinite, or a file of the dataset is damaged.
    """
    cluster = Cluster(strategy)
    run = Path(run)
    if os.path.lexists(run):
        raise UserError(f"{run}: already exists; name another run folder or remove this one")
    if not restart:
        config = with_former_defaults(config, staging_path(run))
    info = _checked_info(config, data)
    chief = cluster.chief
    made = staged_run(run, fingerprint(config, info), restart) if chief else cluster.scratch()
    with made as folder, translate_read_errors(data):
        checkpoint = CheckpointFile(folder if chief else staging_path(run), writes=chief)
        workspace = Workspace(folder, checkpoint, cluster, Display(progress and chief))
        return replace(make_run(TrainingData.from_dataset(config, info), workspace), run=run)


def _checked_info(config: Config, data: str | Path) -> DatasetInfo:
    """Return the dataset's description; raise `UserError` if `config` cannot be trained on it."""
    info = load_info(data)
    info.split("train")
    check_schema(config.schema, info)
    check_labels(config.schema, info)
    check_calibration(config, info)
    return info

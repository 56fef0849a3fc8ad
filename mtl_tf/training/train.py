"""`train`: one training as a user asks for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.records import load_info
from mtl_tf.records.read import translate_read_errors
from mtl_tf.training.checkpoint import CheckpointFile, staged_run, staging_path
from mtl_tf.training.dataset_check import check_labels, check_schema
from mtl_tf.training.distribution import Cluster
from mtl_tf.training.run_folder import RunResult, fingerprint
from mtl_tf.training.trainer import Trainer


def train(
    config: Config,
    data: str | Path,
    run: str | Path,
    *,
    progress: bool = True,
    restart: bool = False,
    strategy: str | None = None,
) -> RunResult:
    """Trains the model of `config` on a dataset folder and writes a run folder.

    After each epoch the model is measured on the `eval` split. Kept are the weights
    with the smallest validation objective Σ w_k L_k + penalties, which is what training
    minimises; without the penalties, noise would pick an early epoch in which the gates
    had not closed yet. With a target share of closed connections, kept is an epoch that
    closed it, within 5 points. Training stops when the objective has not improved for
    `patience` epochs, and goes on to fine-tuning where that is asked for.
    A dataset whose `eval` rows have no label to go by, or that has no such rows, trains
    all epochs and keeps the last one's weights.
    The embeddings of ids that no training row has are zero (see `unseen`).

    The same seed gives the same result on the same machine. A training that was killed
    left `.NAME.partial` beside the run folder; the same call goes on from there, after
    the last of every `training.save_steps` steps, and gives the same result too.

    Args:
        config: schema, model and training. The schema must be the dataset's, but for
            what only concerns the model: embedding widths, pooling, task weights.
        data: dataset folder, as the preprocessing job writes it.
        run: folder to write; it appears complete or not at all.
        progress: a line per epoch on stderr, and a bar in a terminal.
        restart: discard what an interrupted training of this run left.
        strategy: `mirrored` trains on all devices of this machine, `multi_worker` on all
            machines of the environment variable TF_CONFIG, each of which calls this; only
            the chief writes the run. `training.batch_size` is the global batch. What
            comes out is what one device would give, to rounding; XLA is not used.

    Raises:
        UserError: `run` exists, no such dataset or strategy, a schema that is not the dataset's, an
            interrupted training of something else.
        DataError: the loss is no number any more, or a file of the dataset is damaged.
    """
    cluster = Cluster(strategy)
    run = Path(run)
    if os.path.lexists(run):
        raise UserError(f"{run}: already exists; name another run folder or remove this one")
    info = load_info(data)
    info.split("train")
    check_schema(config.schema, info)
    check_labels(config.schema, info)
    chief = cluster.chief
    made = staged_run(run, fingerprint(config, info), restart) if chief else cluster.scratch()
    with made as folder, translate_read_errors(data):
        state = CheckpointFile(folder if chief else staging_path(run))
        trainer = Trainer(config, info, folder, state, progress and chief, cluster)
        return replace(trainer.result(), run=run)

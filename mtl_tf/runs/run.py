"""Loading a run folder, and evaluating it on a dataset."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.files import read_json
from mtl_tf.models.calibrated import calibrated
from mtl_tf.records import DatasetInfo, dataset, load_info
from mtl_tf.records.read import translate_read_errors
from mtl_tf.runs.evaluation import Evaluation, Measurement
from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.runs.id_field import IdField
from mtl_tf.runs.platt import Line
from mtl_tf.transform import FittedTransform

FORMAT = 1
_BATCH_SIZE = 8192


@dataclass(frozen=True)
class Run:
    """A trained model and everything needed to use it.

    Attributes:
        folder: the run folder.
        model: the Keras model, with the weights of the best epoch; calibrated, if training
            was configured to.
        uncalibrated: the model as it was trained; `model` itself if it is not calibrated.
        config: the configuration of the training.
        info: the dataset it was trained on, as `dataset.json` describes it.
        details: the content of `run.json`.
    """

    folder: Path
    model: keras.Model
    uncalibrated: keras.Model
    config: Config
    info: DatasetInfo
    details: dict[str, Any]

    @property
    def calibration(self) -> dict[str, Line]:
        """By calibrated task, (a, b) of p' = σ(a·logit(p) + b)."""
        return {task: (a, b) for task, (a, b) in self.details.get("calibration", {}).items()}

    @property
    def transform(self) -> FittedTransform:
        """The fitted transform, from raw values to model inputs."""
        return self.info.transform

    @property
    def data(self) -> Path:
        """The path that the dataset folder had during training."""
        return Path(self.details["data"]["folder"])


def load_run(run: str | Path) -> Run:
    """Return the run in a folder that `train` wrote; the model is loaded in safe mode.

    Raises:
        UserError: there is no run, its files are damaged, or it was written by another
            version or with the other Keras.
    """
    folder = Path(run)
    details = _read(folder)
    if details.get("format") != FORMAT:
        raise UserError(
            f"{folder / 'run.json'}: expected format {FORMAT}. Received: "
            f"{details.get('format')}; train again with this version"
        )
    for entry in ("keras_2", "config", "data", "epochs"):
        if entry not in details:
            raise UserError(f"{folder / 'run.json'}: entry `{entry}` is missing; train again")
    if details["keras_2"] != LEGACY:
        fix = "unset TF_USE_LEGACY_KERAS" if LEGACY else "set TF_USE_LEGACY_KERAS=1"
        raise UserError(
            f"{folder}: was trained with Keras {2 if details['keras_2'] else 3}; {fix} to load it"
        )
    trained, lines = _model(folder / "model.keras"), details.get("calibration", {})
    return Run(
        folder=folder,
        model=calibrated(trained, lines) if lines else trained,
        uncalibrated=trained,
        config=Config.from_json(details["config"], str(folder / "run.json")),
        info=load_info(folder),
        details=details,
    )


def _model(path: Path) -> keras.Model:
    if not path.is_file():
        raise UserError(f"{path}: the file is missing; restore it or train again")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is not a Keras model, or damaged; restore it or train again")
    return keras.models.load_model(path, safe_mode=True)


def evaluate(run: str | Path | Run, data: str | Path, split: str = "test") -> Metrics:
    """Return the exact metrics of each task over all labeled rows of a split.

    Those of `mtl_tf.runs.metrics.METRICS`, `gauc` if the run's configuration names a
    `group`, and `rows`, the number of labeled rows. Example weights count as in training. A
    metric that is not defined on the split (the AUC of a single class) is left out.

    Raises:
        UserError: no such run, dataset or split; a dataset of another transform.
        DataError: a file of the dataset is damaged.
    """
    return evaluate_in_detail(run, data, split, segments=()).overall.metrics


def evaluate_in_detail(
    run: str | Path | Run,
    data: str | Path,
    split: str = "test",
    *,
    group: str | None = None,
    segments: Sequence[str] | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    uncalibrated: bool = False,
) -> Evaluation:
    """Return the metrics of a split overall and by segment, with intervals if asked for.

    Args:
        run: a run, or its folder.
        data: dataset folder.
        split: of the dataset.
        group: the field of the `gauc`; by default the configuration's.
        segments: fields for each of whose values to measure; by default the configuration's.
        bootstrap: replicates of the bootstrap for 95 % intervals; 0 for none.
        seed: of the bootstrap.
        uncalibrated: measure the scores as they were before calibration.

    Raises:
        UserError: as `evaluate`; or a field that is unknown or has not one id per row.
        DataError: a file of the dataset is damaged.
    """
    loaded = run if isinstance(run, Run) else load_run(run)
    _check_dataset(loaded, data, split)
    configured = loaded.config.evaluation
    group = configured.group if group is None else group
    segments = configured.segments if segments is None else segments
    measurement = Measurement(
        loaded.config.schema.tasks,
        None if group is None else IdField.of(loaded.transform, group),
        [IdField.of(loaded.transform, name) for name in segments],
        bootstrap,
        seed,
    )
    batches = dataset(data, split, _BATCH_SIZE, shuffle=False)
    with translate_read_errors(data):
        model = loaded.uncalibrated if uncalibrated else loaded.model
        evaluator = Evaluator(model, batches, measurement.tasks)
        predictions = evaluator.predict(measurement.fields)
    return measurement.of(predictions)


def _check_dataset(run: Run, data: str | Path, split: str) -> None:
    info = load_info(data)
    info.split(split)
    if info.raw["transform"] != run.info.raw["transform"]:
        raise UserError(
            f"{data}: was preprocessed with another fitted transform than the one "
            f"{run.folder} was trained on; its ids have another meaning. Use the run's "
            "own dataset, or train on this one"
        )


def _read(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        raise UserError(f"{folder}: expected a run folder. Received a file; name its folder")
    if not (folder / "run.json").is_file():
        raise UserError(
            f"{folder}: expected a run folder, with a run.json in it; found none. "
            "`mtl-tf train` writes one"
        )
    return read_json(folder / "run.json", "restore it or train again")

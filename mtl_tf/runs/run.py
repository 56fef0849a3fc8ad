"""Loading a run folder, and evaluating it on a dataset."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.files import read_json
from mtl_tf.records import DatasetInfo, dataset, load_info
from mtl_tf.records.read import translate_read_errors
from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.transform import FittedTransform

FORMAT = 1
_BATCH_SIZE = 8192


@dataclass(frozen=True)
class Run:
    """A trained model and everything needed to use it.

    Attributes:
        folder: the run folder.
        model: the Keras model, with the weights of the best epoch.
        config: the configuration of the training.
        info: the dataset it was trained on, as `dataset.json` describes it.
        details: the content of `run.json`.
    """

    folder: Path
    model: keras.Model
    config: Config
    info: DatasetInfo
    details: dict[str, Any]

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
    import mtl_tf.models  # noqa: F401  registers the layers

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
    return Run(
        folder=folder,
        model=_model(folder / "model.keras"),
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
    """Return the exact metrics of each task over all labelled rows of a split.

    Binary tasks have `auc` and `logloss`, regression tasks `mse` and `mae`, and all have
    `rows`, the number of labelled rows. Example weights count as in training. A metric that
    is not defined on the split (the AUC of a single class) is left out.

    Raises:
        UserError: no such run, dataset or split; a dataset of another transform.
        DataError: a file of the dataset is damaged.
    """
    loaded = run if isinstance(run, Run) else load_run(run)
    info = load_info(data)
    info.split(split)
    if info.raw["transform"] != loaded.info.raw["transform"]:
        raise UserError(
            f"{data}: was preprocessed with another fitted transform than the one "
            f"{loaded.folder} was trained on; its ids have another meaning. Use the run's "
            "own dataset, or train on this one"
        )
    batches = dataset(data, split, _BATCH_SIZE, shuffle=False)
    with translate_read_errors(data):
        return Evaluator(loaded.model, batches, loaded.config.schema.tasks)()


def _read(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        raise UserError(f"{folder}: expected a run folder. Received a file; name its folder")
    if not (folder / "run.json").is_file():
        raise UserError(
            f"{folder}: expected a run folder, with a run.json in it; found none. "
            "`mtl-tf train` writes one"
        )
    return read_json(folder / "run.json", "restore it or train again")

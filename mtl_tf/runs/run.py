"""Run folders: what training leaves behind, and how it is read again."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.config import Config
from mtl_tf.errors import UserError
from mtl_tf.records import DatasetInfo, dataset, load_info
from mtl_tf.records.read import translate_read_errors
from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.transform import FittedTransform

FORMAT = 1
_BATCH_SIZE = 8192


@dataclass(frozen=True)
class Run:
    """A trained model and what it needs to be used.

    Attributes:
        folder: where it was read from.
        model: the Keras model, with the weights of the best epoch.
        config: what it was trained with.
        info: the dataset it was trained on, as `dataset.json` describes it.
        details: the whole of `run.json`.
    """

    folder: Path
    model: keras.Model
    config: Config
    info: DatasetInfo
    details: dict[str, Any]

    @property
    def transform(self) -> FittedTransform:
        """The fitted transform: raw values to model inputs."""
        return self.info.transform

    @property
    def data(self) -> Path:
        """The dataset folder, where it was during training."""
        return Path(self.details["data"]["folder"])


def load_run(run: str | Path) -> Run:
    """The run in a folder, as `train` wrote it; the model is loaded in safe mode.

    Raises:
        UserError: no run there, or one of another version or of the other Keras.
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
        raise UserError(f"{path}: is no Keras model any more; restore it or train again")
    return keras.models.load_model(path, safe_mode=True)


def evaluate(run: str | Path | Run, data: str | Path, split: str = "test") -> Metrics:
    """Metrics by task on one split of a dataset, exact, over all labelled rows.

    Binary tasks: `auc` and `logloss`; regression: `mse` and `mae`; both: `rows`, the
    labelled ones. Example weights count as in training. A metric that the split cannot
    tell (the AUC of a single class) is left out.

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
            f"{loaded.folder} was trained on; its ids mean something else. Give the run's own "
            "dataset, or train on this one"
        )
    batches = dataset(data, split, _BATCH_SIZE, shuffle=False)
    with translate_read_errors(data):
        return Evaluator(loaded.model, batches, loaded.config.schema.tasks)()


def write_json(path: Path, data: Any) -> None:
    """`data` as indented JSON; NaN, which JSON does not have, becomes null."""
    path.write_text(json.dumps(_finite(data), indent=2) + "\n", encoding="utf-8")


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _read(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        raise UserError(f"{folder}: expected a run folder. Received a file; name its folder")
    try:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: expected a run folder, with a run.json in it; found none. "
            "`mtl-tf train` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'run.json'}: cannot be read ({error})") from None
    if not isinstance(data, dict):
        raise UserError(f"{folder / 'run.json'}: expected a JSON object; train again")
    return data

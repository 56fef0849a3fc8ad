"""The whole configuration: the schema, the model and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import pydantic.dataclasses

from mtl_tf.config.calibration import Calibration
from mtl_tf.config.evaluation import Evaluation
from mtl_tf.config.model import MSSM, STRICT, Model
from mtl_tf.config.renamed import WRITTEN_BY_PROGRAM
from mtl_tf.config.training import Training
from mtl_tf.config.yaml import read_yaml
from mtl_tf.errors import UserError, validation_sentence
from mtl_tf.schema import Schema
from mtl_tf.schema.base import refuse_unknown

PARTS = ("model", "training", "evaluation", "calibration")
"""The parts of a configuration beside the schema's own entries."""


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Config:
    """The content of one YAML file: the schema's entries, then the other `PARTS`.

    A dataclass, because pydantic models reserve the name `schema`.
    """

    schema: Schema
    model: Model = MSSM()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    calibration: Calibration = Calibration()

    @pydantic.model_validator(mode="after")
    def _fields_can_part_rows(self) -> Config:
        self.evaluation.check(self.schema)
        return self

    @pydantic.model_validator(mode="after")
    def _one_target(self) -> Config:
        gates = getattr(self.model, "gates", None)
        if self.training.budget and getattr(gates, "target_sparsity", None):
            raise ValueError(
                "`training.budget` decides how many gates are closed; remove "
                "`model.gates.target_sparsity`, or the budget"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, from which `Config.from_json` restores the configuration."""
        parts = {part: getattr(self, part).model_dump(mode="json") for part in PARTS}
        return {"schema": self.schema.to_json(), **parts}

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str = "config") -> Config:
        """Return the configuration that `to_json` wrote, this version's or an earlier one's.

        Options that were renamed since are read silently: a run's file is not edited.

        Raises:
            UserError: names `source`, the entry and the fix.
        """
        return _validated(data, source, WRITTEN_BY_PROGRAM)


def load_config(path: str | Path) -> Config:
    """Return the configuration in a YAML file.

    Raises:
        UserError: names the file, the entry and the fix.
    """
    path = Path(path)
    data = read_yaml(path)
    try:
        refuse_unknown(data, [*Schema.model_fields, *PARTS])
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    parts: dict[str, Any] = {key: data.pop(key) for key in PARTS if key in data}
    return _validated({"schema": data, **parts}, str(path))


def _validated(
    data: Mapping[str, Any], source: str, context: Mapping[str, Any] | None = None
) -> Config:
    parts = {**data, "schema": Schema.from_json(data.get("schema", {}), source)}
    model = parts.get("model")
    if isinstance(model, dict):
        parts["model"] = {"architecture": "mssm", **model}
    try:
        return _ADAPTER.validate_python(parts, context=dict(context or {}))
    except pydantic.ValidationError as error:
        raise UserError(validation_sentence(error, parts, source)) from None


_ADAPTER = pydantic.TypeAdapter(Config)

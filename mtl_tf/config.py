"""One YAML file: the schema, the model and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pydantic.dataclasses
import yaml
from pydantic import Field as _F

from mtl_tf.errors import UserError, validation_sentence
from mtl_tf.model_config import MSSM, STRICT, Gates, Masks, Model, Strict
from mtl_tf.schema import Schema

__all__ = ["MSSM", "Config", "Gates", "Masks", "Model", "Training", "load_config"]

_MAX_CONFIG_BYTES = 1 << 20


class Training(Strict):
    """How `fit` runs."""

    epochs: int = _F(default=5, ge=1)
    batch_size: int = _F(default=1024, ge=1)
    learning_rate: float = _F(default=1e-3, gt=0, allow_inf_nan=False)
    patience: int = _F(default=2, ge=1)
    seed: int = _F(default=0, ge=0)


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Config:
    """What one YAML file holds: the schema's entries, then `model` and `training`.

    A dataclass, because `schema` is taken on a pydantic model.
    """

    schema: Schema
    model: Model = MSSM()
    training: Training = Training()

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Config.from_json` gives the same configuration back."""
        return {
            "schema": self.schema.to_json(),
            "model": self.model.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str = "config") -> Config:
        """The configuration held by `data`; errors name `source`, the entry and the fix."""
        schema = Schema.from_json(data.get("schema", {}), source)
        parts: dict[str, Any] = {k: value for k, value in data.items() if k != "schema"}
        model = parts.get("model")
        if isinstance(model, dict):
            parts["model"] = {"architecture": "mssm", **model}
        try:
            return cls(schema=schema, **parts)
        except pydantic.ValidationError as error:
            raise UserError(validation_sentence(error, parts, source)) from None


def load_config(path: str | Path) -> Config:
    """The configuration in a YAML file; a mistake in it is one `UserError` sentence."""
    path = Path(path)
    data = _read_yaml(path)
    parts = {key: data.pop(key) for key in ("model", "training") if key in data}
    return Config.from_json({"schema": data, **parts}, str(path))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise UserError(f"{path}: larger than 1 MiB; this is not a configuration file")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        reason = getattr(error, "problem", None) or "not UTF-8 text"
        raise UserError(f"{path}{line}: not valid YAML ({reason})") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with `name`, `fields` and `tasks`; got none")
    return data

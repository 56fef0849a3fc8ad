"""One YAML file: the schema, the model and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pydantic.dataclasses
import yaml
from pydantic import Field as _F

from mtl_tf.errors import UserError, validation_sentence
from mtl_tf.schema import Schema

_MAX_CONFIG_BYTES = 1 << 20


Width = Annotated[int, _F(ge=1, le=65536)]
_STRICT = pydantic.ConfigDict(extra="forbid", validate_default=True)


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(**_STRICT, frozen=True)


class Gates(_Strict):
    """Hard-concrete gates on connections (L0 penalty λ0, `penalty`)."""

    penalty: float = _F(default=1e-4, ge=0, allow_inf_nan=False)
    beta: float = _F(default=2 / 3, gt=0, le=1)
    gamma: float = _F(default=-0.1, lt=0)
    zeta: float = _F(default=1.1, gt=1)
    initial_drop: float = _F(default=0.1, gt=0, lt=1)


class Masks(_Strict):
    """Field masks relu(tanh(g·e)); `penalty` is the L1 weight on the mean mask."""

    penalty: float = _F(default=0.0, ge=0, allow_inf_nan=False)


class MSSM(_Strict):
    """MSSM (SIGIR 2021): field masks at the input, vector gates between cells."""

    architecture: Literal["mssm"] = "mssm"
    units: Annotated[tuple[Width, ...], _F(min_length=1)] = (64, 32)
    tower_units: tuple[Width, ...] = (16,)
    activation: str = "relu"
    l2: float = _F(default=0.0, ge=0, allow_inf_nan=False)
    masks: Masks = Masks()
    gates: Gates = Gates()


class Training(_Strict):
    """How `fit` runs."""

    epochs: int = _F(default=5, ge=1)
    batch_size: int = _F(default=1024, ge=1)
    learning_rate: float = _F(default=1e-3, gt=0, allow_inf_nan=False)
    patience: int = _F(default=2, ge=1)
    seed: int = _F(default=0, ge=0)


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class Config:
    """What one YAML file holds: the schema's entries, then `model` and `training`.

    A dataclass, because `schema` is taken on a pydantic model.
    """

    schema: Schema
    model: MSSM = MSSM()
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
        parts = {key: value for key, value in data.items() if key != "schema"}
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

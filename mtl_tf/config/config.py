"""One YAML file: the schema, the model and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic.dataclasses
import yaml
from pydantic import Field as _F

from mtl_tf.config.loss_weighting import FixedWeights, LossWeighting
from mtl_tf.config.model import MSSM, STRICT, Gates, Masks, Model, Strict
from mtl_tf.errors import UserError, validation_sentence
from mtl_tf.schema import Schema
from mtl_tf.schema.base import refuse_unknown

__all__ = ["MSSM", "Config", "Gates", "Masks", "Model", "Training", "load_config"]

_MAX_CONFIG_BYTES = 1 << 20
_PARTS = ("model", "training")  # beside the schema's own entries


class Training(Strict):
    """How `fit` runs.

    `gate_learning_rate` and `mask_learning_rate` are those of the gates (log α) and of
    the field masks (g). They are higher than `learning_rate` because these variables have
    far to go: with Adam a step is about as long as its rate, whatever the penalty.
    `table_optimizer` says how embedding tables move: `adam` like the matrices;
    `row_adagrad` by row-wise Adagrad at `table_learning_rate`, which touches only the rows
    of a batch; `auto` takes the latter where the tables of one width have 65,536 rows or
    more together, so that a step costs the same whatever the vocabulary.
    `loss_weighting` says how the tasks' losses make one step (see `mtl_tf.ranker.loss_weighting`).
    `patience` counts epochs without improvement on the validation rows. `jit_compile`
    compiles the step with XLA; `steps_per_execution` steps run between two looks at the
    progress bar, in Keras 3 as one compiled program. Training rows that take no more than
    `memory_mib`, 4 bytes a value, are read once and held in memory; more are read from the
    files in every epoch. After every `save_steps` steps, and each epoch, is saved what a
    killed training goes on from.

    The penalties of gates and masks rise from 0 to their full weight in the first
    `warm_up_epochs`, which may be a fraction. In the last `fine_tune_epochs` of `epochs`
    gates and masks stay as they are, without samples and penalties, and the rest is
    trained on from the best epoch before. Neither is on by itself: on Census-Income, with
    three seeds, both together changed MSSM's and SNR-Trans's figures no more than a seed does.
    """

    epochs: int = _F(default=5, ge=1)
    batch_size: int = _F(default=1024, ge=1)
    learning_rate: float = _F(default=1e-3, gt=0, allow_inf_nan=False)
    gate_learning_rate: float = _F(default=0.03, gt=0, allow_inf_nan=False)
    mask_learning_rate: float = _F(default=0.03, gt=0, allow_inf_nan=False)
    table_optimizer: Literal["auto", "adam", "row_adagrad"] = "auto"
    table_learning_rate: float = _F(default=0.03, gt=0, allow_inf_nan=False)
    loss_weighting: LossWeighting = FixedWeights()
    patience: int = _F(default=2, ge=1)
    seed: int = _F(default=0, ge=0, lt=2**32)
    jit_compile: bool = True
    steps_per_execution: int = _F(default=16, ge=1)
    memory_mib: int = _F(default=256, ge=0)
    save_steps: int = _F(default=2000, ge=1)
    warm_up_epochs: float = _F(default=0.0, ge=0, allow_inf_nan=False)
    fine_tune_epochs: int = _F(default=0, ge=0)

    @pydantic.model_validator(mode="after")
    def _fine_tuning_comes_last(self) -> Training:
        if self.fine_tune_epochs >= self.epochs:
            raise ValueError(
                f"`fine_tune_epochs` must be less than `epochs`, {self.epochs}; "
                f"received {self.fine_tune_epochs}"
            )
        return self


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
    try:
        refuse_unknown(data, [*Schema.model_fields, *_PARTS])
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    parts: dict[str, Any] = {key: data.pop(key) for key in _PARTS if key in data}
    return Config.from_json({"schema": data, **parts}, str(path))


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, yaml.YAMLError):
        # The reader's own errors, of bytes and characters, have no `problem`.
        return getattr(error, "problem", None) or "not UTF-8 text"
    return "not UTF-8 text" if isinstance(error, UnicodeError) else str(error)  # such as a date's


class _Loader(yaml.SafeLoader):
    """YAML in which an entry given twice is a mistake, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = []
        for entry, _ in node.value:
            if entry.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(entry, deep=True)
            if key in seen:
                problem = f"`{key}` given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, entry.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise UserError(f"{path}: larger than 1 MiB; this is not a configuration file")
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise UserError(f"{path}{line}: not valid YAML ({_reason(error)})") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with `name`, `fields` and `tasks`; found none")
    return data

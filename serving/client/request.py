"""What a request consists of: the model and its version, rows, tasks and schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_tf.errors import UserError, refuse_text
from serving.client.rows import Rows
from serving.protocol import LARGEST_VERSION
from serving.protocol.protos import meta_graph_pb2, model_pb2

if TYPE_CHECKING:
    from mtl_tf.schema import Schema


@dataclass(frozen=True)
class ModelMetadata:
    """A version of a model, and its signatures."""

    version: int
    signatures: Mapping[str, meta_graph_pb2.SignatureDef]


@dataclass(frozen=True)
class ScoreRequest:
    """Rows to score with one signature; all of them share `context`."""

    signature: str
    rows: Rows
    tasks: Sequence[str] | None
    context: Mapping[str, Any] | None = None


def chosen_version(version: int | None, label: str | None) -> int | str | None:
    """Return `version` or `label`, whichever is given.

    Raises:
        UserError: Both are given, or `version` is not a version number.
    """
    if version is not None and label is not None:
        raise UserError("give `version` or `label`, not both")
    if version is None:
        return label
    whole = isinstance(version, (int, np.integer)) and not isinstance(version, bool)
    if not whole or not 0 <= version <= LARGEST_VERSION:
        raise UserError(f"`version` must be the number of a version. Received: {version!r}")
    return int(version)


def model_spec(model: str, chosen: int | str | None, signature: str = "") -> model_pb2.ModelSpec:
    """Return the protocol's name for a version (number or label) of a model."""
    spec = model_pb2.ModelSpec(name=model, signature_name=signature)
    if isinstance(chosen, int):
        spec.version.value = chosen
    elif chosen is not None:
        spec.version_label = chosen
    return spec


def check_tasks(tasks: Sequence[str] | None) -> None:
    """Raise `UserError` unless `tasks` lists one name or more, or is None."""
    refuse_text("tasks", tasks)
    if tasks is not None and not len(tasks):
        raise UserError(
            f"`tasks` must be a list of one name or more, or left out for all. Received: {tasks!r}"
        )


def wanted_tasks(
    spec: model_pb2.ModelSpec, metadata: ModelMetadata, tasks: Sequence[str] | None
) -> list[str]:
    """Return the tasks to score, without repetitions; all of the signature's by default.

    Raises:
        UserError: The model does not have the signature or one of the tasks.
    """
    signature = spec.signature_name
    _require(f"model `{spec.name}` has no signature", [signature], metadata.signatures)
    outputs = metadata.signatures[signature].outputs
    _require(f"model `{spec.name}` has no task", tasks or (), outputs)
    return sorted(outputs) if tasks is None else list(dict.fromkeys(tasks))


def join_scores(
    parts: Sequence[Mapping[str, np.ndarray]], tasks: Sequence[str]
) -> dict[str, np.ndarray]:
    """Concatenate the scores of several requests, by task."""
    empty = np.empty(0, np.float32)
    return {task: np.concatenate([part[task] for part in parts] or [empty]) for task in tasks}


def _require(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{what} `{name}`; it has: {', '.join(sorted(known))}")


def read_schema(source: Schema | Mapping[str, Any] | str | Path | None) -> Schema | None:
    """Return the schema, given as itself, as JSON data or as a file.

    Raises:
        UserError: The file cannot be read as a schema.
    """
    if source is None:
        return None
    from mtl_tf.schema import Schema

    if isinstance(source, Schema):
        return source
    if isinstance(source, Mapping):
        return Schema.from_json(dict(source))
    try:
        return Schema.from_json(json.loads(Path(source).read_text(encoding="utf-8")), str(source))
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: cannot be read as a schema ({error})") from None

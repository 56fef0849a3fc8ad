"""The fingerprint of a training: everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mtl_tf.backend.keras import LEGACY
from mtl_tf.config import Config
from mtl_tf.config.config import PARTS
from mtl_tf.errors import UserError
from mtl_tf.records import DatasetInfo

_MAX_SHOWN = 60  # characters; a dataset's hash tells a person nothing


def fingerprint(config: Config, info: DatasetInfo) -> dict[str, Any]:
    """Return what decides the result of a training: options, dataset and Keras version."""
    return {
        **_deciding_options(config),
        "dataset": dataset_sha256(info),
        "keras": 2 if LEGACY else 3,
    }


def dataset_sha256(info: DatasetInfo) -> str:
    """Return the SHA-256 of a dataset's description."""
    return hashlib.sha256((info.folder / "dataset.json").read_bytes()).hexdigest()


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return the first entry that differs, as a text; None if there is no difference.

    Example:
    >>> difference({"training": {"epochs": 8}}, {"training": {"epochs": 9}})
    '`training.epochs` was 8, now 9'
    """
    return _difference(_with_current_names(before), json.loads(json.dumps(now)))


def _deciding_options(config: Config) -> dict[str, Any]:
    parts = config.to_json()
    del parts["training"]["save_steps"]
    del parts["evaluation"]["segments"]  # only of the finished model
    return parts


def _with_current_names(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint that an earlier version saved, with today's names of options."""
    options = {key: saved[key] for key in ("schema", *PARTS) if key in saved}
    try:
        return {**saved, **_deciding_options(Config.from_json(options))}
    except UserError:  # options of another version: shown as they are
        return dict(saved)


def _difference(before: Any, now: Any, name: str = "") -> str | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            inner = _difference(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
            if inner:
                return inner
        return None
    if before == now:
        return None
    if any(isinstance(value, list) or len(str(value)) > _MAX_SHOWN for value in (before, now)):
        return f"`{name}` has changed"
    return f"`{name}` was {before}, now {now}"

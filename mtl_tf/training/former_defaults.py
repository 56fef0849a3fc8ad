"""Options of an unfinished training that an earlier version started, with other defaults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl_tf.config import Config
from mtl_tf.config.training import FORMER_DEFAULTS
from mtl_tf.training.checkpoint import STATE_FILE
from mtl_tf.training.run_folder import FINGERPRINT_FILE


def with_former_defaults(config: Config, folder: Path) -> Config:
    """Return `config` as the version meant it that started the unfinished training in `folder`.

    Options that `config` does not set, and whose defaults have changed since, keep the value
    with which that training was started. Others decide whether it can be resumed, as ever.
    """
    before = _training_options(folder)
    if before is None or FORMER_DEFAULTS.keys() <= before.keys():
        return config
    unset = FORMER_DEFAULTS.keys() - config.training.model_fields_set
    former = {name: before.get(name, FORMER_DEFAULTS[name]) for name in unset}
    return replace(config, training=config.training.model_copy(update=former))


def _training_options(folder: Path) -> dict[str, Any] | None:
    """The options in the fingerprint of an unfinished training; None without a readable one."""
    if not (folder / STATE_FILE).is_file():
        return None
    try:
        return json.loads((folder / FINGERPRINT_FILE).read_text()).get("training")
    except (OSError, ValueError, AttributeError):
        return None  # damaged: named where the folder is prepared

"""The file of figures that commands write for scripts: `--json FILE`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_tf.errors import UserError


def json_path(path: str | None) -> Path | None:
    """The `--json` file, checked before the long work starts; `UserError` if it cannot be one."""
    if path is None:
        return None
    target = Path(path)
    if not target.parent.is_dir():
        raise UserError(f"--json {path}: folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise UserError(f"--json {path}: is a folder; give a file name")
    if _is_of_its_own(target):
        if not os.access(target, os.W_OK):
            raise UserError(f"--json {path}: cannot be written to; name another file")
    elif not os.access(target.parent, os.W_OK):
        raise UserError(f"--json {path}: folder {target.parent} cannot be written to; name another")
    return target


def _is_of_its_own(path: Path) -> bool:
    """Whether there is more than a file to it: a link, or `/dev/stdout`."""
    return path.exists() and (path.is_symlink() or not path.is_file())


def write_json(path: Path | None, data: Mapping[str, Any]) -> None:
    """Writes `data` whole or not at all; what is no plain file stays what it is."""
    if path is None:
        return
    if _is_of_its_own(path):
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

"""Reading a YAML file, with every mistake in it as one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mtl_tf.errors import UserError

_MAX_BYTES = 1 << 20


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        UserError: the file cannot be read, is larger than 1 MiB, is not valid YAML, gives
            a key twice, or does not hold a mapping; names the line where there is one.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path}: larger than 1 MiB; this is not a configuration file")
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML ({_reason(error)})") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with `name`, `fields` and `tasks`; found none")
    return data


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys instead of keeping the last one."""

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


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, yaml.YAMLError):
        # Errors about bytes and characters have no `problem`.
        return getattr(error, "problem", None) or "not UTF-8 text"
    return "not UTF-8 text" if isinstance(error, UnicodeError) else str(error)  # e.g. a bad date

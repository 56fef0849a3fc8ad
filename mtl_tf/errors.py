"""Errors that are the user's to fix: one sentence, no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line starts without pydantic
    import pydantic


class UserError(Exception):
    """A mistake in what was given: expected, received and fix, in one sentence.

    The command line prints the message alone and exits with `exit_code`;
    in Python it is an ordinary exception.
    """

    exit_code = 2


class DataError(UserError):
    """The data, not the call, is at fault (too many rejected rows, no rows at all)."""

    exit_code = 1


def validation_sentence(error: pydantic.ValidationError, data: Any, source: str) -> str:
    """First problem of `error` as a sentence; entries of lists are named, not numbered."""
    problems = error.errors(include_url=False)
    first = problems[0]
    where = _path(first["loc"], data)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown option; remove it or check its spelling"
    elif first["type"] == "missing":
        message = "required but not given"
    elif first["type"] == "union_tag_invalid":
        union = {key: str(value).strip("'") for key, value in first["ctx"].items()}
        known = union["expected_tags"].replace("'", "")
        message = f"unknown {union['discriminator']} `{union['tag']}`; use one of: {known}"
    elif not first["msg"].startswith("Value error"):
        message = f"{message[0].lower()}{message[1:]}. Received: {_short(first['input'])}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{source}: {where + ': ' if where else ''}{message}{more}"


_TAGS = ("kind", "architecture")  # what the unions of schema and configuration are told apart by


def _path(loc: tuple[int | str, ...], data: Any) -> str:
    parts: list[str] = []
    for step in loc:
        inner = None
        if isinstance(data, dict):
            inner = data.get(step)
        elif isinstance(data, (list, tuple)) and isinstance(step, int) and step < len(data):
            inner = data[step]
        if isinstance(step, int) and isinstance(inner, dict) and inner.get("name"):
            parts[-1:] = [f"{parts[-1].removesuffix('s')} `{inner['name']}`"]
        elif inner is None and isinstance(data, dict) and step in map(data.get, _TAGS):
            continue  # a union's tag, not an entry the user wrote
        else:
            parts[len(parts) - isinstance(step, int) :] = (
                [f"{parts[-1]}[{step}]"] if isinstance(step, int) and parts else [str(step)]
            )
        data = inner if inner is not None else data
    return ", ".join(parts)


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"

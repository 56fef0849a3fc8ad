"""Errors that a user can fix: one sentence, no traceback."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line starts without pydantic
    import pydantic


class UserError(Exception):
    """A wrong call or input: what was expected, what was received and how to fix it.

    The command line prints the message without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class DataError(UserError):
    """Faulty data, such as too many rejected rows or none at all."""

    exit_code = 1


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print a `UserError` of the block as one line on stderr and exit with its code.

    For the `python -m` entries; `mtl-tf` has more cases to handle.

    >>> with exit_on_user_error():
    ...     raise UserError("no such model")
    Traceback (most recent call last):
    SystemExit: 2
    """
    try:
        yield
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def refuse_text(argument: str, names: Any) -> None:
    """Raise `UserError` if one text is given for a list of names.

    Its letters would be taken for names.

    >>> refuse_text("tasks", ["click"])
    >>> refuse_text("tasks", "click")
    Traceback (most recent call last):
    mtl_tf.errors.UserError: `tasks` must be a list of names, such as ['click']. Received: 'click'
    """
    if isinstance(names, str):
        raise UserError(
            f"`{argument}` must be a list of names, such as [{names!r}]. Received: {names!r}"
        )


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return a hint at the known name closest to `name`, to append to a sentence.

    Args:
        name: the unknown name.
        known: the names that exist.
        cutoff: how similar the two must be, from 0 to 1.

    >>> "No command `trian`." + did_you_mean("trian", ["train", "export"])
    'No command `trian`. Did you mean `train`?'
    >>> did_you_mean("x", ["train", "export"])
    ''
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean `{close[0]}`?" if close else ""


_MACHINE = {  # faults of the machine, and what to do about them
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "free some space, or write elsewhere",
    errno.EFBIG: "write elsewhere, or raise the limit of file sizes",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "check its permissions, or name another place",
    errno.EPERM: "check its permissions, or name another place",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "check the path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EIO: "check the disk",
}


def machine_sentence(error: OSError) -> str | None:
    """Return a sentence if the disk or its permissions are at fault, else None.

    >>> machine_sentence(OSError(errno.ENOSPC, "No space left on device", "run/model.keras"))
    'run/model.keras: No space left on device; free some space, or write elsewhere'
    """
    number = error.errno
    if number is None:  # HDF5 has it only in its text
        found = re.match(r"\[Errno (\d+)\]", str(error))
        number = int(found[1]) if found else None
    if number not in _MACHINE:
        return None
    named = error.filename or re.search(r"filename = '([^']+)'", str(error))
    where = named if isinstance(named, (str, bytes, type(None))) else named[1]
    place = f"{os.fsdecode(where)}: " if where else ""
    return f"{place}{os.strerror(number)}; {_MACHINE[number]}"


def validation_sentence(error: pydantic.ValidationError, data: Any, source: str) -> str:
    """Return the first problem of `error` as a sentence; list entries are named, not numbered."""
    problems = error.errors(include_url=False)
    first = problems[0]
    where = _path(first["loc"], data)
    message = _message(first)
    # A list with a bad entry is also reported as too short: that is not a second problem.
    others = [p for p in problems[1:] if p["loc"] != first["loc"][: len(p["loc"])]]
    more = f" (and {len(others)} more)" if others else ""
    return f"{source}: {where + ': ' if where else ''}{message}{more}"


_EXPECTED = {  # in plainer words than pydantic's
    "string_type": "expected text; put it in quotes",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "finite_number": "expected a finite number",
    "tuple_type": "expected a list",
    "model_type": "expected a mapping of options",
    "model_attributes_type": "expected a mapping of options",
    "dataclass_type": "expected a mapping of options",
    "string_pattern_mismatch": (
        "expected lower-case letters, digits and underscores, a letter first"
    ),
    "string_too_short": "expected text of {min_length} or more characters",
    "string_too_long": "expected text no longer than {max_length}",
    "too_short": "expected a list of {min_length} or more",
    "literal_error": "expected {expected}",
    "greater_than_equal": "expected at least {ge}",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "less_than": "expected less than {lt}",
}


def _message(problem: Any) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return "required but not given"
    if kind == "union_tag_not_found":
        return f"{context['discriminator']} is required but not given".replace("'", "`")
    if kind == "union_tag_invalid":
        union = {key: str(value).strip("'") for key, value in context.items()}
        known = union["expected_tags"].replace("'", "")
        return f"unknown {union['discriminator']} `{union['tag']}`; use one of: {known}"
    words = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    expected = _EXPECTED.get(kind, words).format(**context)
    return f"{expected}. Received: {_short(problem['input'])}"


_TAGS = ("kind", "architecture")  # the discriminators of the unions in schema and configuration


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
            continue  # a union's tag, which the user did not write as an entry
        else:
            parts[len(parts) - isinstance(step, int) :] = (
                [f"{parts[-1]}[{step}]"] if isinstance(step, int) and parts else [str(step)]
            )
        data = inner if inner is not None else data
    return ", ".join(parts)


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"

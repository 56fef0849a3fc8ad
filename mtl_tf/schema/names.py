"""Names of fields and tasks, and the error for an unknown one."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from typing import Annotated

import pydantic

from mtl_tf.errors import did_you_mean

Name = Annotated[
    str,
    pydantic.Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=80,
        description="lower-case identifier; becomes a tensor name in the served signature",
    ),
]


def can_be_input(name: str) -> bool:
    """Return True if a served signature can have an input of that name.

    TensorFlow makes it a parameter of a Python function that already has a `self`.
    """
    return name != "self" and not keyword.iskeyword(name)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown field or task, with the closest known name."""
    known = tuple(known)
    return f"Unknown {what} `{name}`.{did_you_mean(name, known)} Known: {', '.join(known)}."

"""Names of fields and tasks, and the answer to one that is not known."""

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
    """Whether a served signature can have an input of that name.

    TensorFlow makes it a parameter of a Python function that has `self` already.
    """
    return name != "self" and not keyword.iskeyword(name)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a field or task of no such name; names the closest one."""
    known = tuple(known)
    return f"Unknown {what} `{name}`.{did_you_mean(name, known)} Known: {', '.join(known)}."

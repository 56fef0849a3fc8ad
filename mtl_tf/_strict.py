"""The base of everything a person writes in a configuration file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import pydantic


class Strict(pydantic.BaseModel):
    """An immutable part of the configuration that refuses unknown options."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _only_known_options(cls, data: Any) -> Any:
        # Ahead of pydantic's own check, which cannot say which options there are.
        if isinstance(data, dict):
            refuse_unknown(data, cls.model_fields)
        return data


def refuse_unknown(given: Iterable[Any], known: Iterable[str]) -> None:
    """A `ValueError` for the first of `given` that is not in `known`."""
    known = tuple(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else "remove it."
            raise ValueError(f"unknown option `{name}`; {hint} Options here: {', '.join(known)}")

"""The base class of all parts of a configuration file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

import pydantic

from mtl_tf.errors import did_you_mean


class StrictModel(pydantic.BaseModel):
    """An immutable part of the configuration that refuses unknown options."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _only_known_options(cls, data: Any) -> Any:
        # Before pydantic's own check, which cannot list the options there are.
        if isinstance(data, dict):
            refuse_unknown(data, cls.model_fields)
            for name, value in data.items():
                if _holds_bool(value) and _takes_numbers(cls.model_fields[name].annotation):
                    raise ValueError(f"`{name}` is a number, not true or false; received {value}")
        return data


def _holds_bool(value: Any) -> bool:
    """Return True if `value` holds a bool, which pydantic would read as the number 1 or 0."""
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_bool, value)))


def _takes_numbers(annotation: Any) -> bool:
    """Return True if an annotation allows numbers, but not bools."""
    kinds = set(_kinds(annotation))
    return bool(kinds & {int, float}) and bool not in kinds


def _kinds(annotation: Any) -> Iterator[Any]:
    parts = get_args(annotation)
    yield from [annotation] if not parts else (kind for part in parts for kind in _kinds(part))


def refuse_unknown(given: Iterable[Any], known: Iterable[str]) -> None:
    """Raise a `ValueError` for the first of `given` that is not in `known`."""
    known = tuple(known)
    for name in given:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ValueError(f"unknown option `{name}`.{hint} Options here: {', '.join(known)}")

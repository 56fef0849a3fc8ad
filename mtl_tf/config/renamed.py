"""Options that had another name in earlier versions, read under both."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic

from mtl_tf.schema.base import StrictModel

WRITTEN_BY_PROGRAM = {"warn": False}
"""Validation context of a file that no person can edit: old names are read silently."""


def is_written_by_program(info: pydantic.ValidationInfo) -> bool:
    """Return True if a validator reads a file that no person can edit."""
    return not (info.context or {}).get("warn", True)


class RenamedOptions(StrictModel):
    """A part of the configuration that also reads the old names of some options.

    Subclasses list them in `renamed`, old name → new name. An old name is read with one
    warning; both names together are an error.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, data: Any, info: pydantic.ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        for old, new in cls.renamed.items():
            if old not in data:
                continue
            if new in data:
                raise ValueError(f"`{old}` is the old name of `{new}`; remove `{old}`")
            if not is_written_by_program(info):
                warnings.warn(
                    f"the option `{old}` is now called `{new}`; please rename it in your "
                    "configuration",
                    UserWarning,
                    stacklevel=2,
                )
            data = {new if key == old else key: value for key, value in data.items()}
        return data

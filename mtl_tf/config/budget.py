"""The `budget` part of a configuration: what the served model may cost."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic
from pydantic import Field as _F

from mtl_tf.schema.base import StrictModel

_UNITS = {"": 1, "B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GiB": 2**30}


def _bytes(value: Any) -> Any:
    """Return `2 MiB` as a number; anything else as it is.

    >>> _bytes("1.5 KiB"), _bytes(200)
    (1536, 200)
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", value.strip())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"expected a size such as 2 MiB or 300000; received {value!r}")
    return round(float(found[1]) * _UNITS[found[2]])


Size = Annotated[int, _F(ge=1), pydantic.BeforeValidator(_bytes)]


class Budget(StrictModel):
    """What the exported model may cost; exactly one of the first three.

    Attributes:
        bytes: of the weights, as a number or such as `2 MiB`.
        parameters: numbers that are not zero.
        microseconds: the compiler's estimate for a request on one core.
        rows: of that request.
    """

    bytes: Size | None = None
    parameters: int | None = _F(default=None, ge=1)
    microseconds: float | None = _F(default=None, gt=0, allow_inf_nan=False)
    rows: int = _F(default=512, ge=1)

    @pydantic.model_validator(mode="after")
    def _is_one(self) -> Budget:
        given = [name for name in ("bytes", "parameters", "microseconds") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                "expected one of `bytes`, `parameters` and `microseconds`; "
                f"received {', '.join(given) or 'none'}"
            )
        return self

    @property
    def limit(self) -> float:
        """The one that is given."""
        return self.bytes or self.parameters or self.microseconds or 0

    def of(self, cost: Any) -> float:
        """Return what it limits, of a `Cost` of the compiler."""
        if self.bytes is not None:
            return cost.bytes
        return cost.parameters if self.parameters is not None else cost.microseconds(self.rows)

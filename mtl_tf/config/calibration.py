"""The `calibration` part of a configuration."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from mtl_tf.schema.base import StrictModel


class Calibration(StrictModel):
    """How the probabilities of a trained model are calibrated; may be the method alone.

    Attributes:
        method: `platt` fits p' = σ(a·logit(p) + b) for each binary task on the validation
            rows, with the weights of the kept epoch; `none` keeps the model's own scores.
    """

    method: Literal["none", "platt"] = "none"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _may_be_the_method(cls, data: Any) -> Any:
        return {"method": data} if isinstance(data, str) else data

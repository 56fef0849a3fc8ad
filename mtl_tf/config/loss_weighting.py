"""`training.loss_weighting`: one class per strategy, selected by `method`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as _F

from mtl_tf.schema.base import StrictModel

Positive = Annotated[float, _F(gt=0, allow_inf_nan=False)]


class FixedWeights(StrictModel):
    """The fixed `weight` of each task."""

    method: Literal["fixed"] = "fixed"


class BaseRateWeights(StrictModel):
    """More weight for tasks with few positives, by the gradients' standard deviation."""

    method: Literal["base_rate"] = "base_rate"
    limit: float = _F(default=10.0, ge=1, allow_inf_nan=False)


class UncertaintyWeights(StrictModel):
    """Uncertainty weighting: a learned log σ² per task (Kendall et al.)."""

    method: Literal["uncertainty"] = "uncertainty"
    learning_rate: Positive = 0.01


class DWA(StrictModel):
    """Dynamic weight averaging over epochs (Liu et al.)."""

    method: Literal["dwa"] = "dwa"
    temperature: Positive = 2.0


class GradNormWeights(StrictModel):
    """Balanced gradient norms at the last shared layer (Chen et al.)."""

    method: Literal["gradnorm"] = "gradnorm"
    alpha: float = _F(default=1.5, ge=0, allow_inf_nan=False)
    learning_rate: Positive = 0.025


class PCGradSurgery(StrictModel):
    """Projection of conflicting gradient components (Yu et al.)."""

    method: Literal["pcgrad"] = "pcgrad"
    seed: int = _F(default=0, ge=0, lt=2**32)


LossWeighting = Annotated[
    FixedWeights | BaseRateWeights | UncertaintyWeights | DWA | GradNormWeights | PCGradSurgery,
    _F(discriminator="method"),
]

"""Loss weighting: one gradient step from the losses of several tasks. One strategy per file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtl_tf.ranker.loss_weighting.base_rate import BaseRate
from mtl_tf.ranker.loss_weighting.dwa import DynamicWeightAverage
from mtl_tf.ranker.loss_weighting.fixed import Fixed
from mtl_tf.ranker.loss_weighting.gradnorm import GradNorm
from mtl_tf.ranker.loss_weighting.pcgrad import PCGrad
from mtl_tf.ranker.loss_weighting.uncertainty import Uncertainty
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting

__all__ = [
    "BaseRate",
    "Batch",
    "DynamicWeightAverage",
    "Fixed",
    "GradNorm",
    "PCGrad",
    "Uncertainty",
    "Weighting",
    "weighting_for",
]

_METHODS = {
    "fixed": Fixed,
    "base_rate": BaseRate,
    "uncertainty": Uncertainty,
    "dwa": DynamicWeightAverage,
    "gradnorm": GradNorm,
    "pcgrad": PCGrad,
}


def weighting_for(config: Any, rates: Mapping[str, float] | None = None) -> Weighting:
    """Create the strategy that `training.loss_weighting` of a configuration names.

    Args:
        config: that part of the configuration.
        rates: the share of positives of each binary task, for `base_rate`.

    Example:
    >>> from mtl_tf.config.loss_weighting import DWA
    >>> weighting_for(DWA(temperature=3.0)).temperature
    3.0
    """
    options = config.model_dump(exclude={"method"})
    if config.method == "base_rate":
        options["rates"] = rates or {}
    return _METHODS[config.method](**options)

"""Loss weighting: one gradient step from the losses of several tasks. One strategy per file."""

from __future__ import annotations

from typing import Any

from mtl_tf.ranker.loss_weighting.dwa import DynamicWeightAverage
from mtl_tf.ranker.loss_weighting.fixed import Fixed
from mtl_tf.ranker.loss_weighting.gradnorm import GradNorm
from mtl_tf.ranker.loss_weighting.pcgrad import PCGrad
from mtl_tf.ranker.loss_weighting.uncertainty import Uncertainty
from mtl_tf.ranker.loss_weighting.weighting import Batch, Weighting

__all__ = [
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
    "uncertainty": Uncertainty,
    "dwa": DynamicWeightAverage,
    "gradnorm": GradNorm,
    "pcgrad": PCGrad,
}


def weighting_for(config: Any) -> Weighting:
    """Create the strategy that `training.loss_weighting` of a configuration names.

    Example:
    >>> from mtl_tf.config.loss_weighting import DWA
    >>> weighting_for(DWA(temperature=3.0)).temperature
    3.0
    """
    return _METHODS[config.method](**config.model_dump(exclude={"method"}))

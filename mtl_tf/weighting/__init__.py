"""Loss weighting: how several tasks' losses make one step. One strategy per file."""

from mtl_tf.weighting.fixed import Fixed
from mtl_tf.weighting.weighting import Batch, Weighting

__all__ = ["Batch", "Fixed", "Weighting"]

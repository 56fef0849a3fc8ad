"""The optimizer: Adam, with row-wise Adagrad for large embedding tables."""

from mtl_tf.ranker.optimizers.adam import Adam
from mtl_tf.ranker.optimizers.build import optimizer_for

__all__ = ["Adam", "optimizer_for"]

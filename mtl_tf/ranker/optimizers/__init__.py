"""What moves the variables: Adam, large embedding tables row by row."""

from mtl_tf.ranker.optimizers.adam import Adam
from mtl_tf.ranker.optimizers.build import optimizer_for

__all__ = ["Adam", "optimizer_for"]

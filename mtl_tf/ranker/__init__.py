"""The trained model and one step of it: losses, task reachability, optimizers."""

from mtl_tf.ranker.ranker import Ranker

__all__ = ["Ranker"]

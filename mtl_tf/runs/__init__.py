"""Run folders, which training writes: loading and evaluating them."""

from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.runs.run import Run, evaluate, load_run

__all__ = ["Evaluator", "Metrics", "Run", "evaluate", "load_run"]

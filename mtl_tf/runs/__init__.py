"""Run folders: what training leaves behind, read again and measured."""

from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.runs.run import Run, evaluate, load_run

__all__ = ["Evaluator", "Metrics", "Run", "evaluate", "load_run"]

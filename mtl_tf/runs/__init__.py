"""Run folders, which training writes: loading and evaluating them."""

from mtl_tf.runs.evaluation import Evaluation, Measured
from mtl_tf.runs.evaluator import Evaluator, Metrics
from mtl_tf.runs.run import Run, evaluate, evaluate_in_detail, load_run

__all__ = [
    "Evaluation",
    "Evaluator",
    "Measured",
    "Metrics",
    "Run",
    "evaluate",
    "evaluate_in_detail",
    "load_run",
]

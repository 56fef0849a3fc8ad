"""The inference compiler: a trained model as a small plan, and the plan as a graph.

    plan = capture(model)                # Keras layers -> nodes with named NumPy weights
    plan, reports = optimize(plan)       # what the gates closed is removed; the rest is fused
    module = lower(plan)                 # a tf.Module that TensorFlow Serving can load

Its rooms: `ir` (the plan), `capture` (from Keras), `passes` (plan → plan), `lowering` (to
TensorFlow) and `analysis` (what a plan shares and costs).

`plan.scores(features)` is the truth that all of these keep.
"""

from mtl_tf.compiler.analysis.sharing import sharing
from mtl_tf.compiler.analysis.task_cost import cost_per_task
from mtl_tf.compiler.capture import NotCapturableError, capture, capture_layer
from mtl_tf.compiler.ir.nodes import InputSpec
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import Cost, cost
from mtl_tf.compiler.lowering.tensorflow import LoweredModule, lower
from mtl_tf.compiler.passes.optimize import optimize
from mtl_tf.compiler.passes.report import PassReport

__all__ = [
    "Cost",
    "InputSpec",
    "LoweredModule",
    "NotCapturableError",
    "PassReport",
    "Plan",
    "capture",
    "capture_layer",
    "cost",
    "cost_per_task",
    "lower",
    "optimize",
    "sharing",
]

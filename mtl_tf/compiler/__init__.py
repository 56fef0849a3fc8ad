"""The inference compiler: a trained model as a small plan, and the plan as a graph.

    plan = capture(model)                # Keras layers -> nodes with NumPy weights
    plan, reports = optimize(plan)       # what the gates closed leaves; the rest is fused
    module = lower(plan)                 # a tf.Module that TensorFlow Serving can load

`plan.scores(features)` is the truth that all of these keep.
"""

import mtl_tf.compiler.capture.routing_layers  # noqa: F401 (registers its functions)
from mtl_tf.compiler.analysis.sharing import sharing
from mtl_tf.compiler.analysis.task_cost import tasks_alone
from mtl_tf.compiler.capture.layers import capture_layer
from mtl_tf.compiler.capture.tracer import NotCapturableError, capture
from mtl_tf.compiler.ir.nodes import Feature
from mtl_tf.compiler.ir.plan import Plan
from mtl_tf.compiler.lowering.cost import Cost, cost
from mtl_tf.compiler.lowering.tensorflow import LoweredModule, lower
from mtl_tf.compiler.passes.pipeline import PassReport, optimize

__all__ = [
    "Cost",
    "Feature",
    "LoweredModule",
    "NotCapturableError",
    "PassReport",
    "Plan",
    "capture",
    "capture_layer",
    "cost",
    "lower",
    "optimize",
    "sharing",
    "tasks_alone",
]

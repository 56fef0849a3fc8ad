"""The inference compiler: a trained model as a small plan, and the plan as a graph.

    plan = capture(model)                # Keras layers -> nodes with NumPy weights
    plan, reports = optimize(plan)       # what the gates closed leaves; the rest is fused
    module = lower(plan)                 # a tf.Module that TensorFlow Serving can load

`plan.scores(features)` is the truth that all of these keep.
"""

import mtl_tf.inference.capture_routing  # noqa: F401 (registers its functions)
from mtl_tf.inference.alone import tasks_alone
from mtl_tf.inference.capture import NotCapturableError, capture
from mtl_tf.inference.capture_layer import capture_layer
from mtl_tf.inference.cost import Cost, cost
from mtl_tf.inference.lower import LoweredModule, lower
from mtl_tf.inference.nodes import Feature
from mtl_tf.inference.optimize import PassReport, optimize
from mtl_tf.inference.plan import Plan
from mtl_tf.inference.sharing import sharing

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

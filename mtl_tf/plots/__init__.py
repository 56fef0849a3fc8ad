"""Pictures of what a run learned, as PNG and SVG.

    drawn = draw_run("run", "pictures")

    masks    how much of each field each sub-network reads
    routing  fields → sub-networks → tasks, as far as connections are open
    gates    P(z≠0) of each connection over training
    curves   each task's losses and metrics over training

A figure is a matplotlib `Figure` without pyplot: nothing global is changed, no window
opens, and the same run gives the same SVG, byte for byte.
"""

from mtl_tf.plots.curves import gate_curves, task_curves
from mtl_tf.plots.mask_heatmap import MaskCell, mask_heatmap
from mtl_tf.plots.plan import draw_plans, plan_graph
from mtl_tf.plots.routing import routing_graph
from mtl_tf.plots.run import Drawn, draw_run
from mtl_tf.plots.sharing_log import SharingRow, read_sharing_log

__all__ = [
    "Drawn",
    "MaskCell",
    "SharingRow",
    "draw_plans",
    "draw_run",
    "gate_curves",
    "mask_heatmap",
    "plan_graph",
    "read_sharing_log",
    "routing_graph",
    "task_curves",
]

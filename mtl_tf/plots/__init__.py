"""Plots of what a run learned and what an export serves, as PNG and SVG.

    drawn = draw_run("run", "pictures")

    masks    how much of each field each sub-network reads
    routing  open connections from fields through sub-networks to tasks
    gates    P(z≠0) of each connection over training
    curves   each task's losses and metrics over training

A figure is a matplotlib `Figure` made without pyplot: no global state changes, no window
opens, and the same run gives the same SVG, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtl_tf.plots.curves import gate_curves, task_curves
from mtl_tf.plots.mask_heatmap import MaskCell, mask_heatmap
from mtl_tf.plots.plan import draw_plans, plan_graph
from mtl_tf.plots.sharing_log import SharingRow, read_sharing_log

if TYPE_CHECKING:
    from mtl_tf.plots.routing import routing_graph
    from mtl_tf.plots.run import Drawn, draw_run

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


def __getattr__(name: str) -> Any:
    # These need the compiler, which imports TensorFlow; the plots of an export do not.
    if name in ("Drawn", "draw_run"):
        from mtl_tf.plots import run

        return getattr(run, name)
    if name == "routing_graph":
        from mtl_tf.plots.routing import routing_graph

        return routing_graph
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

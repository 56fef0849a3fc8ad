"""All plots of a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mtl_tf.compiler import Plan, capture, passes, sharing
from mtl_tf.compiler.analysis.routing import Routing, routing
from mtl_tf.compiler.ir.nodes import Affine, Mask
from mtl_tf.plots.curves import gate_curves, task_curves
from mtl_tf.plots.dimension_bars import dimension_bars
from mtl_tf.plots.mask_heatmap import MaskCell, mask_heatmap
from mtl_tf.plots.routing import routing_graph
from mtl_tf.plots.sharing_log import SharingRow, read_sharing_log
from mtl_tf.plots.style import save
from mtl_tf.runs import Run, load_run


@dataclass(frozen=True)
class Drawn:
    """The result of `draw_run`.

    Attributes:
        files: NAME.png and NAME.svg of each plot.
        missing: plot -> why there is nothing to draw.
    """

    files: tuple[Path, ...]
    missing: Mapping[str, str]


def draw_run(run: str | Path | Run, folder: str | Path, plan: Plan | None = None) -> Drawn:
    """Write the plots of a run, and name those that do not apply to its architecture.

    Masks and routing are of the kept weights. Existing files are replaced.

    Args:
        run: a run folder, or a run from `load_run`.
        folder: where to write; created if needed.
        plan: the run's plan, if the caller has captured it already.

    Raises:
        UserError: no such run, or it is damaged.
    """
    loaded = run if isinstance(run, Run) else load_run(run)
    plan = capture(loaded.model) if plan is None else plan
    rows = read_sharing_log(loaded.folder / "gates.csv")
    name = loaded.config.model.architecture
    kept = loaded.details["best_epoch"]
    note = f"{loaded.config.schema.name}, {name}, weights of epoch {kept}"
    means = {(r.to, r.source): r.open for r in rows if r.is_mask and r.epoch == kept}
    figures: dict[str, Figure] = {}
    missing: dict[str, str] = {}
    masks = _masks(plan, means)
    if masks:
        figures["masks"] = mask_heatmap(masks, note)
    else:
        missing["masks"] = f"{name} has no field masks: every sub-network reads every field"
    figures["routing"] = routing_graph(_weighed(routing(plan), means), note)
    tasks = {task.name: task.kind for task in loaded.config.schema.tasks}
    towers = [task.name for task in loaded.config.schema.tasks if not task.probability_of]
    gates = [_named(row, towers) for row in rows if not (row.is_mask or row.is_dimensions)]
    if gates:
        figures["gates"] = gate_curves(gates, kept)
    elif _is_gated(plan):
        missing["gates"] = f"no gates in {loaded.folder / 'gates.csv'}, which training writes"
    else:
        missing["gates"] = f"{name} has no gates: no connection can close"
    if dimensions := [row for row in rows if row.is_dimensions and row.epoch == kept]:
        figures["dimensions"] = dimension_bars(dimensions, note)
    figures["curves"] = task_curves(loaded.details["epochs"], tasks, kept)
    return Drawn(tuple(save(figures, Path(folder))), missing)


def _named(row: SharingRow, towers: Sequence[str]) -> SharingRow:
    """Return the row with names for SNR's numbered sub-networks and towers."""
    to, source = (f"shared {name}" if name.isdigit() else name for name in (row.to, row.source))
    if row.to.isdigit() and row.layer == "Routing_towers":
        to = towers[int(row.to)]
    return row._replace(to=to, source=source)


_Means = Mapping[tuple[str, str], float]  # (reader, field) -> mean mask over some rows


def _masks(plan: Plan, means: _Means) -> dict[str, dict[str, MaskCell]]:
    """Return reader -> field -> cell; the mean is the open share if none was recorded."""
    if not any(isinstance(node, Mask) for node in plan.nodes):
        return {}
    found: dict[str, Any] = sharing(plan)
    return {
        (reader := found["labels"][cell]): {
            field: MaskCell(means.get((reader, field), share), share)
            for field, share in fields.items()
        }
        for cell, fields in found["fields"].items()
    }


def _is_gated(plan: Plan) -> bool:
    """Return True if a connection has a gate."""
    nodes = passes.fold_dimension_gates(plan).nodes
    affines = (node for node in nodes if isinstance(node, Affine))
    return any(edge.gate is not None for node in affines for edge in node.edges)


def _weighed(found: Routing, means: _Means) -> Routing:
    """Return the routing with the fields' links as strong as their mean masks."""
    labels = {block.name: block.label for block in found.blocks}
    return replace(
        found,
        links=tuple(
            replace(link, strength=means.get((labels[link.target], link.source), link.strength))
            for link in found.links
        ),
    )

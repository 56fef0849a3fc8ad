"""Plot of a plan: the fields, lookups and products of which a score is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from mtl_tf.plots.style import FAINT, SHARED, colours, new_figure, save, styled

_ROW = 0.21  # inches that a field takes
_BOX_HEIGHT, _BOX_GAP = 0.42, 0.14  # inches
_LETTER = 0.066  # inches
_GAP = 1.25  # inches between two columns of boxes
_FIRST_LEVELS = 1


@dataclass
class _Box:
    """A node, or nodes that are drawn as one.

    `reads`: box or field -> numbers in the matrix between; `closed`: those of them that
    nothing comes from.
    """

    lines: tuple[str, str]
    reads: dict[str, float] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    level: int = _FIRST_LEVELS
    task: str | None = None


@styled
def plan_graph(
    plan: Mapping[str, Any], title: str, note: str = "", fields: Iterable[str] = ()
) -> Figure:
    """Draw fields on the left, then every lookup, mask and product, and tasks on the right.

    A field with a table of its own is one line; masks with the same readers are one box.
    A link is the wider, the larger its matrix; a closed one is dotted.

    Args:
        plan: the result of `Plan.to_json`.
        title: of the plot.
        note: a line below it.
        fields: fields to show even if the plan does not read them, in a pale color, so that
            two plans have the same lines.
    """
    rows, boxes = _boxes(plan["nodes"])
    names = list(dict.fromkeys([*fields, *rows]))
    last = max((box.level for box in boxes.values()), default=1)
    columns = [[n for n, b in boxes.items() if b.level == i] for i in range(1, last + 1)]
    tallest = max(len(column) for column in columns)
    height = max(_ROW * len(names), (_BOX_HEIGHT + _BOX_GAP) * tallest, 1.2)
    texts = {name: f"{name}  {rows.get(name, '')}".strip() for name in names}
    letters = max(len(line) for box in boxes.values() for line in box.lines)
    width = 1.12 * _LETTER * letters + 0.2  # bold ones are wider
    left = _LETTER * max(map(len, texts.values())) + 0.2
    figure = new_figure(left + (width + _GAP) * last + 0.3, height + 0.9, title)
    axes = figure.add_subplot()
    axes.set_title(note, fontsize=9, color="#333333")
    axes.set_axis_off()
    axes.set_xlim(-left, (width + _GAP) * last + 0.1)
    axes.set_ylim(-height, 0.1)
    places = {n: (0.0, -height * (i + 0.5) / len(names)) for i, n in enumerate(names)}
    for level, column in enumerate(columns, start=1):
        for index, name in enumerate(column):
            x = (width + _GAP) * level - width / 2
            places[name] = (x, -height * (index + 0.5) / len(column))
    paint = colours(box.task for box in boxes.values() if box.task)
    _links(axes, boxes, rows, places, width, paint)
    for name in names:
        ink = "black" if name in rows else FAINT
        where = {"ha": "right", "va": "center", "fontsize": 8, "color": ink}
        axes.text(0.0, places[name][1], texts[name], **where)
    for name, box in boxes.items():
        _draw(axes, box, places[name], width, paint)
    return figure


def draw_plans(plans: Mapping[str, Any], report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the plots `plan_before` and `plan_after` of an exported version.

    Args:
        plans: its `plan.json`.
        report: its `export_report.json`.
        folder: where to write; created if needed.
    """
    fields = list(plans["before"]["features"])
    figures = {}
    for when, title in {"before": "The plan as trained", "after": "The plan as served"}.items():
        note = ", ".join(
            [
                f"{report['name']}, version {report['version']}",
                f"{report['parameters'][when]:,} parameters",
                f"{report['flops'][when]:,} FLOPs per row",
                f"{report['ops']['ids'][when]:,} operations",
            ]
        )
        figures[f"plan_{when}"] = plan_graph(plans[when], title, note, fields)
    return save(figures, folder)


def _boxes(nodes: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, _Box]]:
    """Return the fields with the size of their lookup, and the boxes by name, left to right."""
    rows: dict[str, str] = {}
    boxes: dict[str, _Box] = {}
    home: dict[str, str] = {}  # node -> box or field that shows it
    readers = _readers(nodes)
    for node in nodes:
        kind, name = node["kind"], node["name"]
        if kind in ("embed", "numeric") and len(node["fields"]) == 1:
            home[name] = node["fields"][0]
            size = f"{node['rows']:,} × " if kind == "embed" else ""
            rows[home[name]] = f"{size}{node['width']}"
            continue
        key = f"masks of {', '.join(readers.get(name, ()))}" if kind == "mask" else name
        home[name] = key
        box = boxes.setdefault(key, _Box(_lines(node, key)))
        for source, numbers in _reads(node):
            if source not in home:  # a field of several that one node looks up
                rows.setdefault(source, "")
            at = home.get(source, source)
            box.reads[at] = box.reads.get(at, 0.0) + numbers
        if kind == "mask":
            what = "masks" if len(box.reads) > 1 else "mask"
            box.lines = (f"{len(box.reads)} {what}", key.removeprefix("masks "))
        edges = node["edges"] if kind == "affine" else ()
        shut = {home[edge["source"]] for edge in edges if not edge.get("open", True)}
        box.closed |= shut - {home[edge["source"]] for edge in edges if edge.get("open", True)}
        box.level = 1 + max((boxes[s].level for s in box.reads if s in boxes), default=0)
        box.task = node.get("task")
    last = max((box.level for box in boxes.values()), default=1)
    for box in boxes.values():
        if box.task:
            box.level = last
    return rows, boxes


def _readers(nodes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in nodes:
        for source, _ in _reads(node):
            found.setdefault(source, []).append(node["name"])
    return found


def _reads(node: Mapping[str, Any]) -> list[tuple[str, float]]:
    kind = node["kind"]
    if kind in ("embed", "numeric", "projected"):
        return [(name, 0.0) for name in node["fields"]]
    if kind == "affine":
        return [(edge["source"], _numbers(edge["weight"])) for edge in node["edges"]]
    if kind == "mix":
        places = (*node["experts"], *node["gates"])
        return [(name, 0.0) for name in dict.fromkeys(source for source, _ in places)]
    if kind == "opaque":
        return [(name, 0.0) for name in (*node["features"], *node["sources"])]
    if kind == "output":
        return [(node["source"], 0.0), *((name, 0.0) for name, _ in node.get("times", ()))]
    return [(name, 0.0) for name in (node["source"], *node.get("fields", ()))]


def _numbers(shape: Sequence[int]) -> float:
    return float(shape[0] * shape[1]) if len(shape) == 2 else 0.0


def _lines(node: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Return the two lines of a box: the node's name and its operation."""
    kind, width = node["kind"], node["width"]
    if kind == "output":
        product = f"{1 + len(node['times'])} × " if node.get("times") else ""
        return node["task"], f"{product}{node['link']}"
    if kind == "affine":
        inner = sum(edge["weight"][0] for edge in node["edges"] if len(edge["weight"]) == 2)
        what = f"{inner} → {width}" if inner else f"{len(node['edges'])} sums of {width}"
        gated = " gated" if any(edge["gate"] for edge in node["edges"]) else ""
        activation = "" if node["activation"] == "linear" else f" {node['activation']}"
        return _short(key), f"{what}{gated}{activation}"
    if kind == "projected":
        return _short(key), f"adds {len(node['fields'])} rows of {width}"
    if kind == "embed":
        masked = ", masked" if node.get("masks") else ""
        return _short(key), f"{len(node['fields'])} fields, {node['rows']:,} rows{masked}"
    if kind == "mix":
        readers, experts = len(node["gates"]), len(node["experts"])
        mixed = f"mixes {experts} × {width // readers}"
        return _short(key), mixed if readers == 1 else f"{mixed} for {readers} readers"
    return _short(key), f"{kind}, {width} wide"


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"


def _links(
    axes: Any,
    boxes: Mapping[str, _Box],
    rows: Mapping[str, str],
    places: Mapping[str, tuple[float, float]],
    width: float,
    paint: Mapping[str, str],
) -> None:
    largest = max((n for box in boxes.values() for n in box.reads.values()), default=1.0) or 1.0
    for name, box in boxes.items():
        x1, y1 = places[name][0] - width / 2, places[name][1]
        for source, numbers in box.reads.items():
            from_field = source in rows
            x0, y0 = places[source]
            x0 += 0.08 if from_field else width / 2
            middle = (x0 + x1) / 2
            points = [(x0, y0), (middle, y0), (middle, y1), (x1, y1)]
            curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
            axes.add_patch(
                PathPatch(
                    curve,
                    fill=False,
                    edgecolor=paint.get(box.task or "", SHARED),
                    linestyle="dotted" if source in box.closed else "solid",
                    linewidth=0.4 if from_field else 0.8 + 3.0 * (numbers / largest) ** 0.5,
                    alpha=0.5,
                    capstyle="butt",
                )
            )


def _draw(
    axes: Any, box: _Box, place: tuple[float, float], width: float, paint: Mapping[str, str]
) -> None:
    x, y = place
    colour = paint.get(box.task or "", SHARED)
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - _BOX_HEIGHT / 2),
            width,
            _BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=colour if box.task else "white",
            edgecolor=colour,
            linewidth=1.2,
            zorder=3,
        )
    )
    ink = "white" if box.task else "black"
    above = {"ha": "center", "va": "center", "color": ink, "zorder": 4}
    axes.text(x, y + 0.09, box.lines[0], fontsize=8, fontweight="bold", **above)
    axes.text(x, y - 0.09, box.lines[1], fontsize=7.5, **above)

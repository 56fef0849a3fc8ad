"""The routing graph: open connections from fields through sub-networks to tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from mtl_tf.compiler.analysis.routing import Block, Link, Routing
from mtl_tf.plots.style import FAINT, SHARED, colours, new_figure, styled

_TITLE = "What reaches each task"
_KEY = (
    "width: mean gate, or mean |α| of a stitch; of a field the mean mask, drawn thinner\n"
    "what is closed is not drawn"
)
_DASHED = (0, (4, 2))
_ROW = 0.21  # inches that a field takes
_LETTER = 0.074  # inches of a letter in a box
_GAP = 1.35  # inches between two columns of boxes
_BOX_HEIGHT = 0.30  # inches
_WIDEST = {"field": 2.4, "network": 5.5}  # points, at strength 1
_THINNEST = 0.3
_MIXED = 1.6


@styled
def routing_graph(routing: Routing, note: str = "") -> Figure:
    """Draw the open links between fields, sub-networks and tasks; stronger ones are wider.

    Args:
        routing: of a plan, from `mtl_tf.compiler.analysis.routing.routing`.
        note: a line below the title.
    """
    last = len(routing.titles) - 1
    fields = routing.level(0)
    tallest = max(len(routing.level(level)) for level in range(1, last + 1))
    height = max(_ROW * len(fields), 0.5 * tallest, 1.2)
    names = 0.066 * max(len(_field_text(block)) for block in fields) + 0.2
    box = _LETTER * max(4, *(len(b.label) for b in routing.blocks if b.level)) + 0.25
    column = box + _GAP
    figure = new_figure(names + column * last + box / 2 + 0.3, height + 1.5, _TITLE)
    axes = figure.add_subplot()
    axes.set_title(note, fontsize=9, color="#333333")
    axes.set_axis_off()
    axes.set_xlim(-names, column * last + box / 2 + 0.1)
    axes.set_ylim(-height, 0.35)
    places = _places(routing, height, column)
    # Products have a column of their own, after that of the tasks with a tower.
    paint = colours(block.name for block in routing.blocks if _is_task(block))
    pen = _Pen(axes, places, paint, box)
    blocks = {block.name: block for block in routing.blocks}
    for link in routing.links:
        pen.link(link, blocks[link.source], blocks[link.target])
    for block in routing.blocks:
        (pen.box if block.level else pen.field)(block)
    for level, title in enumerate(routing.titles):
        where = {"ha": "center" if level else "right", "x": column * level}
        axes.text(s=title, y=0.15, color="#333333", fontstyle="italic", **where)
    _legend(figure, routing)
    return figure


def _places(routing: Routing, height: float, column: float) -> dict[str, tuple[float, float]]:
    """Return the center of each block in inches; y grows upwards from -height to 0."""
    places = {}
    for level in range(len(routing.titles)):
        blocks = routing.level(level)
        for index, block in enumerate(blocks):
            places[block.name] = (column * level, -height * (index + 0.5) / len(blocks))
    return places


@dataclass(frozen=True)
class _Pen:
    """Draws blocks and links, with a color per task (`paint`) and boxes of one `width`."""

    axes: Any
    places: Mapping[str, tuple[float, float]]
    paint: Mapping[str, str]
    width: float

    def link(self, link: Link, source: Block, target: Block) -> None:
        (x0, y0), (x1, y1) = self.places[link.source], self.places[link.target]
        x0 += self.width / 2 if source.level else 0.1
        x1 -= self.width / 2
        middle = (x0 + x1) / 2
        curve = Curve(
            [(x0, y0), (middle, y0), (middle, y1), (x1, y1)],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        # A field belongs to nobody: its links have the colour of what they lead to.
        colour = self._colour(source if source.level else target)
        self.axes.add_patch(
            PathPatch(
                curve,
                fill=False,
                edgecolor=colour if source.used and target.used else FAINT,
                linewidth=_width(link.strength, "network" if source.level else "field"),
                linestyle=_DASHED if link.strength is None else "solid",
                alpha=0.75 if source.level else 0.55,
                capstyle="butt",
            )
        )

    def field(self, block: Block) -> None:
        x, y = self.places[block.name]
        colour = "black" if block.used else FAINT
        text = _field_text(block)
        self.axes.text(x, y, text, ha="right", va="center", fontsize=8, color=colour)
        if block.used:
            self.axes.plot([x + 0.08], [y], marker="o", markersize=2.5, color="#333333")

    def box(self, block: Block) -> None:
        x, y = self.places[block.name]
        colour = self._colour(block) if block.used else FAINT
        is_task = _is_task(block)
        self.axes.add_patch(
            FancyBboxPatch(
                (x - self.width / 2, y - _BOX_HEIGHT / 2),
                self.width,
                _BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=colour if is_task else "white",
                edgecolor=colour,
                linestyle="solid" if block.used else "dotted",
                linewidth=1.4,
                zorder=3,
            )
        )
        ink = "white" if is_task else "black" if block.used else FAINT
        weight = "bold" if is_task else "normal"
        where = {"ha": "center", "va": "center", "fontsize": 8.5, "zorder": 4}
        self.axes.text(x, y, block.label, color=ink, fontweight=weight, **where)

    def _colour(self, block: Block) -> str:
        return self.paint.get(block.owner or "", SHARED)


def _is_task(block: Block) -> bool:
    return block.owner == block.name


def _field_text(block: Block) -> str:
    return block.label if block.used else f"{block.label} (unread)"


def _width(strength: float | None, kind: str) -> float:
    if strength is None:
        return _MIXED
    return _THINNEST + (_WIDEST[kind] - _THINNEST) * strength


def _legend(figure: Figure, routing: Routing) -> None:
    """Explain the width of lines, and dashed lines."""
    handles = [
        Line2D([], [], color=SHARED, linewidth=_width(share, "network"), label=f"{share:.0%}")
        for share in (0.1, 0.5, 1.0)
    ]
    if any(link.strength is None for link in routing.links):
        label = "mixed per example"
        handles.append(Line2D([], [], color=SHARED, lw=_MIXED, ls=_DASHED, label=label))
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        title=_KEY,
        title_fontproperties={"size": 8},
    )
    legend.get_title().set_multialignment("center")

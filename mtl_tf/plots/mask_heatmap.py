"""Heat map of fields × sub-networks: how much of each field each sub-network reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtl_tf.plots.style import FAINT, MAP, new_figure, styled

_ROW, _COLUMN = 0.23, 0.95  # inches
_LONGEST_FLAT = 13  # letters of a reader's name that fit into a column
_LEGIBLE_ROWS = 120  # with more, the names of fields overlap


class MaskCell(NamedTuple):
    """One field and one reader.

    Attributes:
        mean: mean mask over some rows, from 0 to 1.
        open: share of the field's values that the mask lets through; 0 is closed.
    """

    mean: float
    open: float


@styled
def mask_heatmap(
    readers: Mapping[str, Mapping[str, MaskCell]], note: str = "", figures: bool = True
) -> Figure:
    """Draw the mean masks as a heat map, with the share of open values in each cell.

    Args:
        readers: reader -> field -> its cell; an absent field is closed.
        note: a line below the title, such as the epoch.
        figures: write the shares into the cells; without them it draws faster.
    """
    names = list(dict.fromkeys(name for fields in readers.values() for name in fields))
    shut = MaskCell(0.0, 0.0)
    cells = [[fields.get(name, shut) for fields in readers.values()] for name in names]
    means = np.array([[c.mean if c.open else np.nan for c in row] for row in cells])
    rows = min(len(names), _LEGIBLE_ROWS)
    longest = max(len(name) for name in names)
    figure = new_figure(
        2.0 + 0.075 * longest + _COLUMN * len(readers),
        1.9 + _ROW * rows,
        "How much of each field each sub-network reads",
    )
    axes = figure.add_subplot()
    axes.set_title(note, fontsize=9, color="#333333", pad=10)
    colours = matplotlib.colormaps[MAP].with_extremes(bad="white")
    image = axes.imshow(means, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    tilt = {"rotation": 30, "ha": "left", "rotation_mode": "anchor"}
    long = max(len(reader) for reader in readers) > _LONGEST_FLAT
    axes.set_xticks(range(len(readers)), list(readers), **(tilt if long else {}))
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _grid(axes, len(names), len(readers))
    if figures and len(names) <= _LEGIBLE_ROWS:
        _write(axes, cells)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / (_ROW * rows)), aspect=14)
    bar.set_label("mean mask over rows")
    bar.outline.set_visible(False)
    if figures:
        figure.supxlabel(
            "in the cells: share of the field's values let through; · is closed",
            fontsize=8,
            color="#333333",
        )
    return figure


def _write(axes: Any, cells: list[list[MaskCell]]) -> None:
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            text, size, colour = "·", 12, FAINT
            if cell.open:
                text, size, colour = (
                    f"{cell.open:.0%}",
                    7.5,
                    "black" if cell.mean < 0.5 else "white",
                )
            axes.text(x, y, text, ha="center", va="center", fontsize=size, color=colour)


def _grid(axes: Any, rows: int, columns: int) -> None:
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#DDDDDD", linewidth=0.8)
    axes.tick_params(which="minor", length=0)

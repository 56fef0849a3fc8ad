"""Bars of how many dimensions of each field's vector are open."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from mtl_tf.plots.sharing_log import SharingRow
from mtl_tf.plots.style import COLOURS, FAINT, new_figure, styled

_ROW = 0.2  # inches


@styled
def dimension_bars(rows: Sequence[SharingRow], note: str = "") -> Figure:
    """Draw the share of each field's dimensions that are open, as a bar per field.

    Args:
        rows: the dimensions' rows of `gates.csv`, of one epoch; at least one.
        note: a line below the title, such as the epoch.
    """
    suffixes = [row.layer.partition("_")[2] for row in rows]  # a single-task model's task
    names = [
        f"{row.source} for {suffix}" if suffix else row.source
        for row, suffix in zip(rows, suffixes, strict=True)
    ]
    figure = new_figure(
        4.0 + 0.075 * max(map(len, names)),
        1.6 + _ROW * len(rows),
        "How many of each field's dimensions are open",
    )
    axes = figure.add_subplot()
    axes.set_title(note, fontsize=9, color="#333333", pad=10)
    places = range(len(rows))
    axes.barh(places, [1.0] * len(rows), color=FAINT, alpha=0.25)
    axes.barh(places, [1 - row.closed for row in rows], color=COLOURS[0])
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("share of dimensions that are open")
    return figure

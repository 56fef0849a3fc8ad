"""The common style of the plots: colors for color-blind readers too, fonts, files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's colors, distinct under color blindness; without their yellow, which is
# too pale for a line, and without black, the color of the text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00")
MARKERS = "osD^vPX"
SHARED = "#6B6B6B"
FAINT = "#9A9A9A"
MAP = "YlGnBu"  # from pale to dark; its palest differs from white

_PNG_DPI = 150
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "mtl_tf",  # the same ids each time
}


def colours(names: Iterable[str]) -> dict[str, str]:
    """Return a color per task, in their order; more than seven tasks repeat them."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def styled(draw: Any) -> Any:
    """Run `draw` in this style without changing matplotlib's global one."""

    @wraps(draw)
    def in_style(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return in_style


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure, sized in inches, with a title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


@styled
def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write NAME.png and NAME.svg of each figure and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in figures.items():
        for suffix, options in (
            ("png", {"dpi": _PNG_DPI}),
            ("svg", {"metadata": {"Date": None}}),
        ):
            files.append(folder / f"{name}.{suffix}")
            figure.savefig(files[-1], **options)
            figure.set_layout_engine("none")  # one layout is enough, and it is slow
    return files


@styled
def png(figure: Figure, dpi: int = 80) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()

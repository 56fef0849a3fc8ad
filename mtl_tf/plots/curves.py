"""Line charts over training: the gates, and each task's loss and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtl_tf.plots.sharing_log import SharingRow
from mtl_tf.plots.style import COLOURS, FAINT, MARKERS, new_figure, styled

_PANEL = (2.7, 2.1)  # inches
# The loss of a kind of task, and its other metric.
_METRICS = {"binary": ("logloss", "auc"), "regression": ("mse", "mae")}
_NAMES = {"logloss": "log loss (nats)", "auc": "AUC", "mse": "squared error", "mae": "abs. error"}
_VALIDATION, _TRAINING = COLOURS[0], COLOURS[1]


@styled
def gate_curves(rows: Sequence[SharingRow], kept: int | None = None) -> Figure:
    """Draw P(z≠0) of each connection over training: a panel per reader, a line per source.

    Args:
        rows: the gates of `gates.csv`; at least one.
        kept: the epoch whose weights were kept, marked in each panel.
    """
    layers: dict[str, dict[str, dict[str, list[SharingRow]]]] = {}
    for row in rows:
        lines = layers.setdefault(row.layer, {}).setdefault(row.to, {})
        lines.setdefault(row.source, []).append(row)
    sources = list(dict.fromkeys(row.source for row in rows))
    columns = max(len(readers) for readers in layers.values())
    figure = new_figure(
        max(5.0, _PANEL[0] * columns + 0.6),
        _PANEL[1] * len(layers) + 1.2,
        "Probability that a gate is open, over training",
    )
    grid = figure.subplots(len(layers), columns, squeeze=False, sharex=True, sharey=True)
    for axes_row, (layer, readers) in zip(grid, layers.items(), strict=True):
        for axes in axes_row[len(readers) :]:
            axes.set_axis_off()
        for axes, (reader, lines) in zip(axes_row, readers.items(), strict=False):
            for source, points in lines.items():
                place = sources.index(source)
                axes.plot(
                    [point.epoch for point in points],
                    [point.open for point in points],
                    label=source,
                    **_look(place),
                )
            axes.set_title(f"into {reader}, {layer.replace('_', ' ')}")
            axes.set_ylim(-0.03, 1.03)
            _epochs(axes, kept)
        axes_row[0].set_ylabel("P(z≠0), mean over units")
    for axes in _lowest(grid):
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    handles = _handles(grid)
    names = {source: f"from {source}" for source in sources}
    names |= {name: name for name in handles if name not in names}
    figure.legend(
        handles=[handles[name] for name in names],
        labels=list(names.values()),
        loc="outside lower center",
        ncols=min(len(names), 5),
        frameon=False,
    )
    return figure


@styled
def task_curves(
    epochs: Sequence[Mapping[str, Any]], tasks: Mapping[str, str], kept: int | None = None
) -> Figure:
    """Draw each task's loss and metric over training: a row per task.

    Args:
        epochs: the logs of each epoch in `run.json`; at least one.
        tasks: task -> `binary` or `regression`.
        kept: the epoch whose weights were kept, marked in each panel.
    """
    figure = new_figure(
        7.2, _PANEL[1] * len(tasks) + 1.1, "Each task on training and validation rows"
    )
    grid = figure.subplots(len(tasks), 2, squeeze=False, sharex=True)
    for axes_row, (task, kind) in zip(grid, tasks.items(), strict=True):
        for axes, metric in zip(axes_row, _METRICS[kind], strict=True):
            is_loss = metric == _METRICS[kind][0]
            if is_loss:
                _line(axes, epochs, f"{task}_loss", "training", _TRAINING, "s")
            _line(axes, epochs, f"val_{metric}_{task}", "validation", _VALIDATION, "o")
            axes.set_title(task)
            axes.set_ylabel(_NAMES[metric])
            _epochs(axes, kept)
    for axes in _lowest(grid):
        axes.set_xlabel("epoch")
    figure.align_ylabels()
    handles = _handles(grid)
    names = [name for name in ("training", "validation", "weights kept") if name in handles]
    figure.legend(
        handles=[handles[name] for name in names],
        labels=names,
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


def _line(
    axes: Any, epochs: Sequence[Mapping[str, Any]], key: str, label: str, colour: str, marker: str
) -> None:
    points = [
        (number, epoch[key])
        for number, epoch in enumerate(epochs, start=1)
        if epoch.get(key) is not None
    ]
    if points:
        axes.plot(
            *zip(*points, strict=True), color=colour, marker=marker, markersize=3.5, label=label
        )


def _look(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 3.5,
        "linewidth": 1.4,
    }


def _epochs(axes: Any, kept: int | None) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    if kept is not None:
        axes.axvline(kept, color=FAINT, linestyle=":", zorder=1, label="weights kept")


def _handles(grid: Any) -> dict[str, Any]:
    """Return the handles of all panels by label: one panel may lack a line."""
    return {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }


def _lowest(grid: Any) -> list[Any]:
    """Return the lowest panel in use of each column."""
    return [[axes for axes in column if axes.axison][-1] for column in grid.T]

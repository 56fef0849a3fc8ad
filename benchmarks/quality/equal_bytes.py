"""Sparse models beside dense ones that are as large when served: bars and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quality.data_sets import DataSet
from benchmarks.quality.estimates import Runs, best_on_validation, of
from mtl_tf.plots.style import COLOURS, FAINT, MARKERS, new_figure, styled

_TOLERANCE = 1.02  # a dense model may be this much larger
SIZE = "served_bytes"


def dense_of_same_bytes(
    results: Mapping[str, Runs], sparse: str, candidates: Sequence[str]
) -> str | None:
    """Return the dense variant that validates best among those not larger than `sparse`.

    None if all are larger.
    """
    most = _TOLERANCE * of(results[sparse], SIZE).mean
    fitting = [name for name in candidates if name in results]
    fitting = [name for name in fitting if of(results[name], SIZE).mean <= most]
    return best_on_validation(dict(results), fitting) if fitting else None


def equal_bytes_bars(
    results: Mapping[str, Runs], tasks: Sequence[str], data_set: DataSet
) -> dict[str, float]:
    """Return `<architecture>_vs_dense_at_equal_bytes_<task>_<number of the size>` and its s.e."""
    found: dict[str, float] = {}
    for architecture, sizes in data_set.sparse.items():
        for number, name in enumerate(sizes, start=1):
            dense = dense_of_same_bytes(results, name, data_set.dense) if name in results else None
            for task in tasks if dense else ():
                assert dense
                key = f"auc_{task}"
                difference = of(results[name], key).minus(of(results[dense], key))
                bar = f"{architecture}_vs_dense_at_equal_bytes_{task}_{number}"
                found |= {bar: difference.mean, f"{bar}_se": difference.se}
    return found


@styled
def frontier(results: Mapping[str, Runs], tasks: Sequence[str], data_set: DataSet) -> Any:
    """Draw the test AUC by served bytes, a panel per task: dense models and sparse ones."""
    figure = new_figure(3.2 * len(tasks), 3.4, "Test AUC by size (mean ± standard error)")
    lines = {"dense": data_set.dense, **data_set.sparse}
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for place, (label, names) in enumerate(lines.items()):
            points = [
                (of(results[name], SIZE).mean, *of(results[name], f"auc_{task}"))
                for name in names
                if name in results
            ]
            if not points:
                continue
            x, y, error = zip(*sorted(points), strict=True)
            look = {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 4}
            line = "none" if label == "dense" else "-"
            axes.errorbar([b / 2**20 for b in x], y, error, label=label, linestyle=line, **look)
        axes.set_xscale("log")
        axes.set_xlabel("MiB served")
        axes.set_title(task)
        axes.grid(color=FAINT, linewidth=0.3)
    figure.axes[0].set_ylabel("test AUC")
    figure.axes[0].legend(frameon=False)
    return figure

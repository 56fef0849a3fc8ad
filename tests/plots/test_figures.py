"""Each figure on its own, from values made by hand."""

import itertools

import numpy as np
from matplotlib.patches import FancyBboxPatch, PathPatch

from mtl_tf.compiler.analysis.routing import Block, Link, Routing
from mtl_tf.plots import (
    MaskCell,
    SharingRow,
    gate_curves,
    mask_heatmap,
    routing_graph,
    task_curves,
)


def test_a_heat_map_shows_means_and_leaves_closed_fields_blank():
    readers = {
        "click": {"a": MaskCell(0.25, 0.5), "b": MaskCell(0.0, 0.0)},
        "shared": {"a": MaskCell(1.0, 1.0)},  # `b` is not there: closed
    }
    axes = mask_heatmap(readers, "a note").axes[0]
    shown = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, [[0.25, 1.0], [np.nan, np.nan]])
    assert [text.get_text() for text in axes.texts] == ["50%", "100%", "·", "·"]
    assert axes.get_title() == "a note"


def test_forty_fields_do_not_overlap():
    names = [f"a_rather_long_name_of_a_field_{n}" for n in range(40)]
    figure = mask_heatmap({"click": {name: MaskCell(0.5, 0.5) for name in names}})
    assert _apart(figure, figure.axes[0].get_yticklabels())
    blocks = [Block(name, name, None, 0) for name in names]
    blocks += [Block("L/0", "click", "click", 1), Block("click", "click", "click", 2)]
    links = [*(Link(name, "L/0") for name in names), Link("L/0", "click")]
    figure = routing_graph(Routing(tuple(blocks), tuple(links), ("fields", "L", "tasks")))
    assert _apart(figure, [t for t in figure.axes[0].texts if t.get_text() in names])


def _apart(figure, labels):
    """Whether no label touches the next one, and none leaves the figure."""
    figure.draw_without_rendering()
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    assert len(boxes) == 40
    inside = all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    return inside and all(a.y1 <= b.y0 for a, b in itertools.pairwise(boxes))


def test_a_routing_graph_draws_open_links_as_wide_as_they_are_strong():
    blocks = (
        Block("a", "a", None, 0),
        Block("b", "b", None, 0, used=False),
        Block("L/0", "click", "click", 1),
        Block("L/1", "shared", None, 1),
        Block("click", "click", "click", 2),
    )
    links = (
        Link("a", "L/0", 0.5),
        Link("L/0", "click", 0.2),
        Link("L/1", "click", 0.9),
    )
    axes = routing_graph(Routing(blocks, links, ("fields", "L", "tasks"))).axes[0]
    drawn = [p for p in axes.patches if type(p) is PathPatch]
    boxes = [p for p in axes.patches if isinstance(p, FancyBboxPatch)]
    assert (len(drawn), len(boxes)) == (3, 3)
    widths = [patch.get_linewidth() for patch in drawn]
    assert widths[1] < widths[2]
    colours = [patch.get_edgecolor()[:3] for patch in drawn]
    assert colours[0] == colours[1] != colours[2]  # what is shared belongs to no task
    mixed = Routing(blocks, (Link("L/0", "click", None),), ("fields", "L", "tasks"))
    assert [t.get_text() for t in routing_graph(mixed).legends[0].get_texts()][-1] == (
        "mixed per example"
    )


def test_tasks_keep_their_colours_beside_a_product():
    blocks = (
        Block("a", "a", None, 0),
        Block("L/0", "click", "click", 1),
        *(Block(task, task, task, 2) for task in ("click", "buy")),
        Block("both", "both", "both", 3),
    )
    links = (Link("a", "L/0"), Link("L/0", "click"), Link("click", "both"), Link("buy", "both"))
    axes = routing_graph(Routing(blocks, links, ("fields", "L", "tasks", "products"))).axes[0]
    network, *tasks = (p for p in axes.patches if isinstance(p, FancyBboxPatch))
    assert len({task.get_facecolor() for task in tasks}) == 3
    assert network.get_edgecolor() == tasks[0].get_edgecolor()


def test_gates_have_a_panel_per_reader_and_a_line_per_source():
    rows = [
        SharingRow(epoch, "Level_2", to, source, 1 / epoch, 0.0)
        for epoch in (1, 2, 4)
        for to in ("click", "buy")
        for source in ("click", "shared")
    ]
    axes = gate_curves(rows, kept=2).axes
    assert [each.get_title() for each in axes] == ["into click, Level 2", "into buy, Level 2"]
    for each in axes:
        lines = {line.get_label(): line for line in each.lines}
        assert list(lines) == ["click", "shared", "weights kept"]
        np.testing.assert_array_equal(lines["shared"].get_xydata(), [[1, 1], [2, 0.5], [4, 0.25]])


def test_curves_leave_out_what_was_not_measured():
    epochs = [{"click_loss": 0.7, "val_logloss_click": 0.6}, {"click_loss": None}]
    left, right = task_curves(epochs, {"click": "binary"}).axes
    found = {line.get_label(): line.get_xydata().tolist() for line in left.lines}
    assert found == {"training": [[1, 0.7]], "validation": [[1, 0.6]]}
    assert len(right.lines) == 0


def test_the_legend_names_every_line_of_every_panel():
    """The first task has no validation labels, the second one has."""
    epochs = [{"click_loss": 0.7, "buy_loss": 0.6, "val_logloss_buy": 0.5, "val_auc_buy": 0.6}]
    figure = task_curves(epochs, {"click": "binary", "buy": "binary"}, kept=1)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["training", "validation", "weights kept"]

"""The pictures: what they hold, that they are files, and that nothing global changes."""

import itertools
import json
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.patches import FancyBboxPatch, PathPatch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtl_tf.cli import main
from mtl_tf.compiler.analysis.routing import Block, Link, Routing
from mtl_tf.errors import UserError
from mtl_tf.models import build_model
from mtl_tf.plots import (
    MaskCell,
    SharingRow,
    draw_run,
    gate_curves,
    mask_heatmap,
    read_sharing_log,
    routing_graph,
    task_curves,
)
from mtl_tf.training import load_run, train
from tests.support.training_data import SCHEMA, config, write

FIELDS = ["color", "shop", "amount", "noise", "tags"]
TASKS = ["click", "watch"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small MSSM after two epochs."""
    folder = tmp_path_factory.mktemp("pictures")
    data = write(folder / "data", {"train": 600, "eval": 200})
    train(config(training={"epochs": 2}), data, folder / "run", progress=False)
    return folder / "run"


def texts(path):
    """Every text of an SVG file, which must be whole."""
    return [element.text for element in ET.parse(path).iter() if element.tag.endswith("}text")]


@pytest.fixture(scope="module")
def drawn(run):
    return draw_run(run, run.parent / "out")


@pytest.mark.keras
def test_a_run_has_four_pictures_in_two_formats(drawn):
    names = ["masks", "routing", "gates", "curves"]
    assert [path.name for path in drawn.files] == [
        f"{name}.{suffix}" for name in names for suffix in ("png", "svg")
    ]
    assert drawn.missing == {}
    for path in drawn.files[::2]:
        height, width, _ = tf.io.decode_png(path.read_bytes()).shape
        assert min(height, width) > 300
    told = {name: texts(path) for name, path in zip(names, drawn.files[1::2], strict=True)}
    assert {*FIELDS, *TASKS, "shared"} <= set(told["masks"])
    assert {*FIELDS, *TASKS, "shared", "Level 1", "Level 2"} <= set(told["routing"])
    assert {"into click, Level 2", "into watch, Level 2", "from shared"} <= set(told["gates"])
    assert {*TASKS, "AUC", "log loss (nats)", "squared error", "epoch"} <= set(told["curves"])


def test_the_same_run_gives_the_same_svg_whatever_the_users_style(run, drawn, tmp_path):
    """And matplotlib is left as it was."""
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        had_pyplot = "matplotlib.pyplot" in sys.modules
        again = draw_run(run, tmp_path)
        assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
    for one, other in zip(drawn.files[1::2], again.files[1::2], strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.keras
def test_a_field_that_nobody_reads_is_told_so(run, tmp_path):
    loaded = load_run(run)
    closed = np.zeros((3, 5), bool)
    closed[:, FIELDS.index("noise")] = True
    loaded.model.get_layer("Mask").close(closed)
    draw_run(loaded, tmp_path)
    assert "noise (unread)" in texts(tmp_path / "routing.svg")
    assert texts(tmp_path / "masks.svg").count("·") == 3


@pytest.mark.keras
@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ({"architecture": "mmoe", "units": [4]}, ["masks", "gates"]),
        ({"architecture": "snr_trans", "units": [4, 3]}, ["masks"]),
        ({"architecture": "mssm_b", "units": [4, 3]}, ["gates"]),
    ],
)
def test_what_an_architecture_lacks_is_named(run, tmp_path, model, missing):
    loaded = load_run(run)
    used = config(model=model)
    gates = "epoch,layer,to,from,open,closed\n1,Routing_towers,1,0,0.5,0.0\n"
    (tmp_path / "gates.csv").write_text(gates if model["architecture"] == "snr_trans" else "")
    other = replace(
        loaded,
        folder=tmp_path,
        config=used,
        model=build_model(loaded.transform, used.schema.tasks, used.model),
    )
    drawn = draw_run(other, tmp_path / "out")
    assert sorted(drawn.missing) == sorted(missing)
    for name in missing:
        assert drawn.missing[name].startswith(f"{model['architecture']} has no ")
        assert not (tmp_path / "out" / f"{name}.svg").exists()
    assert {*FIELDS, *TASKS} <= set(texts(tmp_path / "out" / "routing.svg"))
    if "gates" not in missing:  # SNR's towers have numbers in gates.csv
        told = texts(tmp_path / "out" / "gates.svg")
        assert {"into watch, Routing towers", "from shared 0"} <= set(told)


@pytest.mark.keras
def test_gates_of_towers_have_the_tasks_that_have_one(run, tmp_path):
    """A product, here the first of the tasks, has no tower and so no number in gates.csv."""
    schema = json.loads(json.dumps(SCHEMA))
    both = {"name": "both", "label": "both", "probability_of": ["click", "buy"]}
    schema["tasks"] = [both, schema["tasks"][0], {"name": "buy", "label": "bought"}]
    loaded = load_run(run)
    used = config(model={"architecture": "snr_trans", "units": [4, 3]}, schema=schema)
    model = build_model(loaded.transform, used.schema.tasks, used.model)
    lines = [f"1,Routing_towers,{to},0,0.5,0.0\n" for to in (0, 1)]
    (tmp_path / "gates.csv").write_text("epoch,layer,to,from,open,closed\n" + "".join(lines))
    draw_run(replace(loaded, folder=tmp_path, config=used, model=model), tmp_path / "out")
    panels = [text for text in texts(tmp_path / "out" / "gates.svg") if text.startswith("into ")]
    assert panels == ["into click, Routing towers", "into buy, Routing towers"]


def test_gates_that_were_not_recorded_are_not_said_to_be_absent(run, tmp_path):
    bare = replace(load_run(run), folder=tmp_path)
    assert "gates.csv" in draw_run(bare, tmp_path / "out").missing["gates"]


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


def test_a_damaged_log_is_the_users_to_know(tmp_path):
    path = tmp_path / "gates.csv"
    path.write_text("epoch,layer,to\n1,Mask,click\n")
    with pytest.raises(UserError, match=r"gates.csv: expected the columns epoch, layer"):
        read_sharing_log(path)
    assert read_sharing_log(tmp_path / "nowhere.csv") == []


@pytest.mark.keras
def test_tensorboard_has_the_gates_the_masks_and_the_heat_map(run):
    events = EventAccumulator(str(run / "logs" / "sharing"))
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"masks", "masks/click", "gates/Level_2/click ← shared"} <= set(tags)
    rows = [row for row in read_sharing_log(run / "gates.csv") if not row.is_mask]
    wanted = {(row.to, row.source, row.epoch): row.open for row in rows}
    for to, source in {(row.to, row.source) for row in rows}:
        points = events.Tensors(f"gates/Level_2/{to} ← {source}")
        found = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
        assert [point.step for point in points] == [0, 1]
        assert found == [pytest.approx(wanted[to, source, epoch], abs=1e-5) for epoch in (1, 2)]
    images = [tf.make_ndarray(point.tensor_proto)[2] for point in events.Tensors("masks")]
    assert len(images) == 2
    assert tf.io.decode_png(images[0]).shape[-1] == 4


@pytest.fixture
def inspect(capsys):
    def call(*argv):
        code = 0
        try:
            main(["inspect", *map(str, argv)])
        except SystemExit as stop:
            code = stop.code
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return call


def test_inspect_draws_and_says_where(run, tmp_path, inspect):
    shutil.copytree(run, tmp_path / "run")
    done = inspect(tmp_path / "run")
    assert done.code == 0
    assert "Fields: share of values" in done.out
    for name in ("masks", "routing", "gates", "curves"):
        for suffix in ("png", "svg"):
            path = tmp_path / "run" / "pictures" / f"{name}.{suffix}"
            assert path.is_file()
            assert str(path) in done.out


def test_inspect_draws_elsewhere(run, tmp_path, inspect):
    assert inspect(run, "--pictures", tmp_path / "new" / "folder").code == 0
    assert (tmp_path / "new" / "folder" / "masks.svg").is_file()
    assert not (run / "pictures").exists()


def test_a_folder_that_cannot_be_written(run, tmp_path, inspect):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "pictures").write_text("a file where the folder would be")
    done = inspect(tmp_path / "run")
    assert (done.code, "Fields: share" in done.out) == (0, True)
    assert "name another folder with --pictures" in done.err
    done = inspect(run, "--pictures", tmp_path / "run" / "pictures")
    assert (done.code, "give another folder" in done.err) == (2, True)


def test_a_folder_of_nothing_has_no_pictures(tmp_path, inspect):
    done = inspect(tmp_path, "--pictures", tmp_path)
    assert (done.code, "expected a run, a dataset or an exported version" in done.err) == (2, True)

"""All plots of a run: what they show, that they are files, and that nothing global changes."""

import json
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import tensorflow as tf

from mtl_tf.models import build_model
from mtl_tf.plots import (
    draw_run,
)
from mtl_tf.training import load_run
from tests.support.svg import texts
from tests.support.training_data import SCHEMA, config

FIELDS = ["color", "shop", "amount", "noise", "tags"]
TASKS = ["click", "watch"]


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
def test_open_dimensions_are_a_bar_per_field(run, tmp_path):
    loaded = load_run(run)
    used = config(model={"architecture": "mmoe", "units": [4], "embedding_gates": {}})
    kept = loaded.details["best_epoch"]
    lines = [f"{kept},Dimensions,all,{field},0.5,0.25" for field in FIELDS]
    (tmp_path / "gates.csv").write_text("\n".join(["epoch,layer,to,from,open,closed", *lines]))
    model = build_model(loaded.transform, used.schema.tasks, used.model)
    drawn = draw_run(replace(loaded, folder=tmp_path, config=used, model=model), tmp_path / "out")
    assert sorted(drawn.missing) == ["gates", "masks"], "a dimension is no connection"
    assert {*FIELDS, "100%"} <= set(texts(tmp_path / "out" / "dimensions.svg"))


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

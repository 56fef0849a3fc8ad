"""The Python session of the README, continued in docs/training.md, runs as printed."""

import itertools
import json
import re

import numpy as np
import pytest

from tests.conftest import ROOT


def python_blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.S)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The folder and the names after the session."""
    folder = tmp_path_factory.mktemp("readme")
    pages = (ROOT / "README.md", ROOT / "docs" / "training.md")
    blocks = [block for page in pages for block in python_blocks(page)]
    assert len(blocks) == 2
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
    return folder, names


pytestmark = [pytest.mark.slow, pytest.mark.keras]


def test_every_artifact_is_there(session):
    folder, _ = session
    expected = """
    dataset/dataset.json dataset/stats.json dataset/vocab/category.txt
    run/model.keras run/run.json run/gates.csv run/dataset.json run/checkpoints run/logs
    models/click_log/1/saved_model.pb models/click_log/1/assets.extra/schema.json
    models/click_log/1/assets.extra/tf_serving_warmup_requests
    models/click_log/1/assets.extra/export_report.json
    """
    assert [path for path in expected.split() if not (folder / path).exists()] == []


def test_the_model_learned_something(session):
    _, names = session
    metrics = names["mtl_tf"].evaluate(session[0] / "run", session[0] / "dataset", "test")
    assert metrics["click"]["auc"] > 0.75
    assert metrics["buy"]["auc"] > 0.75


def test_served_scores_are_the_trained_models(session):
    from mtl_tf.cli.demo import keras_scores
    from mtl_tf.cli.rows import read_rows
    from mtl_tf.records import load_info
    from serving.client import Client
    from serving.server import LocalServer

    folder, _ = session
    rows = list(itertools.islice(read_rows(str(folder / "raw" / "part-00001.csv")), 50))
    schema = load_info(folder / "run").schema
    with LocalServer(folder / "models") as server, Client(server.address, schema=schema) as client:
        served = client.score("click_log", rows)
    expected = keras_scores(folder / "run", rows)
    assert set(served) == {"click", "buy", "watch"}
    for task, scores in served.items():
        np.testing.assert_allclose(scores, expected[task], rtol=1e-5, atol=1e-6)


def test_the_report_shows_before_and_after(session):
    folder, _ = session
    path = folder / "models/click_log/1/assets.extra/export_report.json"
    report = json.loads(path.read_text())
    for what in ("parameters", "bytes", "flops"):
        assert report[what]["before"] > 0
        assert report[what]["after"] > 0
    assert report["parity"]["of_limit"] <= 1
    assert set(report["parity"]["checks"]) >= {"keras", "plan", "serving_default", "examples"}

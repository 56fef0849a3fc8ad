"""Unfinished runs of earlier versions are resumed."""

import json

import numpy as np
import pytest

from mtl_tf.backend.keras import keras
from mtl_tf.training import load_run, train
from mtl_tf.training.checkpoint import CheckpointFile
from mtl_tf.training.fingerprint import difference
from tests.support.training_data import config, write

pytestmark = pytest.mark.keras

FORMER_NAMES = {"penalty_scale": "pressure", "frozen_value": "held"}
OPTIONS = ({"gates": {"target_sparsity": 0.4}}, {"epochs": 2, "save_steps": 10})
FORMER_DEFAULTS = {
    "keep": "objective",
    "reset_tables": "never",
    "table_optimizer": "auto",
    "table_learning_rate": 0.03,
}


def _as_written_before(folder):
    """Rewrite an unfinished run with the names that options and variables had."""
    made_of = json.loads((folder / "made_of.json").read_text())
    gates = made_of["model"]["gates"]
    gates["target_closed"] = gates.pop("target_sparsity")
    del made_of["training"]["keep"], made_of["training"]["reset_tables"]
    (folder / "made_of.json").write_text(json.dumps(made_of))
    with np.load(folder / "state.npz") as saved:
        arrays = dict(saved)
    progress = json.loads(str(arrays["position"]))
    progress["controller"] = {"pressure": progress.pop("penalty_scale")}
    names = [str(name) for name in arrays["names"]]
    for now, before in FORMER_NAMES.items():
        names = [name.replace(now, before) for name in names]
    assert names != list(arrays["names"])
    np.savez(
        folder / "state.npz",
        **{**arrays, "position": np.array(json.dumps(progress)), "names": np.array(names)},
    )


def test_a_checkpoint_of_an_earlier_version_is_resumed_bit_for_bit(tmp_path, monkeypatch):
    data = write(tmp_path / "dataset", {"train": 2000, "eval": 300})
    former = config(OPTIONS[0], OPTIONS[1] | FORMER_DEFAULTS)
    whole = train(former, data, tmp_path / "whole", progress=False)
    save = CheckpointFile.save

    def save_and_stop(self, progress, model):
        save(self, progress, model)
        if (progress.epoch, progress.step) == (1, 10):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointFile, "save", save_and_stop)
        train(former, data, tmp_path / "run", progress=False)
    _as_written_before(tmp_path / ".run.partial")
    keras.backend.clear_session()
    # today's defaults, which differ: what is not set is as the run was started
    resumed = train(config(*OPTIONS), data, tmp_path / "run", progress=False)
    assert resumed.metrics == whole.metrics
    for a, b in zip(*(load_run(x.run).model.get_weights() for x in (resumed, whole)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_renamed_option_is_not_a_difference():
    now = config(*OPTIONS).to_json()
    before = json.loads(json.dumps(now))
    before["model"]["gates"]["target_closed"] = before["model"]["gates"].pop("target_sparsity")
    del now["training"]["save_steps"], now["evaluation"]["segments"]
    assert difference(before, now) is None
    before["model"]["gates"]["target_closed"] = 0.5
    assert difference(before, now) == "`model.gates.target_sparsity` was 0.5, now 0.4"

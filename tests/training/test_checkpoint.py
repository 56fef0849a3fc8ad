"""Resuming: a killed training ends with the same bits as an uninterrupted one."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

from mtl_tf.backend.keras import keras
from mtl_tf.config import load_config
from mtl_tf.errors import DataError, UserError
from mtl_tf.training import load_run, train
from mtl_tf.training.checkpoint import CheckpointFile, NotResumable, TrainingProgress
from mtl_tf.training.run_folder import staged_run
from tests.support.processes import command, finish, killed, start
from tests.support.training_data import LIGHT, config, write

pytestmark = pytest.mark.keras

LIMIT = 150  # seconds, on a machine busy with other tests


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("resume") / "dataset", {"train": 3000, "eval": 500})


def _yaml(path: Path, **training) -> Path:
    options = {"save_steps": 10, "steps_per_execution": 4, "patience": 1, **training}
    parts = config(training=options).to_json()
    path.write_text(yaml.safe_dump({**parts.pop("schema"), **parts}))
    return path


def _without_times(epochs):
    return [{k: v for k, v in x.items() if k not in ("seconds", "rows_per_second")} for x in epochs]


def test_a_training_killed_within_an_epoch_resumes_bit_for_bit(data, tmp_path):
    # Rows from the files in every epoch; elsewhere in here they are held.
    file = _yaml(tmp_path / "config.yaml", memory_mib=0)
    whole = train(load_config(file), data, tmp_path / "whole", progress=False)
    run = tmp_path / "run"
    arguments = ["train", "--config", str(file), "--data", str(data), "--run", str(run)]
    log = tmp_path / "log"
    assert finish(start(killed, 1, 20, *arguments, log=log), LIMIT) == -signal.SIGKILL, (
        log.read_text()
    )
    assert not run.exists()
    assert finish(start(command, *arguments, log=log), LIMIT) == 0, log.read_text()
    assert "resuming epoch 2, step 20" in log.read_text()
    details = json.loads((run / "run.json").read_text())
    assert details["metrics"] == whole.metrics
    assert details["best_epoch"] == whole.best_epoch
    assert _without_times(details["epochs"]) == [
        {"epoch": i, **epoch} for i, epoch in enumerate(_without_times(whole.epochs), start=1)
    ]
    for a, b in zip(*(load_run(x).model.get_weights() for x in (run, whole.run)), strict=True):
        np.testing.assert_array_equal(a, b)
    one, other = ((x / "gates.csv").read_text() for x in (run, whole.run))
    assert one == other
    assert {x.name for x in run.iterdir()} == {x.name for x in whole.run.iterdir()}
    assert sorted(x.name for x in tmp_path.iterdir()) == ["config.yaml", "log", "run", "whole"]


def _interrupted(data, run, when, monkeypatch, model=None, **training):
    """Interrupt a training after its checkpoint at `when`, (epoch, step)."""
    with monkeypatch.context() as patch:
        save = CheckpointFile.save

        def save_and_stop(self, progress, *arguments, **options):
            save(self, progress, *arguments, **options)
            if (progress.epoch, progress.step) == when:
                raise KeyboardInterrupt

        patch.setattr(CheckpointFile, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config(model, training), data, run, progress=False)
    assert (run.parent / f".{run.name}.partial" / "state.npz").is_file()


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted training."""
    keras.backend.clear_session()
    run = tmp_path_factory.mktemp("resume") / "whole"
    return train(config(LIGHT, {"save_steps": 10}), data, run, progress=False)


@pytest.mark.parametrize("when", [(0, 10), (1, 0), (3, 0)])
def test_resuming_gives_the_same_result_wherever_it_stopped(
    when, data, whole, tmp_path, monkeypatch, capsys
):
    """Within the first epoch, between two epochs, and after the last one."""
    options = {"save_steps": 10}
    _interrupted(data, tmp_path / "run", when, monkeypatch, LIGHT, **options)
    capsys.readouterr()
    found = train(config(LIGHT, options), data, tmp_path / "run")
    assert f"resuming epoch {when[0] + 1}, step {when[1]}" in capsys.readouterr().err
    assert found.metrics == whole.metrics
    assert _without_times(found.epochs) == _without_times(whole.epochs)


def test_an_unfinished_run_with_different_settings_is_not_resumed(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    _interrupted(data, run, (1, 0), monkeypatch)
    for options, difference in (
        ({"training": {"epochs": 4}}, "`training.epochs` was 3, now 4"),
        ({"model": {"units": [12, 6]}}, "`model.units` has changed"),
        ({"model": {"gates": {"penalty": 0.5}}}, "`model.gates.penalty` was 0.001, now 0.5"),
    ):
        with pytest.raises(UserError) as error:
            train(config(**options), data, run, progress=False)
        assert f"({difference}); restore these settings, or" in str(error.value)
        assert "`--restart`" in str(error.value)
    other = write(tmp_path / "other", {"train": 300, "eval": 50})
    with pytest.raises(UserError, match=r"\(`dataset` has changed\); restore"):
        train(config(), other, run, progress=False)
    assert train(config(), other, run, progress=False, restart=True).run == run
    assert not (tmp_path / ".run.partial").exists()


def test_save_steps_may_change_when_resuming(data, tmp_path, monkeypatch):
    _interrupted(data, tmp_path / "run", (1, 0), monkeypatch, LIGHT)
    again = config(LIGHT, {"save_steps": 7})
    assert len(train(again, data, tmp_path / "run", progress=False).epochs) == 3


@pytest.mark.parametrize("name", ["state.npz", "made_of.json"])
@pytest.mark.parametrize("content", [b"", b"PK broken"], ids=["empty", "damaged"])
def test_a_damaged_checkpoint_is_a_one_sentence_error(name, content, tmp_path):
    folder = tmp_path / ".run.partial"
    folder.mkdir()
    for each in ("state.npz", "made_of.json"):
        (folder / each).write_bytes(content if each == name else b"{}")
    broken = pytest.raises(UserError, match=rf"{name}: cannot be read .* with `--restart`")
    with broken, staged_run(tmp_path / "run", {}, restart=False):
        CheckpointFile(folder).progress()
    assert (folder / name).read_bytes() == content


def test_damaged_best_weights_are_a_one_sentence_error(data, tmp_path, monkeypatch):
    _interrupted(data, tmp_path / "run", (3, 0), monkeypatch, LIGHT)
    (tmp_path / ".run.partial" / "checkpoints" / "best.weights.h5").write_bytes(b"")
    with pytest.raises(UserError, match=r"best\.weights\.h5: cannot be read .* `--restart`"):
        train(config(LIGHT), data, tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (UserError("one device too many"), True),
        (DataError("a file of the dataset is damaged"), True),
        (NotResumable("loss became NaN or infinite"), False),
    ],
)
def test_the_checkpoint_is_kept_unless_resuming_would_repeat_the_error(error, kept, tmp_path):
    with (
        pytest.raises(type(error)),
        staged_run(tmp_path / "run", {}, restart=False) as folder,
    ):
        (folder / "state.npz").touch()
        raise error
    assert folder.exists() == kept


def test_two_processes_cannot_train_the_same_run(tmp_path):
    run = tmp_path / "run"
    second = staged_run(run, {}, restart=True)
    busy = pytest.raises(UserError, match="another process is training this run")
    with staged_run(run, {}, restart=False), busy:
        second.__enter__()
    assert run.is_dir()


def test_an_interrupted_save_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    checkpoint = CheckpointFile(tmp_path)
    checkpoint.save(TrainingProgress(step=3), model)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(TrainingProgress(step=4), model)
    assert checkpoint.progress().step == 3


def test_a_finished_run_whose_last_rename_fails_is_kept(tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with (
        pytest.raises(OSError, match="no"),
        staged_run(run, {}, restart=False) as folder,
    ):
        (folder / "state.npz").write_text("where it is")
        (folder / "model.keras").write_text("trained")
    monkeypatch.undo()
    with staged_run(run, {}, restart=False) as folder:  # resumed, and finished
        assert (folder / "state.npz").exists()
    assert [path.name for path in run.iterdir()] == ["model.keras"]


def test_a_folder_created_during_training_and_the_run_are_both_kept(tmp_path):
    run = tmp_path / "run"
    with (
        pytest.raises(UserError, match="created during training and left untouched") as told,
        staged_run(run, {}, restart=False) as folder,
    ):
        (folder / "model.keras").write_text("trained")
        run.mkdir()
        (run / "letter.txt").write_text("keep")
    assert [path.name for path in run.iterdir()] == ["letter.txt"]
    kept = Path(str(told.value).rpartition(" ")[2])
    assert [path.name for path in kept.iterdir()] == ["model.keras"]

"""Faults of configuration, data and disk, each a one-sentence error."""

import os
import shutil
from types import SimpleNamespace

import pytest

from mtl_tf.errors import DataError, UserError
from mtl_tf.training import callbacks, evaluate, load_run, train
from tests.support.training_data import LIGHT, SCHEMA, config, write

pytestmark = pytest.mark.keras

ONCE = {"epochs": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("training") / "dataset", {"train": 300, "eval": 100})


@pytest.mark.parametrize(
    ("model", "training", "schema", "message"),
    [
        ({"activation": "reluu"}, {}, {}, "one that Keras knows, such as relu.* Received: reluu"),
        (
            {**LIGHT, "architecture": "single_task"},
            {"loss_weighting": {"method": "gradnorm"}},
            {},
            "`gradnorm` needs a layer that several tasks share",
        ),
        (LIGHT, {}, {"missing_values": ["", "?"]}, "was preprocessed with `missing_values: "),
    ],
)
def test_a_wrong_configuration_is_rejected(data, tmp_path, model, training, schema, message):
    wanted = config(model, {**ONCE, **training}, {**SCHEMA, **schema})
    with pytest.raises(UserError, match=message):
        train(wanted, data, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_cannot_be_created(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/run: cannot be created .*; name another"):
        train(config(LIGHT, ONCE), data, tmp_path / "file" / "run", progress=False)


def test_a_dataset_without_vocabularies(data, tmp_path):
    """Numeric and hashed fields have none; then the job writes no folder for them."""
    bare = shutil.copytree(data, tmp_path / "dataset")
    shutil.rmtree(bare / "vocab")
    result = train(config(LIGHT, ONCE), bare, tmp_path / "run", progress=False)
    assert set(load_run(result.run).model.output) == {"click", "watch"}


@pytest.mark.parametrize("keep", [0, 1000], ids=["empty", "cut"])
def test_a_damaged_file_is_a_data_error(data, tmp_path, keep):
    damaged = shutil.copytree(data, tmp_path / "dataset")
    result = train(config(LIGHT, ONCE), data, tmp_path / "run", progress=False)
    for split in ("train", "eval"):
        os.truncate(damaged / f"{split}-00000-of-00001.tfrecord", keep)
    with pytest.raises(DataError, match="dataset: a file is damaged"):
        train(config(LIGHT, ONCE), damaged, tmp_path / "other", progress=False)
    with pytest.raises(DataError, match="dataset: a file is damaged"):
        evaluate(result.run, damaged, "eval")
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", "run"}


def test_a_damaged_model_file_is_named(data, tmp_path):
    result = train(config(LIGHT, ONCE), data, tmp_path / "run", progress=False)
    os.truncate(result.run / "model.keras", 500)
    with pytest.raises(UserError, match=r"model\.keras: is not a Keras model, or damaged"):
        load_run(result.run)


@pytest.mark.parametrize("free", [0, 100_000], ids=["full", "only the weights fit"])
def test_a_full_disk_is_an_error_instead_of_a_crash(data, tmp_path, monkeypatch, free):
    monkeypatch.setattr(callbacks.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(OSError, match=r"No space left on device.*best\.weights\.h5"):
        train(config(LIGHT, ONCE), data, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []

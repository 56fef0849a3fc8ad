"""What training rejects, without writing anything."""

import json

import pytest

from mtl_tf.errors import DataError, UserError
from mtl_tf.training import train
from tests.support.training_data import LIGHT, SCHEMA, config, write

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("training") / "dataset", {"train": 300, "eval": 100})


def _changed(what, index, **options):
    schema = json.loads(json.dumps(SCHEMA))
    schema[what][index].update(options)
    return config(schema=schema)


def _without(what, index):
    schema = json.loads(json.dumps(SCHEMA))
    del schema[what][index]
    return config(schema=schema)


REFUSED = [
    (lambda: _changed("fields", 0, hash_buckets=9),
     "was preprocessed with field `color`: `hash_buckets: 8`, the configuration says `9`"),
    (lambda: _changed("tasks", 0, label="bought"), "was preprocessed with task `click`"),
    (lambda: _without("fields", 3), "its fields are not those of the configuration "
                                    "(differing: noise); preprocess the data"),
    (lambda: _changed("tasks", 1, name="watched"), "(differing: watch, watched)"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_a_configuration_of_other_data_is_rejected(make, message, data, tmp_path):
    with pytest.raises(UserError) as error:
        train(make(), data, tmp_path / "run", progress=False)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_tasks_without_weights_are_rejected(data, tmp_path):
    schema = json.loads(json.dumps(SCHEMA))
    schema["tasks"] = [{**task, "weight": 0} for task in schema["tasks"]]
    with pytest.raises(UserError, match=r"Received: `click`: weight 0, 300 labels, `watch`: w"):
        train(config(LIGHT, schema=schema), data, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_existing_run_is_not_touched(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("keep")
    with pytest.raises(UserError, match="run: already exists; name another run folder"):
        train(config(), data, tmp_path / "run", progress=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


def test_a_loss_of_nan_is_a_one_sentence_error_and_nothing_is_kept(data, tmp_path):
    with pytest.raises(DataError, match="loss became NaN or infinite in epoch 1; lower"):
        train(config(LIGHT, {"learning_rate": 1e30}), data, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_before_the_first_checkpoint_keeps_nothing(data, tmp_path, monkeypatch):
    def interrupt(self, epoch, logs=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("mtl_tf.training.sharing_log.SharingLog.on_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config(LIGHT), data, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_missing_dataset_or_split_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        train(config(), tmp_path / "nothing", tmp_path / "run")
    data = write(tmp_path / "dataset", {"eval": 10})
    with pytest.raises(UserError, match="split `train` has no rows"):
        train(config(), data, tmp_path / "run")

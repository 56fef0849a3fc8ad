"""Training with other data and options: what closes, when it stops, missing labels."""

import itertools
import json
import shutil

import numpy as np
import pytest

from mtl_tf.records import dataset
from mtl_tf.training import evaluate, load_run, train
from mtl_tf.training.sharing_log import CloseFields
from tests.support.training_data import LIGHT, READS, SCHEMA, config, write

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sizes = {"train": 3000, "eval": 500, "test": 400}
    return write(tmp_path_factory.mktemp("training") / "dataset", sizes)


def test_useless_fields_close_exactly_and_useful_ones_stay_open(data, tmp_path):
    """With one level, a task reads only what its own mask lets through."""
    model = {"units": [16], "masks": {"penalty": 0.05}}
    training = {"epochs": 8, "keep": "objective"}  # the loss alone does not see that they closed
    result = train(config(model, training), data, tmp_path / "run", progress=False)
    assert result.metrics["click"]["auc"] > 0.82
    run = load_run(result.run)
    embedding, mask = run.model.get_layer("Embedding"), run.model.get_layer("Mask")
    g = np.split(np.asarray(mask.g), np.cumsum(mask.field_dims)[:-1], axis=1)
    for field, part in zip(embedding.features, g, strict=True):
        table = embedding.table(field["table"]).numpy()  # all ids, also those never seen
        for reader, task in enumerate(READS):
            products = table @ part[reader]
            if field["name"] in READS[task]:
                assert (products > 0).sum() >= 3, (task, field["name"])
            else:
                assert (products <= 0).all(), (task, field["name"])


def test_a_closed_field_stays_closed(data, tmp_path, monkeypatch):
    """Even if the optimizer had momentum when the field was closed."""
    shut = []  # per epoch: (where all of g is 0 as the epoch ends, and after closing)

    def zeros(layer):
        parts = np.split(np.asarray(layer.g), np.cumsum(layer.field_dims)[:-1], axis=1)
        return np.stack([(part == 0).all(axis=1) for part in parts])

    def spy(self, epoch, logs=None):
        before = zeros(self.model.get_layer("Mask"))
        close(self, epoch, logs)
        shut.append((before, zeros(self.model.get_layer("Mask"))))

    close = CloseFields.on_epoch_end
    monkeypatch.setattr(CloseFields, "on_epoch_end", spy)
    model = {"units": [4], "tower_units": [], "masks": {"penalty": 0.05, "close_below": 0.5}}
    train(config(model, {"patience": 3}), data, tmp_path / "run", progress=False)
    assert shut[0][1].any()
    for (_, closed), (later, _) in itertools.pairwise(shut):
        assert later[closed].all()


def test_gates_close_exactly_under_their_penalty(data, tmp_path):
    model = {"gates": {"penalty": 0.02}}
    training = {"epochs": 4, "gate_learning_rate": 0.05}
    result = train(config(model, training), data, tmp_path / "run", progress=False)
    closed = np.asarray(load_run(result.run).model.get_layer("Level_2").gate.inference_gate()) == 0
    assert closed.mean() > 0.3
    assert result.metrics["click"]["auc"] > 0.75
    assert result.epochs[result.best_epoch - 1]["gates_closed"] == pytest.approx(closed.mean())


def test_training_stops_when_validation_does_not_improve(data, tmp_path):
    # A huge rate: after the first epochs it only gets worse.
    wild = config(LIGHT, {"epochs": 12, "patience": 1, "learning_rate": 0.3})
    result = train(wild, data, tmp_path / "run", progress=False)
    assert len(result.epochs) == result.best_epoch + 1 < 12


def test_without_validation_all_epochs_are_trained_even_on_fewer_rows_than_a_batch(tmp_path):
    data = write(tmp_path / "dataset", {"train": 30})
    result = train(config(LIGHT), data, tmp_path / "run", progress=False)
    assert len(result.epochs) == result.best_epoch == 3
    assert all(np.isfinite(epoch["loss"]) for epoch in result.epochs)
    assert result.metrics == {}
    assert evaluate(result.run, data, "train")["click"]["rows"] == 30


def test_a_task_without_labels_keeps_the_model_finite(tmp_path):
    data = write(tmp_path / "dataset", {"train": 300, "eval": 50}, without_labels=("watch",))
    result = train(config(LIGHT), data, tmp_path / "run", progress=False)
    assert result.metrics["watch"] == {"rows": 0}
    assert all(np.isfinite(weight).all() for weight in load_run(result.run).model.get_weights())
    json.loads((result.run / "run.json").read_text(), parse_constant=pytest.fail)


def test_validation_rows_without_labels_do_not_select_an_epoch(data, tmp_path):
    """Penalties alone, or a task of weight 0, would stop training early."""
    unlabelled = write(tmp_path / "unlabelled", {"eval": 50}, without_labels=tuple(READS))
    shutil.copytree(data, tmp_path / "dataset")
    shutil.copy(next(unlabelled.glob("eval-*")), tmp_path / "dataset")
    described, other = (
        json.loads((folder / "dataset.json").read_text())
        for folder in (tmp_path / "dataset", unlabelled)
    )
    described["splits"]["eval"] = other["splits"]["eval"]
    (tmp_path / "dataset" / "dataset.json").write_text(json.dumps(described))
    training = {"epochs": 3, "patience": 1}
    result = train(config(LIGHT, training), tmp_path / "dataset", tmp_path / "run", progress=False)
    assert len(result.epochs) == result.best_epoch == 3
    losses = [epoch["loss"] for epoch in result.epochs]
    assert losses == sorted(losses, reverse=True)


def test_model_options_may_differ_from_the_datasets(data, tmp_path):
    schema = json.loads(json.dumps(SCHEMA))
    schema["fields"][0]["embedding_dim"] = 7
    schema["tasks"][0]["weight"] = 0.25
    short = config(LIGHT, {"epochs": 1}, schema)
    run = load_run(train(short, data, tmp_path / "run", progress=False).run)
    assert run.model.get_layer("Embedding").field_dims[0] == 7
    last = run.details["epochs"][-1]
    loss = 0.25 * last["val_logloss_click"] + last["val_loss_watch"]
    assert last["val_loss"] == pytest.approx(loss)


def test_every_architecture_trains(data, tmp_path):
    training = {"epochs": 4, "learning_rate": 0.03}
    other = config(model={"architecture": "shared_bottom"}, training=training)
    result = train(other, data, tmp_path / "run", progress=False)
    assert "masks_closed" not in result.epochs[0]
    assert evaluate(result.run, data)["click"]["auc"] > 0.6


def test_fit_accepts_the_dataset_as_it_is(data):
    """For users who write their own training loop."""
    from mtl_tf.models import build_model
    from mtl_tf.ranker.losses import losses_for
    from mtl_tf.records import load_info

    info = load_info(data)
    model = build_model(info.transform, info.schema.tasks, config(LIGHT).model)
    losses, weights = losses_for(info.schema.tasks)
    model.compile("adam", loss=losses, loss_weights=weights, jit_compile=False)
    history = model.fit(dataset(data, "train", 100), epochs=1, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"][0])

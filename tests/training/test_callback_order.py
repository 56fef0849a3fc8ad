"""The order of the callbacks: every reason that the table states holds."""

import pytest

from mtl_tf.backend.keras import keras
from mtl_tf.training import train, trainer
from mtl_tf.training.callback_order import CALLBACKS, callbacks_for
from tests.support.training_data import config, write

NAMES = [place.name for place in CALLBACKS]


@pytest.mark.parametrize("place", CALLBACKS, ids=NAMES)
def test_what_must_come_before_does(place):
    assert place.why
    assert set(place.after) <= set(NAMES[: NAMES.index(place.name)])


def test_the_order_that_others_rely_on():
    """Beside the table, so that moving a callback and its reason together is noticed."""
    order = {name: index for index, name in enumerate(NAMES)}
    assert order["stop_clock"] < order["validation"], "validation is not part of the steps' time"
    assert order["close_fields"] < order["validation"], "what is measured is what is served"
    assert order["validation"] < order["keep_best"], "it reads the validation objective"
    assert order["stop_on_nan"] < order["keep_best"], "weights of NaN are never kept"
    assert order["broadcast_logs"] < order["keep_best"], "all workers keep the same epoch"
    assert NAMES[-1] == "save_checkpoint", "it saves what all others changed"


class _Spy(keras.callbacks.Callback):
    """Notes the log entries that exist just before a callback runs."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def on_epoch_end(self, epoch, logs=None):
        self.seen |= set(logs)


@pytest.mark.keras
def test_each_callback_finds_the_logs_it_reads(tmp_path, monkeypatch):
    seen = {}

    def spied(setup):
        found = {}
        for name, callback in callbacks_for(setup).items():
            seen[name] = set()
            found[f"before {name}"] = _Spy(seen[name])
            found[name] = callback
        return found

    monkeypatch.setattr(trainer, "callbacks_for", spied)
    data = write(tmp_path / "dataset", {"train": 300, "eval": 100})
    train(
        config(training={"epochs": 1, "reset_tables": "epoch", "budget": {"parameters": 1000}}),
        data,
        tmp_path / "run",
        progress=False,
    )
    assert set(NAMES) - set(seen) == {"step_bar", "broadcast_logs"}  # a terminal, a cluster
    for place in CALLBACKS:
        if place.name in seen:
            assert set(place.reads) <= seen[place.name], place.name
    assert "seconds" in seen["validation"]
    assert "val_loss" not in seen["validation"]

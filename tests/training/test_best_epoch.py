"""Model selection: which epoch is kept, and what to do next."""

import itertools

import numpy as np
import pytest

from mtl_tf.training.best_epoch import BestEpoch
from tests.support.training_data import config


def _logs(objectives, closed=None):
    logs = [{"val_loss": value} for value in objectives]
    for epoch, share in zip(logs, closed or [], strict=False):
        epoch["gates_closed"] = share
    return logs


TARGET = 0.4

KEPT = [
    # why, objectives, sparsities, options, epoch
    ("the smallest objective", [3, 1, 2], None, {}, 2),
    ("the first of equals", [3, 1, 1], None, {}, 2),
    ("the only one", [3], None, {}, 1),
    ("what closed by itself does not count", [1, 2, 3], [0.0, 0.4, 0.4], {}, 1),
    ("not before the target", [1, 2, 3], [0.1, 0.4, 0.4], {"target": TARGET}, 2),
    ("not beyond it either", [3, 2, 1], [0.4, 0.4, 0.5], {"target": TARGET}, 2),
    ("within five points is a hit", [3, 1, 2], [0.4, 0.36, 0.44], {"target": TARGET}, 2),
    ("else the nearest to the target", [1, 2, 3], [0.1, 0.3, 0.2], {"target": TARGET}, 2),
    ("of equally near ones the best", [3, 1, 2], [0.0, 0.0, 0.0], {"target": TARGET}, 2),
    ("from above too", [1, 2, 3], [0.1, 0.6, 0.47], {"target": TARGET}, 3),
    ("without gates there is nothing to miss", [2, 1, 3], None, {"target": TARGET}, 2),
    ("without validation rows the last", [1, 2, 3], None, {"validated": False}, 3),
    (
        "the largest of what is better the larger",
        [3, 1, 2],
        None,
        {"criterion": {("val_loss",): -1}},
        1,
    ),
]


TIES = [
    # why, losses, objectives, epoch
    ("of equally good ones that with the smallest penalties", [1.0, 1.0005, 1.0008], [3, 2, 1], 3),
    ("not one that is worse by more", [1.0, 1.002], [3, 1], 1),
    ("nor if only the latest is", [1.0, 1.0005, 0.9990], [3, 2, 4], 3),
    ("the first of them if penalties differ by nothing", [1.0, 1.0, 1.0], [1, 1, 1], 1),
    ("many small steps add up", [1.0, 0.9995, 0.9989], [1, 2, 3], 3),
]


@pytest.mark.parametrize(
    ("losses", "objectives", "epoch"), [row[1:] for row in TIES], ids=[row[0] for row in TIES]
)
def test_equally_good_epochs(losses, objectives, epoch):
    logs = [
        {"val_loss": loss, "val_objective": objective}
        for loss, objective in zip(losses, objectives, strict=True)
    ]
    assert BestEpoch(epochs=9, patience=2).index_of_best(logs) == epoch - 1


def test_the_kept_epoch_is_the_last_one_or_the_one_kept_before():
    """Its weights are written when it ends: an earlier epoch cannot become the best one."""
    rng = np.random.default_rng(0)
    for target in (None, TARGET):
        best = BestEpoch(epochs=99, patience=99, target=target)
        logs, before = [], 0
        for _ in range(300):
            loss = 1 + rng.normal() / 1000
            logs.append({"val_loss": loss, "val_objective": loss + rng.random() / 1000})
            logs[-1]["gates_closed"] = rng.choice([0.2, 0.3, 0.4])
            now = best.index_of_best(logs)
            assert now in (before, len(logs) - 1)
            before = now


@pytest.mark.parametrize(
    ("objectives", "closed", "options", "epoch"),
    [row[1:] for row in KEPT],
    ids=[row[0] for row in KEPT],
)
def test_the_epoch_to_keep(objectives, closed, options, epoch):
    best = BestEpoch(epochs=9, patience=2, **options)
    assert best.index_of_best(_logs(objectives, closed)) == epoch - 1


NEXT = [
    # why, objectives, sparsities, fine-tuned from, options, next step
    ("the first epoch", [], None, None, {}, "train"),
    ("a better one", [3, 2, 1], None, None, {}, "train"),
    ("one bad epoch is not two", [3, 1, 2], None, None, {}, "train"),
    ("patience is over", [3, 1, 2, 2], None, None, {}, "stop"),
    ("an equal one is not better", [3, 1, 2, 1], None, None, {}, "stop"),
    ("all epochs are done", [5, 4, 3, 2, 1, 0], None, None, {}, "stop"),
    ("no patience without validation", [1, 2, 3, 4], None, None, {"validated": False}, "train"),
    ("nor before the target", [1, 2, 3, 4], [0, 0.1, 0.2, 0.3], None, {"target": TARGET}, "train"),
    ("the target is reached late", [1, 2, 3, 4], [0, 0, 0, 0.4], None, {"target": TARGET}, "train"),
    ("and nothing is better", [1, 4, 5, 6], [0, 0.4, 0.4, 0.4], None, {"target": TARGET}, "stop"),
    ("time to fine-tune", [5, 4, 3, 2], None, None, {"fine_tune_epochs": 2}, "fine_tune"),
    ("not yet", [5, 4, 3], None, None, {"fine_tune_epochs": 2}, "train"),
    ("early", [1, 2, 3], None, None, {"fine_tune_epochs": 2}, "fine_tune"),
    ("without validation", [1] * 4, None, None, {"fine_tune_epochs": 2, "validated": False},
     "fine_tune"),
    ("the first one done", [5, 4, 3, 2, 1], None, 4, {"fine_tune_epochs": 2}, "train"),
    ("all done", [5, 4, 3, 2, 1, 0], None, 4, {"fine_tune_epochs": 2}, "stop"),
    ("after early stopping too", [1, 2, 3, 4, 5], None, 3, {"fine_tune_epochs": 2}, "stop"),
    ("patience counts from its start", [1, 2, 3, 4], None, 3, {"fine_tune_epochs": 3}, "train"),
    ("and is over", [1, 2, 3, 4, 5], None, 3, {"fine_tune_epochs": 3}, "stop"),
    ("a better one while fine-tuning", [1, 2, 3, 0, 5], None, 3, {"fine_tune_epochs": 3}, "train"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("objectives", "closed", "start", "options", "step"),
    [row[1:] for row in NEXT],
    ids=[row[0] for row in NEXT],
)
def test_the_next_step(objectives, closed, start, options, step):
    best = BestEpoch(epochs=6, patience=2, **options)
    assert best.next_step(_logs(objectives, closed), start) == step


@pytest.mark.parametrize("patience", [1, 2, 4])
@pytest.mark.parametrize("fine_tune", [0, 1, 3])
def test_every_training_ends_in_time(patience, fine_tune):
    """Never more epochs than configured, and fine-tuned if configured, whatever the objectives."""
    best = BestEpoch(epochs=5, patience=patience, fine_tune_epochs=fine_tune)
    for objectives in itertools.permutations(range(5)):
        done, begun = [], None
        while True:
            word = best.next_step(done, begun)
            if word == "stop":
                break
            if word == "fine_tune":
                assert begun is None
                begun = len(done)
            done += _logs([objectives[len(done)]])
        assert len(done) <= 5
        assert (begun is not None) == (fine_tune > 0)
        assert begun is None or 0 < len(done) - begun <= fine_tune


def test_the_summary_names_the_epoch_and_a_missed_target():
    logs = _logs([3, 1, 2], [0.1, 0.31, 0.2])
    assert BestEpoch(9, 2).summary(logs) == "kept epoch 2 of 3"
    assert BestEpoch(9, 2, target=0.33).summary(logs) == "kept epoch 2 of 3"
    missed = BestEpoch(9, 2, target=TARGET).summary(logs)
    assert missed.startswith("kept epoch 2 of 3: sparsity is 31% instead of the target of 40%")


@pytest.mark.parametrize("target", [None, 0.3])
def test_the_rule_follows_from_the_configuration(target):
    gates = {} if target is None else {"target_sparsity": target}
    training = {"epochs": 7, "patience": 3, "fine_tune_epochs": 2}
    found = BestEpoch.configured(config({"gates": gates}, training), validated=True)
    assert found == BestEpoch(7, 3, 2, target, True)


def test_an_architecture_without_gates_has_no_target():
    model = {"architecture": "shared_bottom"}
    assert BestEpoch.configured(config(model), validated=False).target is None

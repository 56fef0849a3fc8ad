"""What epochs are compared by, and the tasks that were better in another one."""

from types import SimpleNamespace

import pytest

from mtl_tf.errors import UserError
from mtl_tf.schema import Task
from mtl_tf.training.criterion import criterion_for, value
from mtl_tf.training.passed_best import passed_best

TASKS = (
    Task(name="click", label="c", weight=3.0),
    Task(name="like", label="l"),
    Task(name="buy", label="b"),
    Task(name="shown", label="s", weight=0.0),
    Task(name="watch", label="w", kind="regression", weight=0.5),
)
LOGS = {
    "val_loss": 2.5,
    "val_objective": 2.75,
    "val_auc_click": 0.75,
    "val_auc_like": 0.5,
    "val_gauc_click": 0.625,
    "val_gauc_like": 0.75,
    "val_auc_shown": 0.1,
    "val_logloss_like": 0.125,
    "val_mse_watch": 160.0,
    "val_loss_watch": 4.0,
}
EVAL = SimpleNamespace(
    positives={"click": 40.0, "like": 2.0, "buy": 0.0, "shown": 5.0, "watch": 99.0},
    labelled={"click": 100, "like": 100, "buy": 100, "shown": 100, "watch": 90},
)
INFO = SimpleNamespace(splits={"eval": EVAL})


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("loss", 2.5),
        ("objective", 2.75),
        ("auc", -(3 * 0.75 + 0.5) / 4),  # nobody buys here, `shown` has no weight
        ("gauc", -(3 * 0.625 + 0.75) / 4),
        ({"like": 4.0, "watch": 0.5}, 4 * 0.125 + 0.5 * 4.0),
    ],
    ids=str,
)
def test_the_value_of_an_epoch(keep, expected):
    assert value(criterion_for(keep, TASKS, INFO, "user"), LOGS) == pytest.approx(expected)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"must name tasks .* Received: `likes`"):
        criterion_for({"likes": 1.0}, TASKS, INFO)
    with pytest.raises(UserError, match=r"`training\.keep: auc` needs a binary task"):
        criterion_for("auc", TASKS[2:], INFO)
    with pytest.raises(UserError, match=r"`training\.keep: gauc` needs `evaluation\.group`"):
        criterion_for("gauc", TASKS, INFO)
    with pytest.raises(UserError, match=r"needs `val_auc_click`, which the `eval` rows do not"):
        value(criterion_for("auc", TASKS, INFO), {"val_loss": 1.0})


def test_a_task_that_was_clearly_better_is_named():
    logs = [
        {"val_auc_click": 0.700, "val_auc_like": 0.793, "val_mse_watch": 4.00},
        {"val_auc_click": 0.709, "val_auc_like": 0.762, "val_mse_watch": 5.00},
        {"val_auc_click": 0.705, "val_auc_like": 0.700, "val_mse_watch": 4.95},
    ]
    assert list(passed_best(logs, 1, TASKS)) == [
        "like was best at epoch 1: AUC 0.793 instead of 0.762",
        "watch was best at epoch 1: MSE 4 instead of 5",
    ]
    assert list(passed_best(logs, 0, TASKS)) == []


def test_a_task_without_groups_of_both_classes_counts_by_its_auc():
    logs = {name: x for name, x in LOGS.items() if name != "val_gauc_like"}
    criterion = criterion_for("gauc", TASKS, INFO, "user_id")
    assert value(criterion, logs) == pytest.approx(-(3 * 0.625 + 0.5) / 4)

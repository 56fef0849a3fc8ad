"""The table of epochs: never wider than the display, whatever the number of tasks."""

import os
import pty
import re
import termios
import threading
from pathlib import Path

import pytest
import yaml

from mtl_tf.schema import Task
from mtl_tf.training.best_epoch import BestEpoch
from mtl_tf.training.checkpoint import TrainingProgress
from mtl_tf.training.epoch_table import EpochTable
from mtl_tf.training.progress import Display
from tests.support.processes import command, finish, start
from tests.support.training_data import LIGHT, config, write

NAMES = ("click", "buy", "like", "share", "follow", "conversion_rate", "add_to_cart", "hide",
         "report", "comment", "long_view", "watch")  # fmt: skip


class _Screen(Display):
    """A display of a given width that keeps its lines."""

    def __init__(self, width):
        super().__init__()
        self.lines, self._width = [], width

    @property
    def width(self):
        return self._width

    def print(self, line):
        self.lines.append(line)


def _tasks(count):
    """All binary but the last one."""
    names = [*NAMES[: count - 1], NAMES[-1]]
    return [
        Task(name=name, label=name, kind="regression" if name == "watch" else "binary")
        for name in names
    ]


def _logs(tasks, epoch):
    logs = {"loss": 1.5 / epoch, "val_loss": 2 - epoch % 3, "seconds": 12.34}
    for place, task in enumerate(tasks):
        metrics = ("auc", "logloss") if task.kind == "binary" else ("mse", "mae")
        logs |= {f"val_{name}_{task.name}": 0.6 + place / 100 for name in metrics}
    return {**logs, "gates_closed": 0.25, "masks_closed": 1.0, "rows_per_second": 123456.0}


def table(width, tasks, epochs=3, without=(), validated=True):
    """The lines that a training of these tasks prints."""
    screen, progress = _Screen(width), TrainingProgress()
    best = BestEpoch(epochs=epochs, patience=2, validated=validated)
    printed = EpochTable(screen, tasks, progress, best)
    for epoch in range(1, epochs + 1):
        logs = {k: v for k, v in _logs(tasks, epoch).items() if not k.startswith(without)}
        printed.on_epoch_end(epoch - 1, logs)
        progress.epochs.append(logs)
    return screen.lines


@pytest.mark.parametrize("tasks", [1, 2, 5, 12])
@pytest.mark.parametrize("width", [50, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_display(tasks, width):
    lines = table(width, _tasks(tasks))
    assert max(map(len, lines)) <= width
    epochs = [line.split()[0] for line in lines[-3:]]
    assert epochs == ["1", "2", "3"]
    assert len({len(line) for line in lines[-4:]}) == 1, "the figures stand below their titles"


def test_two_tasks_on_80_columns_have_all_columns():
    assert table(80, _tasks(2)) == [
        "* best so far                        click   watch      sparsity",
        "epoch      loss  val loss     auc  logloss     mse  gates  masks  seconds",
        "    1 *  1.5000    1.0000  0.6000   0.6000  0.6100    25%   100%     12.3",
        "    2 *  0.7500    0.0000  0.6000   0.6000  0.6100    25%   100%     12.3",
        "    3    0.5000    2.0000  0.6000   0.6000  0.6100    25%   100%     12.3",
    ]


def test_five_tasks_on_80_columns_have_their_main_metric():
    _, titles, *_ = table(80, _tasks(5))
    assert titles.split().count("auc") == 4
    assert "logloss" not in titles


def test_tasks_that_do_not_fit_are_counted():
    note, _, titles, *_ = table(80, _tasks(12))
    shown = titles.split().count("auc")
    assert note == f"{12 - shown} of 12 tasks do not fit; see run.json"
    assert shown >= 5
    assert "do not fit" not in table(120, _tasks(12))[0]


def test_a_metric_that_an_epoch_lacks_is_a_dash():
    """Such as the AUC of rows of a single class."""
    line = table(80, _tasks(2), without=("val_auc",))[-1]
    assert line.split()[3] == "–"


def test_without_validation_nothing_is_marked():
    lines = table(80, _tasks(2), without=("val_",), validated=False)
    assert "*" not in "".join(lines)
    assert lines[-4].split() == ["epoch", "loss", "gates", "masks", "seconds"]


@pytest.mark.keras
@pytest.mark.parametrize("columns", [80, 120])
def test_in_a_terminal(columns, tmp_path):
    """The command itself, on a pseudo-terminal of that size."""
    data = write(tmp_path / "dataset", {"train": 300, "eval": 100})
    parts = config(LIGHT, {"epochs": 2}).to_json()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**parts.pop("schema"), **parts}))
    arguments = [
        "train",
        "--config",
        str(file),
        "--data",
        str(data),
        "--run",
        str(tmp_path / "run"),
    ]
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    received = []
    reader = threading.Thread(target=_read, args=(master, received), daemon=True)
    reader.start()
    terminal = Path(os.ttyname(slave))
    assert finish(start(command, *arguments, log=terminal, TERM="xterm"), 150) == 0
    os.close(slave)
    reader.join(10)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(received).decode())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert any(re.match(r" +1 \*", line) for line in lines), text
    assert max(map(len, lines)) <= columns, text


def _read(master, received):
    while True:
        try:
            received.append(os.read(master, 1 << 16))
        except OSError:  # all its writers are gone
            return

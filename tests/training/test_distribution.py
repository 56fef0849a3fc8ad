"""Several replicas: the same metrics as one, and one run folder."""

import contextlib
import json
import shutil
import signal
import socket
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from mtl_tf.config import load_config
from mtl_tf.errors import UserError
from mtl_tf.training import load_run, train
from tests.support.processes import barrier, command, finish, killed, start
from tests.support.training_data import LIGHT, config, write

pytestmark = pytest.mark.keras

LIMIT = 600  # seconds; a worker that waits for another would wait for ever
ONLY_CPU = {"CUDA_VISIBLE_DEVICES": ""}
# The strategies that ask for sums over replicas themselves; one by rows, one reads its files
# in every epoch.
TRAININGS = {
    "plain": {},
    "reset": {"reset_tables": "epoch"},
    "gradnorm": {"loss_weighting": {"method": "gradnorm"}, "memory_mib": 0},
    "pcgrad": {"loss_weighting": {"method": "pcgrad"}, "table_optimizer": "row_adagrad"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One row in five has no `watch`: the parts of a batch hold unequal numbers of labels."""
    return write(tmp_path_factory.mktemp("distribution") / "dataset", {"train": 1000, "eval": 300})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A configuration file for each of `TRAININGS`."""
    folder = tmp_path_factory.mktemp("distribution")
    found = {}
    for name, options in TRAININGS.items():
        training = {"epochs": 2, "steps_per_execution": 3, "save_steps": 4, **options}
        parts = config({"masks": {"penalty": 0.01}}, training).to_json()
        found[name] = folder / f"{name}.yaml"
        found[name].write_text(yaml.safe_dump({**parts.pop("schema"), **parts}))
    return found


@pytest.fixture(scope="module")
def alone(data, files, tmp_path_factory):
    """The result of one device for `plain`."""
    run = tmp_path_factory.mktemp("distribution") / "alone"
    return train(load_config(files["plain"]), data, run, progress=False)


@pytest.fixture(scope="module")
def mirrored(data, files, tmp_path_factory):
    """The runs of two devices in one process, by name of the training in a folder."""
    folder = tmp_path_factory.mktemp("distribution")
    commands = [_arguments(data, files[name], folder / name, "mirrored") for name in files]
    log = folder / "log"
    assert finish(start(two_devices, commands, log=log, **ONLY_CPU), LIMIT) == 0, _end_of(log)
    return folder


def two_devices(commands):
    """Run commands one after the other, with the processor as two devices."""
    import tensorflow as tf

    from mtl_tf.cli import main

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    for arguments in commands:
        main(arguments)


def _arguments(data, file, run, strategy):
    return ["train", "--config", str(file), "--data", str(data), "--run", str(run),
            "--strategy", strategy]  # fmt: skip


def _same_figures(run: Path, alone) -> None:
    """To float tolerance: sums are taken in another order."""
    details = json.loads((run / "run.json").read_text())
    for found, expected in zip(details["epochs"], alone.epochs, strict=True):
        for name, value in expected.items():
            # A score that moves to the next bin changes the calibration error by steps.
            if name not in ("seconds", "rows_per_second") and "_ece_" not in name:
                assert found[name] == pytest.approx(value, rel=2e-4, abs=2e-5), name


def _end_of(log: Path) -> str:
    return log.read_text()[-3000:]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_devices_of_a_machine_train_as_one(name, data, files, alone, mirrored, tmp_path):
    if name != "plain":
        alone = train(load_config(files[name]), data, tmp_path / "alone", progress=False)
    _same_figures(mirrored / name, alone)
    found, expected = (load_run(run).model for run in (mirrored / name, alone.run))
    for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_replicas_log_the_weights_of_the_last_step(data, tmp_path):
    """As one device does: the end of an epoch sets the weights of the next one."""
    options = config(LIGHT, {"loss_weighting": {"method": "dwa"}, "steps_per_execution": 10})
    result = train(options, data, tmp_path / "run", progress=False, strategy="mirrored")
    weights = [epoch["weight_click"] for epoch in result.epochs]
    assert weights[:2] == [1, 1]
    assert weights[2] != 1


def _ports(count):
    """Return ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]


@contextlib.contextmanager
def _workers(function, arguments, folder):
    """Start two processes that train together; kill them at the end."""
    addresses = [f"127.0.0.1:{port}" for port in _ports(2)]
    processes = []
    try:
        for index in range(2):
            told = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            scratch = folder / f"scratch-{index}"
            scratch.mkdir(exist_ok=True)
            processes.append(
                start(
                    function,
                    *(x.format(worker=index) for x in arguments),
                    log=folder / f"log-{index}",
                    TF_CONFIG=json.dumps(told),
                    TMPDIR=str(scratch),
                    **ONLY_CPU,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join(10)


def test_two_workers_train_as_one_even_if_killed_and_only_the_chief_writes(
    data, files, alone, tmp_path
):
    """The first epoch is uninterrupted, the second is resumed."""
    run = tmp_path / "run"
    arguments = _arguments(data, files["plain"], run, "multi_worker")
    arguments += ["--json", str(tmp_path / "result-{worker}.json")]
    both = partial(killed, 1, 6, together=barrier(2))
    with _workers(both, arguments, tmp_path) as processes:
        assert [finish(process, LIMIT) for process in processes] == [-signal.SIGKILL] * 2
    for worker in range(2):  # a killed process cannot clear up
        shutil.rmtree(tmp_path / f"scratch-{worker}")
    with _workers(command, arguments, tmp_path) as processes:
        for index, process in enumerate(processes):
            assert finish(process, LIMIT) == 0, _end_of(tmp_path / f"log-{index}")
    assert "resuming epoch 2, step 6" in (tmp_path / "log-0").read_text()
    _same_figures(run, alone)
    assert {x.name for x in run.iterdir()} == {x.name for x in alone.run.iterdir()}
    left = {x.name for x in tmp_path.iterdir()}
    assert left == {"run", "result-0.json", "log-0", "log-1", "scratch-0", "scratch-1"}
    assert not [*(tmp_path / "scratch-0").iterdir(), *(tmp_path / "scratch-1").iterdir()]


@pytest.mark.parametrize("told", [None, "{", "{}", '{"task": {"type": "worker", "index": 0}}'])
def test_multi_worker_without_workers_is_a_one_sentence_error(told, data, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if told is not None:
        monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(UserError, match="expected the environment variable TF_CONFIG"):
        train(config(), data, tmp_path / "run", strategy="multi_worker")
    assert not list(tmp_path.iterdir())


def test_an_unknown_strategy_is_a_one_sentence_error(data, tmp_path):
    with pytest.raises(UserError, match="a strategy of mirrored, multi_worker; received `tpu`"):
        train(config(), data, tmp_path / "run", strategy="tpu")


def test_a_batch_that_cannot_be_divided_is_a_one_sentence_error():
    from mtl_tf.training.distribution import Cluster

    cluster = Cluster()
    cluster.check_batch_size(1)
    three = type("Three", (Cluster,), {"replicas": 3})()
    with pytest.raises(UserError, match="3 replicas; received 100, use 102"):
        three.check_batch_size(100)

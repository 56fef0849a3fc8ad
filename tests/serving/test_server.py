"""The local server starts or explains why not, loads new versions, and stops."""

import shutil
import signal
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest

from mtl_tf.errors import UserError
from serving.protocol.protos import model_management_pb2
from serving.protocol.tensors import from_proto
from serving.runtime import warmup
from serving.server import LocalServer
from serving.server.config import model_config, server_config
from tests.support.serving_stubs import DENSE, IDS, Status, Stubs, request, until
from tests.support.serving_toys import expected, save_toy


def test_large_requests_are_refused(toy_models):
    with LocalServer(toy_models, max_message_bytes=1000) as server:
        stubs = Stubs(server.address)
        large = {"dense": np.ones((500, 2), np.float32), "ids": np.zeros(500, int)}
        with pytest.raises(grpc.RpcError) as caught:
            stubs.predict(request(inputs=large))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_new_version_replaces_the_old_one_unless_it_fails_to_load(tmp_path):
    staged = save_toy(tmp_path / "elsewhere", version=2, shift=1000.0)
    broken = save_toy(tmp_path / "elsewhere", version=3)
    (broken / "saved_model.pb").write_bytes(b"cut off")
    models = tmp_path / "models"
    save_toy(models)
    with LocalServer(models, poll_seconds=0.02) as server:
        stubs = Stubs(server.address)
        staged.rename(models / "m" / "2")
        until(lambda: stubs.predict(request()).model_spec.version.value == 2)
        first = from_proto(stubs.predict(request()).outputs["a"])
        np.testing.assert_allclose(first, expected(DENSE, IDS, 1000.0))
        until(lambda: stubs.status("m")[1].state == Status.END)
        with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Specific\(m, 1"):
            stubs.predict(request(version=1))

        broken.rename(models / "m" / "3")
        until(lambda: stubs.status("m").get(3) and stubs.status("m")[3].state == Status.END)
        assert stubs.status("m")[3].status.error_code != 0
        assert stubs.predict(request()).model_spec.version.value == 2

        # A version that failed is not tried again, even after it is repaired.
        shutil.rmtree(models / "m" / "3")
        save_toy(models, version=3)
        server.store.poll()
        assert stubs.predict(request()).model_spec.version.value == 2


def test_start_fails_on_a_broken_newest_version(tmp_path):
    save_toy(tmp_path, version=1)
    (tmp_path / "m" / "2").mkdir()
    with pytest.raises(UserError, match="model `m`, version 2 cannot be loaded"):
        LocalServer(tmp_path).start()


def test_start_fails_on_a_failing_warmup(tmp_path):
    path = save_toy(tmp_path)
    bad = warmup.predict_request("m", "serving_default", {"dense": DENSE, "ids": np.array([9, 9])})
    warmup.write(path, [bad])
    with pytest.raises(UserError, match=r"indices\[0\] = 9 is not in"):
        LocalServer(tmp_path).start()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder / "none", "this folder of models does not exist"),
        (lambda folder: folder, "nothing to serve"),
        (lambda folder: "", "expected a folder of models. Received: ''"),
    ],
)
def test_nothing_to_serve(tmp_path, prepare, message):
    (tmp_path / "not-a-model").mkdir()
    with pytest.raises(UserError, match=message):
        LocalServer(prepare(tmp_path)).start()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 70_000}, "`port` must be from 0 to 65535. Received: 70000"),
        ({"poll_seconds": 0}, "`poll_seconds` must be positive. Received: 0"),
    ],
)
def test_wrong_arguments(toy_models, arguments, message):
    with pytest.raises(UserError, match=message):
        LocalServer(toy_models, **arguments)


def test_a_configuration_of_versions_that_do_not_exist(toy_models):
    config = server_config([model_config("m", toy_models / "m", versions=[77])])
    with pytest.raises(UserError, match="model `m` has none of the versions that its config"):
        LocalServer(config=config).start()


def test_a_taken_port_is_a_user_error(toy_models):
    with LocalServer(toy_models) as server:
        port = int(server.address.rsplit(":", 1)[1])
        with pytest.raises(UserError, match="cannot listen on"):
            LocalServer(toy_models, port=port).start()


def test_labels_and_policies_of_a_configuration(tmp_path, toy_models):
    save_toy(tmp_path, version=1)
    save_toy(tmp_path, version=4, shift=1.0)
    config = server_config(
        [model_config("m", tmp_path / "m", versions=[1, 4], labels={"canary": 4, "stable": 1})]
    )
    with LocalServer(config=config, poll_seconds=60) as server:
        stubs = Stubs(server.address)
        for label, version in {"canary": 4, "stable": 1}.items():
            reply = stubs.predict(request(version_label=label))
            assert reply.model_spec.version.value == version
        assert set(stubs.status("m")) == {1, 4}

        other = server_config([model_config("other", toy_models / "m")])
        stubs.model.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(config=other), timeout=20
        )
        assert stubs.predict(request(name="other")).model_spec.version.value == 1
        with pytest.raises(grpc.RpcError, match=r"Latest\(m\)"):
            stubs.predict(request())


def test_the_command_stops_cleanly_on_sigterm(toy_models):
    code = f"""
from serving.server import LocalServer, main
LocalServer.stop.__defaults__ = (0.1,)  # seconds of grace
main(["--models", {str(toy_models)!r}, "--port", "0"])
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            line = process.stdout.readline().decode()
            assert line.startswith("serving m on 127.0.0.1:")
            stubs = Stubs(line.split()[3])
            assert stubs.predict(request()).model_spec.name == "m"
            endless = request(signature="slow", inputs={"rounds": np.array([10**15])})
            running = stubs.prediction.Predict.future(endless)
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
            assert running.exception().code() == grpc.StatusCode.UNAVAILABLE
        finally:
            process.kill()

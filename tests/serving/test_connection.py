"""The client's connection: deadlines, and servers that start late, stop or do not exist."""

import socket
import threading

import grpc
import numpy as np
import pytest

from mtl_tf.errors import UserError
from serving.client import Client, ServingError
from serving.server import LocalServer
from tests.support.serving_toys import answers, rows


def test_no_deadline(server):
    with Client(server.address, timeout=float("inf")) as patient:
        np.testing.assert_allclose(patient.score("m", rows())["a"], answers())


def test_a_closed_client_is_an_error(server):
    client = Client(server.address)
    client.score("m", rows())
    client.close()
    with pytest.raises(UserError, match="the client is closed"):
        client.score("m", rows())


def test_deadline(client, server):
    with Client(server.address, timeout=0.05) as hasty, pytest.raises(ServingError) as caught:
        hasty.score("m", [{"rounds": 300_000}], signature="slow")
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "give a larger `timeout`" in str(caught.value)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_server():
    with Client(f"127.0.0.1:{free_port()}", timeout=0.3) as client:
        with pytest.raises(ServingError, match=r"\(UNAVAILABLE\); start the server") as caught:
            client.score("m", rows())
        with pytest.raises(ServingError, match="start the server"):
            client.wait_until_ready("m", timeout=0.2)
    assert caught.value.exit_code == 1


def test_waits_for_a_server_that_starts_later(toy_models):
    server = LocalServer(toy_models, port=free_port())
    starting = threading.Timer(0.5, server.start)
    starting.start()
    try:
        with Client(server.address) as client:
            assert client.wait_until_ready("m", timeout=20) == 1
            np.testing.assert_allclose(client.score("m", rows())["a"], answers())
    finally:
        starting.join()
        server.stop()


def test_wait_until_ready_reports_the_last_state(client):
    assert client.status("m") == {1: "AVAILABLE"}
    with pytest.raises(ServingError, match=r"was not ready within 1 s: .*Could not find any"):
        client.wait_until_ready("nope", timeout=1)


class _Unsteady:
    """A stub's call that fails before it works."""

    def __init__(self, call, *failures):
        self.call, self.failures = call, list(failures)

    def __call__(self, request, timeout):
        if self.failures:
            raise self.failures.pop(0)
        return self.call(request, timeout=timeout)


class _Failure(grpc.RpcError):
    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    def details(self):
        return "a passing fault"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_only_errors_of_a_stopping_server_are_retried(client, code):
    stub = client._connection.prediction
    stub.Predict = _Unsteady(stub.Predict, *[_Failure(code)] * 2)
    np.testing.assert_allclose(client.score("m", rows())["a"], answers())
    stub.Predict = _Unsteady(stub.Predict, _Failure(grpc.StatusCode.INTERNAL))
    with pytest.raises(ServingError, match=r"a passing fault \(INTERNAL\)"):
        client.score("m", rows())

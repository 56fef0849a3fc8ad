"""A server of the toy models, and a client that asks it."""

import pytest

from serving.client import Client
from serving.server import LocalServer


@pytest.fixture(scope="module")
def server(toy_models):
    with LocalServer(toy_models, poll_seconds=0.02) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client

"""The channel to one server: calls with a deadline, retries, errors as sentences."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import grpc

from mtl_tf.errors import UserError
from serving.protocol.protos import model_service_pb2_grpc, prediction_service_pb2_grpc

_HINTS = {
    grpc.StatusCode.UNAVAILABLE: "start the server, or check its address",
    grpc.StatusCode.DEADLINE_EXCEEDED: "give a larger `timeout`, or send smaller batches",
    grpc.StatusCode.NOT_FOUND: "check the name and the version, or export the model first",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "send smaller batches, or fewer at a time",
}
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # gRPC's own limit is 4 MB
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# CANCELLED is the answer of a server that is closing its port.
_TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_MAX_WAIT = 1.0  # seconds between two tries
_MAX_TIMEOUT = 365 * 86400.0  # gRPC overflows above 2**63 nanoseconds


class ServingError(UserError):
    """The server refused the request or failed; `code` is gRPC's status code."""

    exit_code = 1

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """The stubs of one server, and the way to call them.

    Args:
        address: host:port.
        timeout: seconds for one call, including retries.
        credentials: for a TLS channel; plain text when None.
    """

    def __init__(
        self, address: str, timeout: float, credentials: grpc.ChannelCredentials | None
    ) -> None:
        if not timeout > 0:
            raise UserError(f"`timeout` must be positive (seconds). Received: {timeout}")
        if not address.strip():  # gRPC would print its own message first
            raise UserError("`address` must be host:port. Received: ''")
        self.address = address
        self.timeout = timeout
        self._closed = False
        self._channel = (
            grpc.insecure_channel(address, _OPTIONS)
            if credentials is None
            else grpc.secure_channel(address, credentials, _OPTIONS)
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def call(
        self, rpc: Callable[..., Any], request: Any, model: str, timeout: float | None = None
    ) -> Any:
        """Return the server's answer to `request`, which is about `model`.

        The errors of a server that stops or starts are retried, with growing pauses, until
        the deadline; scoring changes nothing, so sending a request twice is safe.

        Raises:
            ServingError: Any other error, or the deadline has passed.
        """
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        pause = 0.05
        while True:
            try:
                left = max(end - time.monotonic(), 0.001)
                return rpc(request, timeout=min(left, _MAX_TIMEOUT))
            except ValueError:
                if not self._closed:
                    raise
                raise UserError("the client is closed; create another one") from None
            except grpc.RpcError as error:
                # Random, so that many clients do not retry at the same moment.
                wait = pause * random.uniform(0.5, 1.0)
                if error.code() not in _TRANSIENT or time.monotonic() + wait > end:
                    raise ServingError(self._sentence(error, model), error.code()) from None
            time.sleep(wait)
            pause = min(2 * pause, _MAX_WAIT)

    def close(self) -> None:
        """Close the channel."""
        self._closed = True
        self._channel.close()

    def _sentence(self, error: Any, model: str) -> str:
        code, details = error.code(), (error.details() or "").strip().splitlines()
        said = details[0] if details else "no reason given"
        hint = f"; {_HINTS[code]}" if code in _HINTS else ""
        return f"model `{model}` at {self.address}: {said} ({code.name}){hint}"

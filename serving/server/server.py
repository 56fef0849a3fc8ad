"""A local server with TF Serving's protocol, loader and answers, for development.

Use TF Serving itself in production. `python -m serving.server --help` lists the options.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc

from mtl_tf.errors import UserError
from serving.protocol.protos import (
    model_pb2,
    model_server_config_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from serving.runtime.loaded_model import RequestError
from serving.server.config import folder_config, read_config
from serving.server.model_store import ModelStore
from serving.server.services import ModelService, PredictionService

_log = logging.getLogger(__name__)


class LocalServer:
    """Serve the models of a folder, or of a TF Serving configuration, over gRPC.

    The port opens after every model has loaded. New versions then replace old ones while
    requests run; if a version fails to load, the old one is kept.

    Args:
        models: folder of models, `NAME/VERSION/` inside; new models are found, too.
        host: address to listen on. There is no authentication: use another than this
            machine's own only in a trusted network.
        port: to listen on; 0 takes a free one.
        config: TF Serving's configuration, instead of `models`.
        poll_seconds: time between two looks for new versions.
        threads: size of each model's thread pools; 0 lets TensorFlow choose. With 1 there
            are no pools: a request runs on the thread that received it.
        max_message_bytes: larger requests are refused (RESOURCE_EXHAUSTED).

    Raises:
        UserError: An argument is wrong; or, by `start`, there is nothing to serve, the
            newest version of a model cannot be loaded, or the port is taken.
    """

    def __init__(
        self,
        models: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        config: model_server_config_pb2.ModelServerConfig | None = None,
        poll_seconds: float = 1.0,
        threads: int = 0,
        max_message_bytes: int = 256 << 20,
    ) -> None:
        if (models is None) == (config is None):
            raise UserError("give either `models` or `config`")
        if not 0 <= port <= 65535:  # gRPC would take it modulo 65536
            raise UserError(f"`port` must be from 0 to 65535. Received: {port}")
        if not poll_seconds > 0:
            raise UserError(f"`poll_seconds` must be positive. Received: {poll_seconds}")
        if ":" in host and not host.startswith("["):  # an IPv6 address
            host = f"[{host}]"
        source = (lambda: config) if models is None else functools.partial(folder_config, models)
        self.store = ModelStore(source, threads)
        self.address = f"{host}:{port}"
        self._host, self._port = host, port
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="model-poll", daemon=True)
        workers = 4 * (os.cpu_count() or 1)  # as many as TF Serving has by default
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="rpc"),
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # make a taken port an error, not a second server
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self.store), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self.store), self._server
        )

    def start(self) -> LocalServer:
        """Load and warm up the models, then open the port; `address` has its number."""
        self.store.poll()
        _require_available(self.store)
        try:
            port = self._server.add_insecure_port(f"{self._host}:{self._port}")
        except RuntimeError:
            raise UserError(
                f"cannot listen on {self._host}:{self._port}: the port is taken or the address is "
                "not this machine's; choose another with --port or --host"
            ) from None
        self.address = f"{self._host}:{port}"
        self._server.start()
        self._poller.start()
        return self

    def stop(self, grace: float = 5.0) -> None:
        """Close the port and wait `grace` seconds for running requests to end."""
        self._stopping.set()
        # Bounded: a request that never ends must not keep the process alive.
        self._server.stop(grace).wait(grace + 5)
        if self._poller.is_alive():
            self._poller.join(grace + 5)

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.store.poll()
            except Exception:  # the folder may be unreachable for a moment
                _log.exception("looking for new versions failed; still serving the loaded ones")


def _require_available(store: ModelStore) -> None:
    if not store.names():
        raise UserError(
            "nothing to serve: no model with a version (NAME/1/) found; export one first"
        )
    for name in store.names():
        try:
            versions = store.status(model_pb2.ModelSpec(name=name))
        except RequestError:
            raise UserError(
                f"model `{name}` has none of the versions that its configuration requests; "
                "check `model_version_policy` and `base_path`"
            ) from None
        for number, version in versions.items():
            if version.code:
                raise UserError(
                    f"model `{name}`, version {number} cannot be loaded "
                    f"({version.message.splitlines()[0]}); publish a corrected version under a "
                    "new number"
                )


def main(argv: Sequence[str] | None = None) -> None:
    """Run `python -m serving.server`: serve until SIGTERM or SIGINT, then stop cleanly."""
    options = _parser().parse_args(argv)
    server = LocalServer(
        options.models,
        options.host,
        options.port,
        config=read_config(options.config) if options.config else None,
        poll_seconds=options.poll_seconds,
        threads=options.threads,
    )
    stop_requested = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop_requested.set())
    with server:
        names = ", ".join(server.store.names())
        print(f"serving {names} on {server.address} (Ctrl-C stops it)", flush=True)
        stop_requested.wait()
    _exit_now()


def _exit_now() -> None:
    """End the process: returning would wait for requests that are still running."""
    sys.stdout.flush()
    logging.shutdown()
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.server", description=(__doc__ or "").splitlines()[0]
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--models", help="folder of models, NAME/VERSION/ inside")
    source.add_argument("--config", help="text file, as for TF Serving's --model_config_file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8500, help="port to listen on; 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        "--poll-seconds",
        type=float,
        default=1.0,
        help="time between two looks for new versions (%(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads per model; 0 lets TensorFlow choose, 1 suits small requests (%(default)s)",
    )
    return parser

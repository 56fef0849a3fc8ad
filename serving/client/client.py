"""A client of TF Serving (or the local server) for rows and tasks instead of tensors.

It needs gRPC, the protocol's messages and NumPy, but neither Keras nor TensorFlow.

>>> from serving.client import Client
>>> with Client("127.0.0.1:8500") as client:                       # doctest: +SKIP
...     client.score("shop", [{"country": "CH", "price": 3.5}])
{'click': array([0.0312], dtype=float32), 'buy': array([0.0021], dtype=float32)}
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from mtl_tf.errors import UserError
from serving.client.connection import Connection, ServingError
from serving.client.encoder import RowEncoder
from serving.client.request import (
    ModelMetadata,
    ScoreRequest,
    check_tasks,
    chosen_version,
    join_scores,
    model_spec,
    read_schema,
    wanted_tasks,
)
from serving.client.rows import Rows, names_in, num_rows, slice_rows
from serving.protocol.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    meta_graph_pb2,
    model_pb2,
    predict_pb2,
)
from serving.protocol.signatures import DEFAULT, RANK
from serving.protocol.tensors import from_proto, to_proto

if TYPE_CHECKING:
    from mtl_tf.schema import Schema

__all__ = ["Client", "ServingError"]

_STATES = get_model_status_pb2.ModelVersionStatus.State
_FIELD = "signature_def"
_CODE = grpc.StatusCode
# The errors that a request built for another version's signature may cause.
_STALE_CODES = (_CODE.INVALID_ARGUMENT, _CODE.FAILED_PRECONDITION, _CODE.NOT_FOUND)
_MAX_TRIES = 3  # a score starts again if the version changes in between


class _VersionChanged(Exception):
    """The served version is not the one that the request was built for."""


class Client:
    """Score rows with the models of one server.

    Threads may share a client.

    Args:
        address: host:port.
        timeout: seconds for one request, including retries.
        schema: the model's schema (`assets.extra/schema.json`, or the `Schema`). With it,
            rows may be keyed by column name, multivalued fields may be text joined by the
            field's separator, and the schema's missing values are recognized.
        batch_size: rows per request; more rows become several requests, all answered by
            the same version.
        credentials: for a TLS channel (`grpc.ssl_channel_credentials(...)`); plain text
            by default.
    """

    def __init__(
        self,
        address: str,
        timeout: float = 10.0,
        schema: Schema | Mapping[str, Any] | str | Path | None = None,
        batch_size: int = 512,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"`batch_size` must be positive. Received: {batch_size}")
        self.address = address
        self._connection = Connection(address, timeout, credentials)
        self._schema = read_schema(schema)
        self._batch_size = batch_size
        self._metadata: dict[tuple[str, int | str | None], ModelMetadata] = {}
        self._warned: set[str] = set()

    def score(
        self,
        model: str,
        rows: Rows,
        tasks: Sequence[str] | None = None,
        signature: str = DEFAULT,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the scores of `rows` by task, each of shape (rows,).

        Without rows the arrays are empty, and no prediction is requested.

        Args:
            model: name of the served model.
            rows: dicts keyed by field or column name, or one dict of equally long columns.
                A missing value is None, NaN, "" or left out. Columns that the model does
                not use are ignored, and inputs that no row has are sent as missing; both
                are warned about once.
            tasks: the tasks to score; all by default.
            signature: `serving_default`, `examples` (sends the same rows as tf.Example),
                or `ids` (rows of transformed values, none missing).
            version: number of the version; the newest by default.
            label: label of the version, instead of its number.

        Raises:
            UserError: An argument is wrong, or a row does not fit the signature.
            ServingError: The server refuses the request or does not answer.
        """
        chosen = chosen_version(version, label)
        check_tasks(tasks)
        if tasks is not None and not num_rows(rows):
            return join_scores([], tasks)
        return self._score_with_retry(model, chosen, ScoreRequest(signature, rows, tasks))

    def rank(
        self,
        model: str,
        context: Mapping[str, Any],
        candidates: Rows,
        tasks: Sequence[str] | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the scores of many candidates in one context by task, each (candidates,).

        The context is sent once, and what depends on it alone is computed once; the scores
        are those of `score` for rows that repeat it. The schema says which fields belong to
        the context (`side: context`).

        Args:
            model: name of the served model; it must have a `rank` signature.
            context: one row, keyed like `candidates`.
            candidates: rows as for `score`, without the context's fields.
            tasks, version, label: as for `score`.

        Example:
        >>> client.rank("shop", {"country": "CH"}, [{"item": 7}, {"item": 9}])  # doctest: +SKIP
        {'click': array([0.0312, 0.0174], dtype=float32)}
        """
        chosen = chosen_version(version, label)
        if not isinstance(context, Mapping):
            raise UserError(f"`context` must be one row, a dict. Received: {context!r:.60}")
        check_tasks(tasks)
        if tasks is not None and not num_rows(candidates):
            return join_scores([], tasks)
        request = ScoreRequest(RANK, candidates, tasks, context)
        return self._score_with_retry(model, chosen, request)

    def _score_with_retry(
        self, model: str, chosen: int | str | None, request: ScoreRequest
    ) -> dict[str, np.ndarray]:
        """Return scores that one version computed, again if the version has changed."""
        for _ in range(_MAX_TRIES):
            fresh = (model, chosen) not in self._metadata
            try:
                return self._score_once(
                    model_spec(model, chosen, request.signature), chosen, request
                )
            except _VersionChanged:
                pass
            except UserError as error:  # the metadata may be out of date
                if fresh or getattr(error, "code", _STALE_CODES[0]) not in _STALE_CODES:
                    raise
            self._metadata.pop((model, chosen), None)
        message = f"model `{model}` changed its version in each of {_MAX_TRIES} tries; try again"
        raise ServingError(message, _CODE.ABORTED)

    def signatures(
        self, model: str, version: int | str | None = None
    ) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """Return a model's signatures by name; `version` is a number or a label."""
        chosen = version if isinstance(version, str) else chosen_version(version, None)
        return self._model_metadata(model, chosen).signatures

    def status(self, model: str) -> dict[int, str]:
        """Return the state of each version of a model: AVAILABLE, LOADING, END, …"""
        return self._status(model, self._connection.timeout)

    def wait_until_ready(self, model: str, timeout: float = 60.0) -> int:
        """Wait until a version is AVAILABLE and return the newest such version.

        Raises:
            ServingError: There is none after `timeout` seconds, or the server fails.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                states = self._status(model, max(end - time.monotonic(), 0.1))
                if ready := [number for number, state in states.items() if state == "AVAILABLE"]:
                    return max(ready)
                seen = f"its versions are {states}"
            except ServingError as error:
                if error.code != _CODE.NOT_FOUND:
                    raise
                seen = str(error)
            if time.monotonic() > end:
                message = f"model `{model}` was not ready within {timeout:g} s: {seen}"
                raise ServingError(message, _CODE.DEADLINE_EXCEEDED)
            time.sleep(0.1)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _status(self, model: str, timeout: float) -> dict[int, str]:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": model})
        reply = self._connection.call(
            self._connection.model.GetModelStatus, request, model, timeout
        )
        return {entry.version: _STATES.Name(entry.state) for entry in reply.model_version_status}

    def _model_metadata(self, model: str, chosen: int | str | None) -> ModelMetadata:
        known = self._metadata.get((model, chosen))
        if known is None:
            request = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=model_spec(model, chosen), metadata_field=[_FIELD]
            )
            reply = self._connection.call(
                self._connection.prediction.GetModelMetadata, request, model
            )
            reply_map = get_model_metadata_pb2.SignatureDefMap()
            reply.metadata[_FIELD].Unpack(reply_map)
            # TensorFlow's own signatures, which initialize the model, are named `__…`.
            found = {k: v for k, v in reply_map.signature_def.items() if not k.startswith("__")}
            known = ModelMetadata(reply.model_spec.version.value, found)
            self._metadata[model, chosen] = known
        return known

    def _score_once(
        self, spec: model_pb2.ModelSpec, chosen: int | str | None, request: ScoreRequest
    ) -> dict[str, np.ndarray]:
        metadata, rows = self._model_metadata(spec.name, chosen), request.rows
        tasks = wanted_tasks(spec, metadata, request.tasks)
        parts: list[dict[str, np.ndarray]] = []
        if num_rows(rows):
            encoder = RowEncoder(
                metadata.signatures, spec.signature_name, self._schema, request.context
            )
            self._warn(encoder.input_warnings(spec.name, names_in(rows)))
        for start in range(0, num_rows(rows), self._batch_size):
            arrays = encoder.arrays(slice_rows(rows, start, start + self._batch_size), start)
            reply = self._predict(spec, arrays, tasks, pinned=start > 0)
            parts.append({task: from_proto(reply.outputs[task]) for task in tasks})
            spec.version.value = reply.model_spec.version.value  # for the other parts, too
        if parts and spec.version.value != metadata.version:
            self._metadata.pop((spec.name, chosen), None)
        return join_scores(parts, tasks)

    def _predict(
        self,
        spec: model_pb2.ModelSpec,
        arrays: Mapping[str, np.ndarray],
        tasks: Sequence[str],
        pinned: bool,
    ) -> predict_pb2.PredictResponse:
        request = predict_pb2.PredictRequest(model_spec=spec, output_filter=tasks)
        for name, array in arrays.items():
            request.inputs[name].CopyFrom(to_proto(array))
        try:
            return self._connection.call(self._connection.prediction.Predict, request, spec.name)
        except ServingError as error:
            if pinned and error.code == _CODE.NOT_FOUND:
                raise _VersionChanged from None
            raise

    def _warn(self, messages: Sequence[str]) -> None:
        for message in messages:
            if message not in self._warned:
                self._warned.add(message)
                warnings.warn(message, stacklevel=5)

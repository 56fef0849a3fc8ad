"""PredictionService and ModelService on a `ModelStore`, with TF Serving's answers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import grpc

from serving.protocol.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from serving.protocol.signatures import DEFAULT
from serving.protocol.tensors import to_value_proto
from serving.runtime.loaded_model import RequestError
from serving.server.model_store import ModelStore

_log = logging.getLogger(__name__)
_METADATA_FIELD = "signature_def"
_INVALID = grpc.StatusCode.INVALID_ARGUMENT


def _handler(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a `RequestError` into the call's status, and any other error into INTERNAL."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            return method(self, request)
        except RequestError as error:
            code, message = error.code, error.message
        except Exception:
            _log.exception("%s failed", method.__name__)
            code, message = grpc.StatusCode.INTERNAL, "the server failed; see its log"
        context.abort(code, message)

    return answer


def _spec_of(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise RequestError(_INVALID, "Missing ModelSpec")
    return request.model_spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the calls with tf.Examples are not implemented."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    @_handler
    def Predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Return the scores of one request."""
        spec = _spec_of(request)
        version, model = self._store.find(spec)
        outputs = model.predict(spec.signature_name, request.inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = spec.signature_name or DEFAULT
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(to_value_proto(array))
        return response

    @_handler
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Return the signatures of a version."""
        spec = _spec_of(request)
        if not request.metadata_field:
            raise RequestError(
                _INVALID, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _METADATA_FIELD:
                raise RequestError(_INVALID, f"Metadata field {field} is not supported")
        version, model = self._store.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in model.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.metadata[_METADATA_FIELD].Pack(signatures)
        return response

    @_handler
    def Classify(self, request: object) -> None:
        """Not implemented; use Predict."""
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED, "Classify is not implemented; use Predict"
        )

    @_handler
    def Regress(self, request: object) -> None:
        """Not implemented; use Predict."""
        raise RequestError(grpc.StatusCode.UNIMPLEMENTED, "Regress is not implemented; use Predict")

    @_handler
    def MultiInference(self, request: object) -> None:
        """Not implemented; use Predict, which returns all tasks."""
        raise RequestError(
            grpc.StatusCode.UNIMPLEMENTED, "MultiInference is not implemented; use Predict"
        )


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    @_handler
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the state of each version of a model."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, version in self._store.status(_spec_of(request)).items():
            entry = response.model_version_status.add(version=number, state=version.state)
            entry.status.error_code = version.code
            entry.status.error_message = version.message
        return response

    @_handler
    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serve the models of a new configuration instead."""
        config = request.config
        if config.WhichOneof("config") != "model_config_list":
            raise RequestError(_INVALID, "only a model_config_list can be loaded")
        self._store.config = lambda: config
        self._store.poll()
        return model_management_pb2.ReloadConfigResponse()

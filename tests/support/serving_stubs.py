"""Requests to a server of the toy models, and a minimal client to send them."""

import time

import grpc
import numpy as np

from serving.protocol.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from serving.runtime import warmup

DENSE = np.array([[1, 2], [3, 4]], np.float32)
IDS = np.array([0, 2])
Status = get_model_status_pb2.ModelVersionStatus


class Stubs:
    """A client without retries and conversions."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, request, timeout=10):
        return self.prediction.Predict(request, timeout=timeout)

    def status(self, name, version=None):
        spec = model_pb2.ModelSpec(name=name)
        if version is not None:
            spec.version.value = version
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        reply = self.model.GetModelStatus(request, timeout=10)
        return {entry.version: entry for entry in reply.model_version_status}

    def metadata(self, **arguments):
        request = get_model_metadata_pb2.GetModelMetadataRequest(**arguments)
        return self.prediction.GetModelMetadata(request, timeout=10)


def request(name="m", signature="", inputs=None, **spec):
    """Return a good request, or one whose model spec has these fields."""
    inputs = {"dense": DENSE, "ids": IDS} if inputs is None else inputs
    result = warmup.predict_request(name, signature, inputs)
    for key, value in spec.items():
        if key == "version":
            result.model_spec.version.value = value
        else:
            setattr(result.model_spec, key, value)
    return result


def until(condition, seconds=20.0):
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)

"""The warm-up file: requests that TF Serving runs before a version becomes available.

Without it the first request of each size pays for TensorFlow's set-up (measured at batch
1: 113 ms without, 11 ms with). If one of them fails, the version fails to load, before a
user can meet the fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf

from serving.protocol.protos import predict_pb2, prediction_log_pb2
from serving.protocol.tensors import to_proto
from serving.runtime.loaded_model import LoadedModel, RequestError

FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000  # TF Serving's own limit: one more and the version fails to load


def predict_request(
    name: str, signature: str, arrays: Mapping[str, np.ndarray]
) -> predict_pb2.PredictRequest:
    """Return a request to the model `name`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, array in arrays.items():
        request.inputs[key].CopyFrom(to_proto(array))
    return request


def write(version: Path, requests: Iterable[predict_pb2.PredictRequest]) -> int:
    """Write `requests` as the warm-up file of a version folder; return their number."""
    records = [_record(request) for request in requests]
    if len(records) > MAX_RECORDS:
        raise ValueError(
            f"a warm-up file holds at most {MAX_RECORDS} requests. Received: {len(records)}"
        )
    (version / FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / FILE)) as writer:
        for record in records:
            writer.write(record)
    return len(records)


def replay(model: LoadedModel, version: Path) -> int:
    """Run a version's warm-up requests, if it has any; return their number.

    Raises:
        RequestError: One fails; TF Serving does not load the version then.
    """
    count = 0
    for request in read(version):
        model.predict(request.model_spec.signature_name, request.inputs, request.output_filter)
        count += 1
    return count


def read(version: Path) -> Iterator[predict_pb2.PredictRequest]:
    """Yield the warm-up requests of a version; none if it has no such file."""
    path = version / FILE
    if not path.exists():
        return
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    for count, record in enumerate(records, start=1):
        if count > MAX_RECORDS:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}",
            )
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.WhichOneof("log_type") != "predict_log":
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Unsupported log_type for warmup: {log.WhichOneof('log_type')}",
            )
        yield log.predict_log.request


def _record(request: predict_pb2.PredictRequest) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log.SerializeToString()

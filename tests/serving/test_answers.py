"""The local server gives the answers observed of TF Serving, to good and bad requests."""

import grpc
import numpy as np
import pytest

from serving.protocol.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    types_pb2,
)
from serving.protocol.tensors import from_proto
from serving.server import LocalServer
from tests.support.serving_stubs import DENSE, IDS, Status, Stubs, request
from tests.support.serving_toys import expected


@pytest.fixture(scope="module")
def server(toy_models):
    with LocalServer(toy_models) as server:
        yield server


@pytest.fixture(scope="module")
def stubs(server):
    stubs = Stubs(server.address)
    yield stubs
    stubs.channel.close()


def changed(change):
    result = request()
    change(result)
    return result


def set_dim(proto):
    proto.inputs["dense"].tensor_shape.dim[0].size = -1


def set_dtype(proto):
    proto.inputs["dense"].dtype = types_pb2.DT_INVALID


def cut_bytes(proto):
    proto.inputs["dense"].tensor_content = b"\0\0\0"


def output_filter(*names):
    return changed(lambda proto: proto.output_filter.extend(names))


def test_scores_and_the_resolved_model_spec(stubs):
    reply = stubs.predict(request())
    np.testing.assert_allclose(from_proto(reply.outputs["a"]), expected(DENSE, IDS))
    np.testing.assert_allclose(from_proto(reply.outputs["b"]), -expected(DENSE, IDS))
    spec = reply.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 1, "serving_default")
    assert list(reply.outputs["a"].float_val)  # a list of values, as TF Serving answers


def test_output_filter_and_strings(stubs):
    assert set(stubs.predict(output_filter("b")).outputs) == {"b"}
    texts = np.array(["ä", "", "xyz"], object)
    reply = stubs.predict(request(signature="echo", inputs={"text": texts}))
    assert from_proto(reply.outputs["length"]).tolist() == [2, 0, 3]
    assert from_proto(reply.outputs["upper"]).tolist()[2] == b"XYZ"


def test_empty_batch(stubs):
    reply = stubs.predict(request(inputs={"dense": DENSE[:0], "ids": IDS[:0]}))
    assert from_proto(reply.outputs["a"]).shape == (0,)


BAD = {
    "no model_spec": (
        predict_pb2.PredictRequest(),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "empty name": (request(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "unknown model": (
        request(name="nope"),
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    "unknown version": (
        request(version=99),
        "NOT_FOUND",
        "Servable not found for request: Specific(m, 99)",
    ),
    "unknown label": (
        request(version_label="canary"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    ),
    "unknown signature": (
        request(signature="nosig"),
        "FAILED_PRECONDITION",
        'Serving signature key "nosig" not found.',
    ),
    "missing input": (
        request(inputs={"dense": DENSE}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 1!=2 len({dense}) != len({dense,ids}). "
        "Sent extra: {}. Missing but required: {ids}.",
    ),
    "extra input": (
        request(inputs={"dense": DENSE, "ids": IDS, "zzz": IDS}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 3!=2 len({dense,ids,zzz}) != len({dense,ids}). "
        "Sent extra: {zzz}. Missing but required: {}.",
    ),
    "bad tensor bytes": (
        changed(cut_bytes),
        "INVALID_ARGUMENT",
        "tensor parsing error: dense",
    ),
    "negative dim": (changed(set_dim), "INVALID_ARGUMENT", "tensor parsing error: dense"),
    "dtype 0": (changed(set_dtype), "INVALID_ARGUMENT", "tensor parsing error: dense"),
    "wrong dtype": (
        request(inputs={"dense": DENSE, "ids": DENSE[:, 0]}),
        "INVALID_ARGUMENT",
        "Expects arg[1] to be int64 but float is provided",
    ),
    "bad output_filter": (
        output_filter("nope"),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: nope Outputs expected to be in the set {a,b}.",
    ),
    "duplicate filter": (
        output_filter("a", "a"),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: a",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(stubs, case):
    bad, code, message = BAD[case]
    with pytest.raises(grpc.RpcError) as caught:
        stubs.predict(bad)
    assert (caught.value.code().name, caught.value.details()) == (code, message)


def test_same_number_of_inputs_with_a_wrong_name(stubs):
    with pytest.raises(grpc.RpcError) as caught:
        stubs.predict(request(inputs={"dense": DENSE, "zzz": IDS}))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("Signature input alias: ids(feed name: ")


@pytest.mark.parametrize(
    ("dense", "ids", "kernel"),
    [
        (np.ones((2, 3), np.float32), IDS, "Matrix size-incompatible: In[0]: [2,3], In[1]: [2,1]"),
        (DENSE, np.array([0, 7]), "indices[1] = 7 is not in [0, 3)"),
        (np.ones((3, 2), np.float32), IDS, "Incompatible shapes"),
    ],
)
def test_errors_of_kernels_are_passed_on(stubs, dense, ids, kernel):
    with pytest.raises(grpc.RpcError) as caught:
        stubs.predict(request(inputs={"dense": dense, "ids": ids}))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(kernel)


def test_deadline(stubs):
    with pytest.raises(grpc.RpcError) as caught:
        long = request(signature="slow", inputs={"rounds": np.array([200_000])})
        stubs.predict(long, timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_status(stubs):
    assert stubs.status("m")[1].state == Status.AVAILABLE
    assert stubs.status("m", version=1)[1].status.error_message == ""


@pytest.mark.parametrize(
    ("ask", "code", "message"),
    [
        (
            lambda stubs: stubs.status("nope"),
            "NOT_FOUND",
            "Could not find any versions of model nope",
        ),
        (
            lambda stubs: stubs.status("m", version=99),
            "NOT_FOUND",
            "Could not find version 99 of model m",
        ),
        (
            lambda stubs: stubs.model.GetModelStatus(get_model_status_pb2.GetModelStatusRequest()),
            "INVALID_ARGUMENT",
            "Missing ModelSpec",
        ),
        (
            lambda stubs: stubs.metadata(model_spec={"name": "m"}),
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            lambda stubs: stubs.metadata(model_spec={"name": "m"}, metadata_field=["foo"]),
            "INVALID_ARGUMENT",
            "Metadata field foo is not supported",
        ),
        (
            lambda stubs: stubs.metadata(metadata_field=["signature_def"]),
            "INVALID_ARGUMENT",
            "Missing ModelSpec",
        ),
    ],
)
def test_bad_metadata_and_status_requests(stubs, ask, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        ask(stubs)
    assert (caught.value.code().name, caught.value.details()) == (code, message)


def test_metadata(stubs):
    reply = stubs.metadata(model_spec={"name": "m"}, metadata_field=["signature_def"])
    assert reply.model_spec.version.value == 1
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert set(default.inputs) == {"dense", "ids"}
    assert default.method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("call", ["Classify", "Regress", "MultiInference"])
def test_other_calls_are_unimplemented(server, call):
    with grpc.insecure_channel(server.address) as channel:
        rpc = channel.unary_unary(f"/tensorflow.serving.PredictionService/{call}")
        with pytest.raises(grpc.RpcError) as caught:
            rpc(b"", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

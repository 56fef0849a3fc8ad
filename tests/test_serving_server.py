"""The local server answers as TF Serving was observed to, good requests and bad ones."""

import shutil
import signal
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest

from mtl_tf.errors import UserError
from serving import warmup
from serving.config import model_config, server_config
from serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)
from serving.server import LocalServer
from serving.tensors import from_proto
from tests.serving_toys import expected, save_toy

DENSE = np.array([[1, 2], [3, 4]], np.float32)
IDS = np.array([0, 2])
Status = get_model_status_pb2.ModelVersionStatus


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_toy(folder)
    return folder


@pytest.fixture(scope="module")
def server(models):
    with LocalServer(models, poll_seconds=0.05) as server:
        yield server


class Stubs:
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


@pytest.fixture(scope="module")
def stubs(server):
    stubs = Stubs(server.address)
    yield stubs
    stubs.channel.close()


def request(name="m", signature="", inputs=None, **spec):
    inputs = {"dense": DENSE, "ids": IDS} if inputs is None else inputs
    result = warmup.predict_request(name, signature, inputs)
    for key, value in spec.items():
        if key == "version":
            result.model_spec.version.value = value
        else:
            setattr(result.model_spec, key, value)
    return result


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
def test_kernels_speak_for_themselves(stubs, dense, ids, kernel):
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
def test_bad_questions(stubs, ask, code, message):
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


def test_large_requests_are_refused(models):
    with LocalServer(models, max_message_bytes=1000) as server:
        stubs = Stubs(server.address)
        large = {"dense": np.ones((500, 2), np.float32), "ids": np.zeros(500, int)}
        with pytest.raises(grpc.RpcError) as caught:
            stubs.predict(request(inputs=large))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_versions_swap_and_a_bad_one_leaves_the_old_one_serving(tmp_path):
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

        # A failed number stays failed, even when it is repaired.
        shutil.rmtree(models / "m" / "3")
        save_toy(models, version=3)
        time.sleep(0.2)
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
        (lambda folder: folder / "none", "no such folder of models"),
        (lambda folder: folder, "nothing to serve"),
    ],
)
def test_nothing_to_serve(tmp_path, prepare, message):
    (tmp_path / "not-a-model").mkdir()
    with pytest.raises(UserError, match=message):
        LocalServer(prepare(tmp_path)).start()


def test_a_taken_port_is_a_user_error(models, server):
    port = int(server.address.rsplit(":", 1)[1])
    with pytest.raises(UserError, match="cannot listen on"):
        LocalServer(models, port=port).start()


def test_labels_and_policies_of_a_configuration(tmp_path, models):
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

        other = server_config([model_config("other", models / "m")])
        stubs.model.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(config=other), timeout=20
        )
        assert stubs.predict(request(name="other")).model_spec.version.value == 1
        with pytest.raises(grpc.RpcError, match=r"Latest\(m\)"):
            stubs.predict(request())


def test_the_command_stops_cleanly_on_sigterm(models):
    command = [sys.executable, "-m", "serving.server", "--models", str(models), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        line = process.stdout.readline().decode()
        assert line.startswith("serving m on 127.0.0.1:")
        assert Stubs(line.split()[3]).predict(request()).model_spec.name == "m"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0

"""One version of a model in this process, with TF Serving's loader, checks and answers.

`tf.saved_model.load` hides faults that the server has (it loads a Keras 3 model inside a
`tf.Module`, which fails in the server). This uses the server's own loader,
`tf.compat.v1.saved_model.load` into a Session, run through callables.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf

from mtl_tf.backend.session import session_callable, silence_deprecations
from serving.protocol.protos import meta_graph_pb2, tensor_pb2, types_pb2
from serving.protocol.signatures import DEFAULT
from serving.protocol.tensors import dtype_code, from_proto


class RequestError(Exception):
    """A request that cannot be answered, with the code and message of TF Serving."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class LoadedModel:
    """A SavedModel in its own Session, on the CPU.

    Args:
        path: the version's folder.
        threads: size of the intra-op and inter-op pools; 0 lets TensorFlow choose. With 1 a
            request runs on the calling thread: waking a thread of a pool takes longer than
            a small request's arithmetic. All models of a process share one intra-op pool,
            as large as its first session asked for.

    >>> LoadedModel("/no/such/model")  # doctest: +ELLIPSIS, +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    OSError: SavedModel file does not exist at: /no/such/model/...
    """

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads,
            inter_op_parallelism_threads=-1 if threads == 1 else threads,  # -1: no pool
            use_per_session_threads=threads > 1,
            device_count={"GPU": 0},
        )
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        # Deprecated for training code, but it is the server's loader.
        with graph.as_default(), silence_deprecations():
            self.meta_graph = tf.compat.v1.saved_model.load(
                self._session, [tf.saved_model.SERVING], str(path)
            )
        self._callables: dict[tuple[str, ...], Callable[..., list[np.ndarray]]] = {}
        self._lock = threading.Lock()

    @property
    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """The signatures by name."""
        return self.meta_graph.signature_def

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Return the outputs for one request; raise `RequestError` where TF Serving refuses it."""
        signature = self.signature(signature_name)
        arrays = _parse_inputs(signature, inputs)
        _check_outputs(signature, output_filter)
        for place, name in enumerate(self.runner(signature_name, output_filter)[0]):
            wanted, given = signature.inputs[name].dtype, dtype_code(arrays[name])
            if wanted != given:
                raise _invalid(
                    f"Expects arg[{place}] to be {_type_name(wanted)} but "
                    f"{_type_name(given)} is provided"
                )
        return self.run(signature_name, arrays, output_filter)

    def run(
        self, signature_name: str, arrays: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return the named outputs (all by default) for arrays that fit the signature."""
        names, call = self.runner(signature_name, outputs)
        try:
            values = call(*(arrays[name] for name in names))
        except tf.errors.OpError as error:
            code = _STATUS.get(error.error_code, grpc.StatusCode.UNKNOWN)
            raise RequestError(code, error.message) from None
        outputs = list(outputs) or sorted(self.signature(signature_name).outputs)
        return dict(zip(outputs, values, strict=True))

    def runner(
        self, signature_name: str, outputs: Sequence[str] = ()
    ) -> tuple[list[str], Callable[..., list[np.ndarray]]]:
        """Return the names of the inputs in feeding order, and a callable that takes them."""
        signature = self.signature(signature_name)
        outputs = list(outputs) or sorted(signature.outputs)
        # The server sorts feeds by tensor name; its messages count arguments in that order.
        names = sorted(signature.inputs, key=lambda name: signature.inputs[name].name)
        key = (signature_name, *outputs)
        with self._lock:
            if key not in self._callables:
                feeds = [signature.inputs[name].name for name in names]
                fetches = [signature.outputs[name].name for name in outputs]
                self._callables[key] = session_callable(self._session, feeds, fetches)
            return names, self._callables[key]

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """Return the signature `name`; an empty name means `serving_default`."""
        name = name or DEFAULT
        if name not in self.signatures:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return self.signatures[name]


_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _parse_inputs(
    signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]
) -> dict[str, np.ndarray]:
    """Parse the inputs; the checks and their order are TF Serving's (`PreProcessPrediction`)."""
    wanted, sent, defaults = set(signature.inputs), set(inputs), set(signature.defaults)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braces(sent)}) != len({_braces(wanted)}). "
            f"Sent extra: {_braces(sent - wanted)}. "
            f"Missing but required: {_braces(wanted - sent)}."
        )
    for name in sorted(wanted - sent - defaults):
        raise _invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].name}) not found "
            "in request and no default value provided. Inputs expected to be in the request "
            f"{_braces(sent)}, or default input alias set: {','.join(sorted(defaults))}"
        )
    if sent - wanted:
        raise _invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & wanted))}"
            f", request input: {','.join(sorted(sent))}"
        )
    return {
        name: _parse(name, inputs[name] if name in sent else signature.defaults[name])
        for name in sorted(wanted)
    }


def _parse(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        return from_proto(proto)
    except ValueError:
        raise _invalid(f"tensor parsing error: {name}") from None


def _check_outputs(signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in output_filter:
        if name not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {_braces(signature.outputs)}."
            )
        if name in seen:
            raise _invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _type_name(code: int) -> str:
    return types_pb2.DataType.Name(code).removeprefix("DT_").lower()

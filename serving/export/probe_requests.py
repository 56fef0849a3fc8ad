"""The requests for checking, warming up and measuring an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.client.rows import to_examples
from serving.export.probe_rows import Arrays, ProbeRows
from serving.protocol.protos import predict_pb2
from serving.protocol.signatures import ALL, DEFAULT, EXAMPLES, IDS
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel


@dataclass(frozen=True)
class ProbeRequest:
    """One signature's inputs for all probe rows; `context_inputs` have one row per request."""

    arrays: Mapping[str, np.ndarray]
    context_inputs: frozenset[str] = frozenset()

    def rows(self, count: int, context: int = 0) -> Arrays:
        """Return the first `count` rows, in the context of row `context`."""
        return {
            name: array[context : context + 1] if name in self.context_inputs else array[:count]
            for name, array in self.arrays.items()
        }


def build_probe_requests(model: LoadedModel, rows: ProbeRows) -> dict[str, ProbeRequest]:
    """Return the inputs of each signature of `model`, by its name."""
    found: dict[str, ProbeRequest] = {}
    for signature in ALL:
        if signature not in model.signatures:
            continue
        inputs = model.signature(signature).inputs
        if signature == EXAMPLES:
            arrays = found[DEFAULT].arrays
            count = len(next(iter(arrays.values())))
            found[signature] = ProbeRequest({EXAMPLES: to_examples(arrays, count)})
            continue
        source = rows.features if signature == IDS else rows.raw
        context_inputs = (
            name for name, info in inputs.items() if info.tensor_shape.dim[0].size == 1
        )
        found[signature] = ProbeRequest(
            {name: source[name] for name in inputs}, frozenset(context_inputs)
        )
    return found


def warmup_requests(
    requests: Mapping[str, ProbeRequest], name: str, batch_sizes: Sequence[int]
) -> Iterator[predict_pb2.PredictRequest]:
    """Yield a request to the model `name` for each signature and batch size."""
    for signature, request in requests.items():
        for size in sorted(set(batch_sizes)):
            yield warmup.predict_request(name, signature, request.rows(size))

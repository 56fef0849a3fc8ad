"""The requests that an export is checked, warmed up and measured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.client.rows import to_examples
from serving.protocol.signatures import ALL, DEFAULT, EXAMPLES, IDS
from serving.runtime.loaded_model import LoadedModel

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ProbeRequest:
    """One signature's inputs for all rows at hand; of `context_inputs`, a request holds one row."""

    arrays: Mapping[str, np.ndarray]
    context_inputs: frozenset[str] = frozenset()

    def rows(self, count: int, context: int = 0) -> Arrays:
        """The first `count` rows, in the context of one row."""
        return {
            name: array[context : context + 1] if name in self.context_inputs else array[:count]
            for name, array in self.arrays.items()
        }


def build_probe_requests(
    model: LoadedModel, raw: Arrays, features: Arrays
) -> dict[str, ProbeRequest]:
    """Signature → its inputs, for raw rows and the features they become."""
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
        source = features if signature == IDS else raw
        context_inputs = (
            name for name, info in inputs.items() if info.tensor_shape.dim[0].size == 1
        )
        found[signature] = ProbeRequest(
            {name: source[name] for name in inputs}, frozenset(context_inputs)
        )
    return found

"""The requests that an export is checked, warmed up and measured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.client.encoder import DEFAULT, EXAMPLES, IDS, RANK
from serving.client.rows import to_examples
from serving.runtime.loaded_model import LoadedModel

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Request:
    """One signature's inputs for all rows at hand; of `once`, a request holds one row."""

    arrays: Mapping[str, np.ndarray]
    once: frozenset[str] = frozenset()

    def rows(self, count: int, context: int = 0) -> Arrays:
        """The first `count` rows, in the context of one row."""
        return {
            name: array[context : context + 1] if name in self.once else array[:count]
            for name, array in self.arrays.items()
        }


def requests(model: LoadedModel, raw: Arrays, features: Arrays) -> dict[str, Request]:
    """Signature → its inputs, for raw rows and the features they become."""
    found: dict[str, Request] = {}
    for signature in (DEFAULT, EXAMPLES, IDS, RANK):
        if signature not in model.signatures:
            continue
        inputs = model.signature(signature).inputs
        if signature == EXAMPLES:
            arrays = found[DEFAULT].arrays
            count = len(next(iter(arrays.values())))
            found[signature] = Request({EXAMPLES: to_examples(arrays, count)})
            continue
        source = features if signature == IDS else raw
        once = (name for name, info in inputs.items() if info.tensor_shape.dim[0].size == 1)
        found[signature] = Request({name: source[name] for name in inputs}, frozenset(once))
    return found

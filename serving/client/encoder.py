"""Rows → the arrays of one signature, with what was dropped and what was not given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_tf.errors import UserError
from serving.client.parse_values import SignatureInput
from serving.client.rows import RowError, Rows, inputs_of, keys_of, num_rows, to_arrays, to_examples
from serving.protocol.protos import meta_graph_pb2
from serving.protocol.signatures import DEFAULT, EXAMPLES, IDS, RANK

if TYPE_CHECKING:
    from mtl_tf.schema import Schema


class RowEncoder:
    """How rows become the inputs of one signature of a model.

    Args:
        signatures: all of the model's.
        signature: the one to ask. `examples` sends the inputs of `serving_default`, as
            serialized tf.Examples.
        schema: names the fields' columns and separators.
        context: of `rank`, the row whose fields count for all rows.
    """

    def __init__(
        self,
        signatures: Mapping[str, meta_graph_pb2.SignatureDef],
        signature: str,
        schema: Schema | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        if (signature == RANK) != (context is not None):
            raise UserError("`rank` scores candidates in one context; call `Client.rank`")
        self._examples = signature == EXAMPLES
        source = signatures[DEFAULT if self._examples else signature]
        inputs = inputs_of(source, schema, raw=signature != IDS)
        self._inputs = {name: field for name, field in inputs.items() if not field.per_request}
        self._schema = schema
        self._missing = schema.missing_values if schema else ()
        self._context: Mapping[str, Any] = context or {}
        self._context_inputs = {name: field for name, field in inputs.items() if field.per_request}
        self._shared = self._context_arrays()

    def arrays(self, rows: Rows, first_row: int = 0) -> dict[str, np.ndarray]:
        """The signature's inputs for `rows`; errors count rows from `first_row`."""
        arrays = to_arrays(rows, self._inputs.values(), self._missing, first_row)
        if self._examples:
            return {EXAMPLES: to_examples(arrays, num_rows(rows))}
        return arrays | self._shared

    def _context_arrays(self) -> dict[str, np.ndarray]:
        try:
            return to_arrays([self._context], self._context_inputs.values(), self._missing)
        except RowError as error:
            raise UserError(f"context, {error.problem}") from None

    def input_warnings(self, names: Iterable[str]) -> list[str]:
        """What a user should know about rows with these keys; empty when all fits."""
        found = self._input_warnings("the rows have", self._inputs, set(names))
        if not self._context_inputs:
            return found
        messages = self._input_warnings("the context has", self._context_inputs, set(self._context))
        return found + [f"of the context, {message}" for message in messages]

    def _input_warnings(
        self, have: str, inputs: Mapping[str, SignatureInput], given: set[str]
    ) -> list[str]:
        read = {key for field in inputs.values() for key in (field.column, field.name)}
        unfit = [
            field.name
            for field in inputs.values()
            if field.column not in given and field.name not in given
        ]
        if len(unfit) == len(inputs):
            hint = "" if self._schema else ". Rows keyed by column need the client's `schema`"
            raise UserError(
                f"{have} none of the model's inputs ({_some(unfit)}). "
                f"Received: {_some(given) or 'nothing'}{hint}"
            )
        # What is in no field of the schema, labels and keys of logs, is no surprise.
        known = keys_of(self._schema) if self._schema else given
        dropped = (given - read) & known
        messages = [f"does not read, so dropped: {_some(dropped)}"] if dropped else []
        return messages + ([f"is sent as missing, in no row: {_some(unfit)}"] if unfit else [])


def _some(names: Collection[Any], limit: int = 10) -> str:
    # A key need not be text: `csv.DictReader` puts surplus cells under None.
    texts = sorted(map(str, names))
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more

"""Rows → the arrays of one signature, with warnings about unused and missing columns."""

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
    """Convert rows to the inputs of one signature of a model.

    Args:
        signatures: all signatures of the model.
        signature: name of the one to send to. For `examples` the inputs of
            `serving_default` are sent as serialized tf.Examples.
        schema: has the columns and separators of the fields.
        context: for `rank`, the row that all candidates share.
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
        """Return the signature's inputs for `rows`; errors count rows from `first_row`."""
        arrays = to_arrays(rows, self._inputs.values(), self._missing, first_row)
        if self._examples:
            return {EXAMPLES: to_examples(arrays, num_rows(rows))}
        return arrays | self._shared

    def _context_arrays(self) -> dict[str, np.ndarray]:
        try:
            return to_arrays([self._context], self._context_inputs.values(), self._missing)
        except RowError as error:
            raise UserError(f"context, {error.problem}") from None

    def input_warnings(self, model: str, names: Iterable[str]) -> list[str]:
        """Return warnings about rows with the keys `names`: unused and missing columns.

        Args:
            model: name of the model, for the sentences.
            names: every key that some row has.

        Raises:
            UserError: The rows, or the context, have none of the model's inputs.
        """
        found = self._warnings(model, self._inputs, set(names))
        if not self._context_inputs:
            return found
        of, where = " of the context", "the context"
        given = set(self._context)
        return found + self._warnings(model, self._context_inputs, given, of, where)

    def _warnings(
        self,
        model: str,
        inputs: Mapping[str, SignatureInput],
        given: set[str],
        of: str = "",
        where: str = "every row",
    ) -> list[str]:
        used = {key for field in inputs.values() for key in (field.column, field.name)}
        missing = [
            field.name
            for field in inputs.values()
            if field.column not in given and field.name not in given
        ]
        if len(missing) == len(inputs):
            hint = "" if self._schema else ". Rows keyed by column need the client's `schema`"
            raise UserError(
                f"all of the model's inputs ({_list(missing)}) are missing from {where}. "
                f"Received: {_list(given) or 'nothing'}{hint}"
            )
        # Rows of a log also have labels and keys, which the schema lists under no field.
        known = keys_of(self._schema) if self._schema else given
        unused = (given - used) & known
        messages = []
        if unused:
            columns = f"these columns{of}, ignoring them: {_list(unused)}"
            messages.append(f"model `{model}` does not use {columns}")
        if missing:
            messages.append(
                f"model `{model}`: these inputs are missing from {where}: {_list(missing)}"
            )
        return messages


def _list(names: Collection[Any], limit: int = 10) -> str:
    # A key may be something else than text: `csv.DictReader` puts surplus cells under None.
    texts = sorted(map(str, names))
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more

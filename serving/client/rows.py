"""Rows (dicts of raw values) → the tensors a signature takes. NumPy only.

| tensor | value in a row | sent for a missing value |
|---|---|---|
| string [n] | text; numbers and booleans are converted to text | "" |
| int64 [n] | whole number, also as text | −2⁶³ |
| float32 [n] | number, also as text | NaN |
| string, int64, float32 [n, k] | list (or text joined by the field's separator) | padding |

None, NaN, "" and the schema's `missing_values` are missing values.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_tf.errors import UserError
from mtl_tf.schema import spelling
from serving.client.multivalued import MultivaluedColumn, read_multivalued
from serving.client.parse_values import InvalidValue, SignatureInput, objects, parse_column
from serving.protocol.protos import example_pb2, meta_graph_pb2
from serving.protocol.tensors import STRING, numpy_dtype

if TYPE_CHECKING:
    from mtl_tf.schema import Schema

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
_LISTS = {"O": "bytes_list", "i": "int64_list", "f": "float_list"}


class RowError(UserError):
    """A row that does not fit the signature.

    Attributes:
        row: its number, from 0.
        problem: what is wrong with it.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(f"rows[{row}], {problem}")
        self.row = row
        self.problem = problem


def inputs_of(
    signature: meta_graph_pb2.SignatureDef, schema: Schema | None = None, raw: bool = True
) -> dict[str, SignatureInput]:
    """Return the inputs of a signature, with columns and separators if there is a schema.

    Args:
        signature: as the model's metadata has it.
        schema: of the model.
        raw: True if the signature takes raw values; False for transformed ones, of which
            none is missing.
    """
    columns: dict[str, tuple[str, str | None, int | None]] = {}
    for field in schema.fields if schema else ():
        list_format = (getattr(field, "separator", None), getattr(field, "max_values", None))
        columns[field.name] = (field.column, *list_format)
        if weights := getattr(field, "weights_column", None):
            columns[f"{field.name}__weights"] = (weights, *list_format)
    inputs = {}
    for name, info in signature.inputs.items():
        dims = [dim.size for dim in info.tensor_shape.dim]
        width = dims[1] if len(dims) > 1 and dims[1] > 0 else None
        dtype = np.dtype(object) if info.dtype == STRING else numpy_dtype(info.dtype)
        column, separator, max_values = columns.get(name, (name, None, None))
        missing = _missing(dtype, len(dims), raw)
        per_request = dims[:1] == [1]
        inputs[name] = SignatureInput(
            name, dtype, len(dims), width, column, separator, missing, max_values, per_request
        )
    return inputs


def _missing(dtype: np.dtype[Any], rank: int, raw: bool) -> Any:
    if rank == 2 and dtype.kind == "f":
        return 0.0  # the weight of padding
    if not raw:
        return -1 if rank == 2 else None
    return {"O": b"", "i": spelling.MISSING_INT, "f": math.nan}[dtype.kind]


def num_rows(rows: Rows) -> int:
    """Return the number of rows, a sequence of dicts or a dict of columns.

    Raises:
        UserError: `rows` is something else, such as a single row, whose texts would be read
            as columns of letters.
    """
    if not isinstance(rows, Mapping):
        # The exact type first: `isinstance` with an abstract class is slow.
        fit = hasattr(rows, "__len__") and all(
            type(row) is dict or isinstance(row, Mapping) for row in rows
        )
        if not fit:
            raise UserError(f"rows must be a list of dicts. Received: {reprlib.repr(rows)}")
        return len(rows)
    for name, values in rows.items():
        if not _is_column(values):
            raise UserError(
                "rows must be a list of dicts, or one dict of columns; put a single row in a "
                f"list. Received: {reprlib.repr(values)} as column `{name}`"
            )
    lengths = {name: len(values) for name, values in rows.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"columns must be equally long. Received lengths: {lengths}")
    return next(iter(lengths.values()), 0)


def _is_column(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    fit = hasattr(values, "__len__") and hasattr(values, "__getitem__")
    return fit and not isinstance(values, (str, bytes, Mapping))


def keys_of(schema: Schema) -> set[str]:
    """Return every key that a row may have: names and columns of fields and of weights."""
    keys = set()
    for field in schema.fields:
        keys |= {field.name, field.column}
        if weights := getattr(field, "weights_column", None):
            keys |= {f"{field.name}__weights", weights}
    return keys


def names_in(rows: Rows) -> set[str]:
    """Return every key that some row has."""
    return set(rows) if isinstance(rows, Mapping) else set().union(*rows)


def slice_rows(rows: Rows, start: int, stop: int) -> Rows:
    """Return rows `start` to `stop`."""
    if isinstance(rows, Mapping):
        return {name: values[start:stop] for name, values in rows.items()}
    return rows[start:stop]


def to_arrays(
    rows: Rows,
    inputs: Iterable[SignatureInput],
    missing_values: Sequence[str] = (),
    first_row: int = 0,
) -> dict[str, np.ndarray]:
    """Return one array per input, for rows keyed by column or by field name.

    Where a row has both keys, the column counts.

    Raises:
        RowError: A value does not fit; it names the field and the row, counted from
            `first_row`.
    """
    missing_texts = spelling.missing_texts(missing_values)
    arrays: dict[str, np.ndarray] = {}
    lists: dict[str, MultivaluedColumn] = {}
    for field in sorted(inputs, key=lambda field: field.name):  # weights after their values
        values = _column(rows, field)
        try:
            if field.rank == 2:
                lists[field.name] = read_multivalued(values, field, missing_texts)
                _check_weights(field.name, lists, missing_texts)
                arrays[field.name] = lists[field.name].padded()
            else:
                arrays[field.name] = parse_column(values, field, missing_texts, lambda place: place)
        except InvalidValue as error:
            received = reprlib.repr(values[error.row])
            problem = f"`{field.name}`: expected {error.expected}. Received: {received}"
            raise RowError(first_row + error.row, problem) from None
    return arrays


def _check_weights(
    name: str, lists: Mapping[str, MultivaluedColumn], missing_texts: frozenset[str]
) -> None:
    """Raise `InvalidValue` for the weights that the preprocessing job rejects."""
    field = name.removesuffix("__weights")
    if field == name or field not in lists:
        return
    values, weights = lists[field], lists[name]
    uneven = np.flatnonzero(weights.lengths != values.lengths)
    if len(uneven):
        wanted = values.lengths[uneven[0]]
        raise InvalidValue(int(uneven[0]), f"one weight per value of `{field}`, {wanted} here")
    weights.refuse(weights.flat < 0, "no negative weight")
    absent = np.isnan(weights.flat)
    if absent.any():  # allowed for a missing value
        weights.refuse(absent & ~values.is_missing(missing_texts), "no missing weight")


def to_examples(arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Serialize raw arrays as `tf.Example`s, without the features that are missing."""
    # The width is spelled out: reshape cannot infer it from no rows.
    flat = {
        name: array.reshape(count, math.prod(array.shape[1:])) for name, array in arrays.items()
    }
    used = {name: _used(array) for name, array in flat.items()}
    for name in flat:  # there are as many weights as values
        used[name] = used.get(name.removesuffix("__weights"), used[name])
    examples = []
    for row in range(count):
        example = example_pb2.Example()
        for name, array in flat.items():
            if values := array[row, : used[name][row]].tolist():
                feature = example.features.feature[name]
                getattr(feature, _LISTS[array.dtype.kind]).value.extend(values)
        examples.append(example.SerializeToString(deterministic=True))
    return objects(examples)


def _used(array: np.ndarray) -> np.ndarray:
    """Return how many values of each row of (rows, k) come before the padding."""
    if array.dtype.kind == "f":
        present = ~np.isnan(array)
    else:
        present = array != (b"" if array.dtype == object else spelling.MISSING_INT)
    return (present * np.arange(1, array.shape[1] + 1)).max(axis=1, initial=0)


def _column(rows: Rows, field: SignatureInput) -> Sequence[Any]:
    if isinstance(rows, Mapping):
        key = field.column if field.column in rows else field.name
        return rows[key] if key in rows else [None] * num_rows(rows)
    column, name = field.column, field.name
    return [row[column] if column in row else row.get(name) for row in rows]

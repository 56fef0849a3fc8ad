"""Rows (dicts of raw values) → the tensors a signature takes. NumPy only.

| tensor | value in a row | missing, sent as |
|---|---|---|
| string [n] | text; a number or a bool is written as text | "" |
| int64 [n] | whole number, or text that spells one | −2⁶³ |
| float32 [n] | number, or text that spells one | NaN |
| string, int64, float32 [n, k] | list (or text joined by the field's separator) | padding |

Missing are None, NaN, "" and the schema's `missing_values`.
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
from serving.client.parse_values import InvalidValue, SignatureInput, objects, parsed
from serving.protocol.protos import example_pb2, meta_graph_pb2
from serving.protocol.tensors import STRING, numpy_dtype

if TYPE_CHECKING:
    from mtl_tf.schema import Schema

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
_LISTS = {"O": "bytes_list", "i": "int64_list", "f": "float_list"}


class RowError(UserError):
    """A row that does not fit. `row` counts the rows from 0; `problem` says what is wrong."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(f"rows[{row}], {problem}")
        self.row = row
        self.problem = problem


def inputs_of(
    signature: meta_graph_pb2.SignatureDef, schema: Schema | None = None, raw: bool = True
) -> dict[str, SignatureInput]:
    """The inputs of a signature; a `Schema` adds columns and separators.

    `raw`: whether it takes raw values, or transformed ones, where nothing is missing.
    """
    columns: dict[str, tuple[str, str | None, int | None]] = {}
    for field in schema.fields if schema else ():
        bag = (getattr(field, "separator", None), getattr(field, "max_values", None))
        columns[field.name] = (field.column, *bag)
        if weights := getattr(field, "weights_column", None):
            columns[f"{field.name}__weights"] = (weights, *bag)
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
        return 0.0  # the weight of a value that is not there
    if not raw:
        return -1 if rank == 2 else None
    return {"O": b"", "i": spelling.MISSING_INT, "f": math.nan}[dtype.kind]


def num_rows(rows: Rows) -> int:
    """Number of rows, given as a sequence of dicts or as a dict of columns.

    Raises `UserError` for anything else, such as a single row: its texts would be taken for
    columns of letters.
    """
    if not isinstance(rows, Mapping):
        # The type first: asking for an abstract one costs more than all the rest.
        fit = hasattr(rows, "__len__") and all(
            type(row) is dict or isinstance(row, Mapping) for row in rows
        )
        if not fit:
            raise UserError(f"rows must be a list of dicts. Received: {reprlib.repr(rows)}")
        return len(rows)
    for name, values in rows.items():
        if not _is_column(values):
            raise UserError(
                "rows must be a list of dicts, or one dict of columns; a single row goes in a "
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
    """What a row may be keyed by: the fields' names and columns, also of weights."""
    keys = set()
    for field in schema.fields:
        keys |= {field.name, field.column}
        if weights := getattr(field, "weights_column", None):
            keys |= {f"{field.name}__weights", weights}
    return keys


def names_in(rows: Rows) -> set[str]:
    """Every key that some row has."""
    return set(rows) if isinstance(rows, Mapping) else set().union(*rows)


def slice_rows(rows: Rows, start: int, stop: int) -> Rows:
    """Rows `start` to `stop`."""
    if isinstance(rows, Mapping):
        return {name: values[start:stop] for name, values in rows.items()}
    return rows[start:stop]


def to_arrays(
    rows: Rows,
    inputs: Iterable[SignatureInput],
    missing_values: Sequence[str] = (),
    first_row: int = 0,
) -> dict[str, np.ndarray]:
    """One array per input, for rows keyed by column or by field name (the column wins).

    A value that does not fit raises `RowError` naming the row (counted from `first_row`)
    and the field.
    """
    missing_texts = spelling.missing_texts(missing_values)
    arrays: dict[str, np.ndarray] = {}
    bags: dict[str, MultivaluedColumn] = {}
    for field in sorted(inputs, key=lambda field: field.name):  # weights after their bag
        values = _column(rows, field)
        try:
            if field.rank == 2:
                bags[field.name] = read_multivalued(values, field, missing_texts)
                _check_weights(field.name, bags, missing_texts)
                arrays[field.name] = bags[field.name].padded()
            else:
                arrays[field.name] = parsed(values, field, missing_texts, lambda place: place)
        except InvalidValue as error:
            received = reprlib.repr(values[error.row])
            problem = f"`{field.name}`: expected {error.expected}. Received: {received}"
            raise RowError(first_row + error.row, problem) from None
    return arrays


def _check_weights(
    name: str, bags: Mapping[str, MultivaluedColumn], missing_texts: frozenset[str]
) -> None:
    """Refuses the weights that the preprocessing job refuses."""
    bag = name.removesuffix("__weights")
    if bag == name or bag not in bags:
        return
    values, weights = bags[bag], bags[name]
    uneven = np.flatnonzero(weights.lengths != values.lengths)
    if len(uneven):
        wanted = values.lengths[uneven[0]]
        raise InvalidValue(int(uneven[0]), f"one weight per value of `{bag}`, {wanted} here")
    weights.refuse(weights.flat < 0, "no negative weight")
    lacking = np.isnan(weights.flat)
    if lacking.any():  # allowed beside a missing value
        weights.refuse(lacking & ~values.missing(missing_texts), "no missing weight")


def to_examples(arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Serialized `tf.Example`s of raw arrays; a missing value is an absent feature."""
    # Not -1 for the width, which no rows leave open.
    flat = {
        name: array.reshape(count, math.prod(array.shape[1:])) for name, array in arrays.items()
    }
    used = {name: _used(array) for name, array in flat.items()}
    for name in flat:  # a bag's weights are as many as its values
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
    """How many values of each row of (rows, k) come before the padding."""
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

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

import contextlib
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_tf.errors import UserError
from serving.protos import example_pb2, meta_graph_pb2
from serving.tensors import STRING, numpy_dtype

MISSING_INT = -(2**63)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"([+-]?\d+)(\.0*)?", re.ASCII)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Input:
    """One input of a signature, and where a row keeps its value."""

    name: str
    dtype: np.dtype[Any]  # object means strings
    rank: int
    width: int | None = None  # of rank 2, where the signature fixes it
    column: str = ""
    separator: str | None = None
    missing: Any = None  # stands for a missing value, and pads a bag; None: there is no such
    once: bool = False  # one value for all rows of a request


Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


def inputs_of(
    signature: meta_graph_pb2.SignatureDef, schema: Any = None, raw: bool = True
) -> dict[str, Input]:
    """The inputs of a signature; a `Schema` adds columns and separators.

    `raw`: whether it takes raw values, or transformed ones, where nothing is missing.
    """
    columns: dict[str, tuple[str, str | None]] = {}
    for field in schema.fields if schema else ():
        separator = getattr(field, "separator", None)
        columns[field.name] = (field.column, separator)
        if weights := getattr(field, "weights_column", None):
            columns[f"{field.name}__weights"] = (weights, separator)
    inputs = {}
    for name, info in signature.inputs.items():
        dims = [dim.size for dim in info.tensor_shape.dim]
        width = dims[1] if len(dims) > 1 and dims[1] > 0 else None
        dtype = np.dtype(object) if info.dtype == STRING else numpy_dtype(info.dtype)
        column, separator = columns.get(name, (name, None))
        missing = _missing(dtype, len(dims), raw)
        once = dims[:1] == [1]
        inputs[name] = Input(name, dtype, len(dims), width, column, separator, missing, once)
    return inputs


def _missing(dtype: np.dtype[Any], rank: int, raw: bool) -> Any:
    if rank == 2 and dtype.kind == "f":
        return 0.0  # the weight of a value that is not there
    if not raw:
        return -1 if rank == 2 else None
    return {"O": b"", "i": MISSING_INT, "f": math.nan}[dtype.kind]


def length(rows: Rows) -> int:
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
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            raise UserError(
                "rows must be a list of dicts, or one dict of columns; a single row goes in a "
                f"list. Received: {reprlib.repr(values)} as column `{name}`"
            )
    lengths = {name: len(values) for name, values in rows.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"columns must be equally long. Received lengths: {lengths}")
    return next(iter(lengths.values()), 0)


def names_in(rows: Rows) -> set[str]:
    """Every key that some row has."""
    return set(rows) if isinstance(rows, Mapping) else set().union(*rows)


def cut(rows: Rows, start: int, stop: int) -> Rows:
    """Rows `start` to `stop`."""
    if isinstance(rows, Mapping):
        return {name: values[start:stop] for name, values in rows.items()}
    return rows[start:stop]


def to_arrays(
    rows: Rows, inputs: Iterable[Input], missing_values: Sequence[str] = (), first_row: int = 0
) -> dict[str, np.ndarray]:
    """One array per input, for rows keyed by column or by field name (the column wins).

    A value that does not fit raises `UserError` naming the row (counted from `first_row`)
    and the field.
    """
    absent = frozenset(("", *missing_values))
    arrays: dict[str, np.ndarray] = {}
    lengths: dict[str, np.ndarray] = {}
    for field in sorted(inputs, key=lambda field: field.name):  # weights after their bag
        values = _column(rows, field)
        try:
            if field.rank == 2:
                arrays[field.name], lengths[field.name] = _bags(values, field, absent)
                _check_weights(field.name, lengths)
            else:
                arrays[field.name] = _flat(values, field, absent, lambda place: place)
        except _Unfit as error:
            place = first_row + error.row
            raise UserError(
                f"rows[{place}], `{field.name}`: expected {error.expected}. "
                f"Received: {reprlib.repr(values[error.row])}"
            ) from None
    return arrays


def _check_weights(name: str, lengths: Mapping[str, np.ndarray]) -> None:
    bag = name.removesuffix("__weights")
    if bag == name or bag not in lengths:
        return
    uneven = np.flatnonzero(lengths[name] != lengths[bag])
    if len(uneven):
        wanted = lengths[bag][uneven[0]]
        raise _Unfit(int(uneven[0]), f"one weight per value of `{bag}`, {wanted} here")


def to_examples(arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Serialized `tf.Example`s of raw arrays; a missing value is an absent feature."""
    flat = {name: array.reshape(count, -1) for name, array in arrays.items()}
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
        present = array != (b"" if array.dtype == object else MISSING_INT)
    return (present * np.arange(1, array.shape[1] + 1)).max(axis=1, initial=0)


def objects(values: Sequence[Any]) -> np.ndarray:
    """A flat array of these objects, whatever their type."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


class _Unfit(Exception):
    def __init__(self, row: int, expected: str) -> None:
        self.row = row
        self.expected = expected


def _column(rows: Rows, field: Input) -> Sequence[Any]:
    if isinstance(rows, Mapping):
        key = field.column if field.column in rows else field.name
        return rows[key] if key in rows else [None] * length(rows)
    column, name = field.column, field.name
    return [row[column] if column in row else row.get(name) for row in rows]


def _flat(
    values: Sequence[Any], field: Input, absent: frozenset[str], row: Callable[[int], int]
) -> np.ndarray:
    array = _plain(values, field.dtype)
    if array is not None:
        return array
    parse, expected = _PARSERS[field.dtype.kind]
    result = np.empty(len(values), field.dtype)
    for place, value in enumerate(values):
        parsed = field.missing if _is_missing(value, absent) else parse(value)
        if parsed is None:
            raise _Unfit(row(place), expected)
        result[place] = parsed
    return result


def _plain(values: Sequence[Any], dtype: np.dtype[Any]) -> np.ndarray | None:
    """The array, where no value needs a look of its own: the common and fast case."""
    try:
        if dtype.kind == "O":
            return objects(list(map(str.encode, values)))
        if not _PLAIN_TYPES[dtype.kind].issuperset(map(type, values)):
            return None
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except (OverflowError, TypeError, UnicodeEncodeError):
        return None
    return array if np.isfinite(array).all() else None


def _bags(
    values: Sequence[Any], field: Input, absent: frozenset[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, k) padded, and how many values each row was given."""
    bags = [_bag(value, place, field, absent) for place, value in enumerate(values)]
    given = np.array([len(bag) for bag in bags], np.int64)
    width = field.width or int(given.max(initial=1))
    bags = [bag[:width] for bag in bags]
    lengths = np.minimum(given, width)
    rows = np.repeat(np.arange(len(bags)), lengths)
    result = np.full((len(bags), width), field.missing, field.dtype)
    flat = _flat([value for bag in bags for value in bag], field, absent, rows.__getitem__)
    result[np.arange(width) < lengths[:, None]] = flat
    return result, given


def _bag(value: Any, row: int, field: Input, absent: frozenset[str]) -> Sequence[Any]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return value.tolist() if isinstance(value, np.ndarray) else value
    if _is_missing(value, absent):
        return ()
    text = _text(value)
    if text is not None and field.separator is not None:
        return text.decode().split(field.separator)
    hint = "" if field.separator else " (or give the schema, which knows the separator)"
    raise _Unfit(row, f"a list of values{hint}")


def _is_missing(value: Any, absent: frozenset[str]) -> bool:
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return True
    return isinstance(value, str) and value in absent


def _text(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bool, np.bool_)):
        return b"true" if value else b"false"
    if isinstance(value, (float, np.floating)):
        number = float(value)  # 3.0 is "3", as Arrow writes it, and so the preprocessing job
        value = int(number) if number.is_integer() and abs(number) < 1e10 else value
    if isinstance(value, (str, int, float, np.number)):
        with contextlib.suppress(UnicodeEncodeError):
            return str(value).encode()
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, str):
        match = _INTEGER.fullmatch(value.strip(" \t"))
        value = int(match[1]) if match and len(match[1]) < 40 else None
    elif isinstance(value, (float, np.floating)):
        value = int(value) if float(value).is_integer() else None
    elif not isinstance(value, (int, np.integer, np.bool_)):
        return None
    return int(value) if value is not None and MISSING_INT <= value < 2**63 else None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip(" \t")
        value = float(text) if _NUMBER.fullmatch(text) else None
    elif not isinstance(value, (int, float, np.number, np.bool_)):
        return None
    return float(value) if value is not None and abs(value) <= _FLOAT32_MAX else None


_PLAIN_TYPES: dict[str, set[type]] = {"i": {int, bool}, "f": {float, int, bool}}
_PARSERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "O": (_text, "text"),
    "i": (_integer, "a whole number"),
    "f": (_number, "a finite number"),
}
_LISTS = {"O": "bytes_list", "i": "int64_list", "f": "float_list"}

"""A block of JSON Lines as columns of JSON's own types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from mtl_tf.schema.spelling import spell
from pipelines.sources import text
from pipelines.sources.batch import MalformedLine, RawBatch

_PROBE_LINES = 1000


class JsonLines:
    """Parses blocks of whole lines, one object to a line.

    Arrow parses the block at once, with the types of its first lines and without malformed
    lines. If it fails (a column of mixed types), every line is parsed alone, and all values
    but booleans become text, as in CSV.
    """

    def __init__(self, wanted: Sequence[str], separators: Mapping[str, str]):
        self._wanted = list(wanted)
        self._separators = separators
        self._types: dict[str, pa.DataType] = {}

    def __call__(self, data: bytes, line: int) -> RawBatch:
        """Return the rows of `data`, whose first line is number `line`."""
        num_lines = text.count_lines(data)
        table = self._arrow(data) if text.is_utf8(data) else None
        if table is not None and table.num_rows == num_lines:
            columns = {name: table[name].combine_chunks() for name in self._wanted}
            numbers = np.arange(line, line + num_lines)
            malformed: list[MalformedLine] = []
        else:
            columns, numbers, malformed = self._slow(data, line)
        return RawBatch(columns, len(numbers), numbers, _Text(data, line, numbers), malformed)

    def _arrow(self, data: bytes) -> pa.Table | None:
        types = self._probe(data)
        if types is None:
            return None
        try:
            return pyarrow.json.read_json(
                pa.BufferReader(data),
                pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
                pyarrow.json.ParseOptions(
                    explicit_schema=pa.schema(list(types.items())),
                    unexpected_field_behavior="ignore",
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None

    def _probe(self, data: bytes) -> dict[str, pa.DataType] | None:
        seen: dict[str, list[Any]] = {name: [] for name in self._wanted}
        try:
            for raw in data.split(b"\n", _PROBE_LINES)[:_PROBE_LINES]:
                row = json.loads(raw) if raw.strip() else {}
                for name in self._wanted:
                    seen[name].append(row.get(name))
        except (ValueError, AttributeError, RecursionError):
            return None
        for name, values in seen.items():
            found = _type_of([value for value in values if value is not None])
            if found is not None:
                self._types[name] = found
        return {name: self._types.get(name, pa.string()) for name in self._wanted}

    def _slow(
        self, data: bytes, line: int
    ) -> tuple[dict[str, pa.Array], np.ndarray, list[MalformedLine]]:
        rows, numbers, malformed = [], [], []
        good: list[bytes] = []
        for number, raw in enumerate(data.split(b"\n"), line):
            if not raw.strip():
                continue
            row, fault = self._row(raw)
            if fault:
                malformed.append(
                    MalformedLine(number, fault, raw.decode(errors="replace").rstrip("\r"))
                )
            else:
                rows.append(row)
                numbers.append(number)
                good.append(raw)
        # A malformed line must not change what is read from the others.
        table = self._arrow(b"\n".join(good)) if malformed and good else None
        if table is not None and table.num_rows == len(good):
            columns = {name: table[name].combine_chunks() for name in self._wanted}
        else:
            columns = {
                name: self._column(name, [row.get(name) for row in rows]) for name in self._wanted
            }
        return columns, np.asarray(numbers, np.int64), malformed

    def _row(self, raw: bytes) -> tuple[dict[str, Any], str]:
        try:
            row = json.loads(
                raw.decode(),
                parse_int=str,
                parse_float=lambda literal: spell(float(literal)),
                parse_constant=_constant,
            )
        except UnicodeDecodeError:
            return {}, "not UTF-8 text"
        except (ValueError, RecursionError) as error:
            return {}, f"not valid JSON ({getattr(error, 'msg', 'nested too deeply')})"
        if not isinstance(row, dict):
            return {}, f"expected a JSON object, got {_NAMES.get(type(row), 'a value')}"
        for name in self._wanted:
            value = row.get(name)
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, (dict, list)) for item in items):
                return {}, f"column {name!r}: expected a value or a list of values"
        try:  # a lone surrogate (\ud800) is valid JSON, but UTF-8 cannot encode it
            json.dumps([row.get(name) for name in self._wanted], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return {}, "not UTF-8 text"
        return row, ""

    def _column(self, name: str, values: list[Any]) -> pa.Array:
        if all(value is None or isinstance(value, bool) for value in values):
            return pa.array(values, pa.bool_())
        if not any(isinstance(value, list) for value in values):
            return pa.array([spell(value) for value in values], pa.string())
        separator = self._separators.get(name)
        lists = []
        for value in values:
            if isinstance(value, str) and separator:
                value = value.split(separator)
            elif value is not None and not isinstance(value, list):
                value = [value]
            lists.append(None if value is None else [spell(item) for item in value])
        return pa.array(lists, pa.list_(pa.string()))


_NAMES = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


class _Text:
    def __init__(self, data: bytes, line: int, numbers: np.ndarray):
        self._data, self._line, self._numbers = data, line, numbers
        self._lines: list[bytes] = []

    def __call__(self, i: int) -> str:
        if not self._lines:
            self._lines = self._data.split(b"\n")
        return self._lines[self._numbers[i] - self._line].rstrip(b"\r").decode(errors="replace")


def _type_of(values: list[Any]) -> pa.DataType | None:
    if not values:
        return None
    if all(isinstance(value, list) for value in values):
        inner = _type_of([item for value in values for item in value if item is not None])
        return pa.list_(inner or pa.string())
    kinds = {type(value) for value in values}
    for types, arrow in _ARROW:
        if kinds <= types:
            return arrow
    return pa.string()


_ARROW = (
    ({str}, pa.string()),
    ({bool}, pa.bool_()),
    ({int}, pa.int64()),
    ({int, float}, pa.float64()),
)


def _constant(name: str) -> float | str | None:
    return None if name == "NaN" else name


def as_json(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON; what JSON has no type for, NaN too, becomes text."""
    return json.dumps(_finite(row), ensure_ascii=False, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

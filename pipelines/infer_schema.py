"""A first draft of a configuration, inferred from the first rows of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from mtl_tf.errors import DataError
from mtl_tf.schema import Schema
from mtl_tf.schema.names import can_be_input
from pipelines.sources import MalformedLine, RawBatch, plan, read
from pipelines.sources.files import check_columns
from pipelines.validate import parse_cells

MISSING_TEXTS = ("?", "NULL", "null", "None", "nan", "NaN", "\\N")
_LABEL_WORDS = re.compile(
    r"(^|[ _-])(label|target|click(ed)?|buy|bought|purchased?|ordered|liked?|shared?|"
    r"convert(ed)?|conversion|ctr|cvr|watch(ed)?|dwell)([ _-]|$)"
)
_SEPARATORS = "|;"
_FEW = 50  # integers with fewer distinct values are treated as codes
_ENOUGH = 0.98  # a column with this share of numbers is a column of numbers


@dataclass(frozen=True)
class _Column:
    """A column as the first rows show it.

    Attributes:
        name: Its name in the file.
        texts: The cells that are present, as text.
        missing: Number of missing cells.
        is_multivalued: True if cells hold several values.
        integers: True if all numbers are integers.
        numbers: True if nearly all cells are numbers.
        strays: Number of cells in a column of numbers that are not numbers.
    """

    name: str
    texts: pa.Array
    missing: int
    is_multivalued: bool
    integers: bool
    numbers: bool
    strays: int

    @property
    def distinct(self) -> int:
        return pc.count_distinct(self.texts).as_py()

    @property
    def two_valued(self) -> bool:
        return self.distinct == 2 and not self.is_multivalued

    @property
    def is_key(self) -> bool:
        """True if nearly every row has its own value, and it is not a measurement."""
        unique = self.distinct > 0.99 * len(self.texts) > 99
        return unique and not self.is_multivalued and (self.integers or not self.numbers)

    @property
    def top(self) -> str:
        counted = pc.value_counts(self.texts).to_pylist()
        counted.sort(key=lambda item: (-item["counts"], item["values"]))
        return ", ".join(_short(item["values"]) for item in counted[:3])


def infer_schema(path: str, rows: int = 10_000) -> str:
    """Return a YAML configuration for `path`, for a person to edit, with facts as comments.

    Labels are recognized by name (`clicked`, `label`, …), or else the last column is one.
    Columns that look like keys are only named in a comment.

    Args:
        path: A CSV, TSV, JSON Lines or Parquet file, compressed or not.
        rows: How many of its first rows to read.

    Raises:
        UserError: The file cannot be read, or its format is unknown.
        DataError: It has no rows, or fewer than two usable columns.
    """
    batches = list(_first_rows(path, rows))
    malformed = [line for batch in batches for line in batch.malformed]
    tables = [batch for batch in batches if batch.rows]
    seen = sum(batch.rows for batch in tables)
    if not seen and malformed:
        raise DataError(
            f"{path}, line {malformed[0].line}: {malformed[0].reason}, and no other line can be "
            "read either; convert or repair the file"
        )
    if not seen:
        raise DataError(f"{path}: has no rows")
    missing = _missing_values(tables)
    columns = [_column(name, tables, missing) for name in tables[0].columns]
    labels = _labels(columns)
    inputs = [column for column in columns if column not in labels and len(column.texts)]
    fields = [column for column in inputs if not column.is_key]
    if not labels or not fields:
        raise DataError(f"{path}: expected at least one input and one label column")
    names = _names(columns)
    lines = [
        f"# A draft, inferred from the first {seen:,} rows of {path}: check every line.",
        *_malformed_comment(malformed),
        f"name: {_identifier(os.path.basename(path).split('.')[0])}",
        "split: {eval: 0.1, test: 0.1}",
    ]
    if missing:
        lines.append(f"missing_values: {_flow(list(missing))}")
    keys = [column for column in inputs if column.is_key]
    if keys:
        lines.append(
            "# Nearly every row has its own value here, so these are not inputs. A column of"
        )
        lines.append("# users or queries is a good `key`: its rows are then all in one split.")
        lines.append(f"# key: {_flow([column.name for column in keys])}")
    lines += ["", "tasks:"]
    lines += [_task(column, names[column.name]) for column in labels]
    lines += ["", "fields:"]
    lines += [_field(column, names[column.name], seen) for column in fields]
    text = "\n".join(lines) + "\n"
    Schema.from_json(yaml.safe_load(text), f"draft for {path}")  # or it is our own bug
    return text


def _first_rows(path: str, rows: int) -> Iterator[RawBatch]:
    (source,), ranges = plan([path], [])
    check_columns(path, source.columns, source.columns)
    left = rows
    for file_range in ranges:
        for batch in read(file_range, source.columns):
            yield _head(batch, left)
            left -= batch.rows
            if left <= 0:
                return


def _head(batch: RawBatch, rows: int) -> RawBatch:
    columns = {name: column.slice(0, rows) for name, column in batch.columns.items()}
    malformed = batch.malformed
    if rows < batch.rows:
        malformed = [line for line in malformed if line.line < batch.lines[rows]]
    return RawBatch(columns, min(rows, batch.rows), batch.lines[:rows], batch.text, malformed)


def _malformed_comment(malformed: Sequence[MalformedLine]) -> list[str]:
    """Return a comment on the malformed lines, if there are any."""
    if not malformed:
        return []
    first = f"line {malformed[0].line}: {malformed[0].reason}"
    return [f"# Lines that cannot be read and will be rejected: {len(malformed):,} ({first})."]


def _missing_values(batches: Sequence[RawBatch]) -> list[str]:
    """Return the texts that often mean missing and occur; the empty text always does."""
    found = set()
    for batch in batches:
        for column in batch.columns.values():
            column = parse_cells.plain(column)
            if pa.types.is_string(column.type):
                hits = pc.is_in(column, value_set=pa.array(MISSING_TEXTS))
                found.update(pc.unique(column.filter(hits)).to_pylist())
    return [text for text in MISSING_TEXTS if text in found]


def _column(name: str, batches: Sequence[RawBatch], missing: Sequence[str]) -> _Column:
    present, rows, is_list = [], 0, False
    for batch in batches:
        column = parse_cells.plain(batch.columns[name])
        rows += len(column)
        is_list |= parse_cells.is_list(column.type)
        try:
            texts = parse_cells.as_text(column)
        except DataError:  # a struct, a map, binary: no field can read these
            continue
        present.append(texts.filter(pa.array(~parse_cells.missing(texts, missing))))
    texts = pa.concat_arrays(present) if present else pa.array([], pa.string())
    _, _, no_integer = parse_cells.integers(texts, ())
    _, no_number = parse_cells.numbers(texts, ())
    numbers = len(texts) > 0 and not is_list and no_number.mean() <= 1 - _ENOUGH
    return _Column(
        name=name,
        texts=texts,
        missing=rows - len(texts),
        is_multivalued=is_list or _separator(texts) is not None,
        integers=numbers and (no_integer == no_number).all(),
        numbers=numbers,
        strays=int(no_number.sum()) if numbers else 0,
    )


def _separator(texts: pa.Array) -> str | None:
    """Return the character that joins the values, if cells often hold several."""
    for separator in _SEPARATORS:
        several = parse_cells.mask(pc.match_substring(texts, separator))
        if len(texts) and several.mean() > 0.2:
            return separator
    return None


def _labels(columns: Sequence[_Column]) -> list[_Column]:
    named = [
        column
        for column in columns
        if _LABEL_WORDS.search(column.name.lower())
        and (column.two_valued or (column.numbers and not column.is_multivalued))
        and column.distinct > 1
    ]
    if named:
        return named
    usable = [column for column in columns if column.distinct > 1 and not column.is_key]
    last = [column for column in usable if column.two_valued or column.numbers]
    return last[-1:]


def _names(columns: Sequence[_Column]) -> Mapping[str, str]:
    """Return column → field or task name: lower case, unique."""
    names: dict[str, str] = {}
    for column in columns:
        name = stem = _identifier(column.name)
        number = 2
        while name in names.values():
            name, number = f"{stem}_{number}", number + 1
        names[column.name] = name
    return names


def _identifier(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:70]
    usable = name[:1].isalpha() and can_be_input(name)
    return name if usable else f"c_{name}".rstrip("_")


def _task(column: _Column, name: str) -> str:
    note = f"{column.distinct:,} values: {column.top}"
    if column.missing:
        note += f"; missing in {column.missing:,} rows: not trained on for this task"
    values, _ = parse_cells.numbers(column.texts, ())
    entry: dict[str, object] = {"name": name, "label": column.name}
    if column.numbers and not column.two_valued:
        entry["kind"] = "regression"
    elif not column.numbers or set(np.unique(values)) != {0.0, 1.0}:
        entry["label"] = {"column": column.name, "equals": _rarer(column)}
    return f"  - {_flow(entry)}  # {note}"


def _rarer(column: _Column) -> str:
    counted = pc.value_counts(column.texts).to_pylist()
    return min(counted, key=lambda item: (item["counts"], item["values"]))["values"]


def _field(column: _Column, name: str, rows: int) -> str:
    entry: dict[str, object] = {"name": name}
    if name != column.name:
        entry["column"] = column.name
    note = f"{column.distinct:,} distinct"
    if column.is_multivalued:
        entry["kind"] = "multivalued"
        separator = _separator(column.texts)
        if separator not in (None, "|"):
            entry["separator"] = separator
        note += " lists"
    elif column.numbers and not (column.integers and column.distinct < _FEW):
        values, _ = parse_cells.numbers(column.texts, ())
        entry |= {"kind": "numeric", "transform": "quantile"}
        note += f" numbers, {np.nanmin(values):g} to {np.nanmax(values):g}"
    else:
        entry["kind"] = "categorical"
        if column.integers:
            entry["dtype"] = "integer"
        note += f": {column.top}, …" if column.distinct > 3 else f": {column.top}"
    if column.missing:
        note += f"; missing in {column.missing / rows:.1%}"
    if column.strays:
        note += f"; cells that are not numbers: {column.strays} (their rows will be rejected)"
    if column.distinct == 1:
        note += "; only one value: remove it?"
    return f"  - {_flow(entry)}  # {note}"


def _flow(value: object) -> str:
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    ).removesuffix("\n")


def _short(text: str) -> str:
    text = text.replace("\n", "|")
    return repr(text if len(text) <= 30 else text[:29] + "…")

"""A first draft of a configuration, guessed from the first rows of a file."""

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
from pipelines.sources import Broken, RawBatch, plan, read
from pipelines.sources.files import check_columns
from pipelines.validate import cells

MISSING_TEXTS = ("?", "NULL", "null", "None", "nan", "NaN", "\\N")
_LABEL_WORDS = re.compile(
    r"(^|[ _-])(label|target|click(ed)?|buy|bought|purchased?|ordered|liked?|shared?|"
    r"convert(ed)?|conversion|ctr|cvr|watch(ed)?|dwell)([ _-]|$)"
)
_SEPARATORS = "|;"
_FEW = 50  # whole numbers with fewer distinct values are taken for codes
_ENOUGH = 0.98  # of the cells that are numbers make a column of numbers


@dataclass(frozen=True)
class _Column:
    """What the first rows show of a column."""

    name: str
    texts: pa.Array  # present cells
    missing: int
    is_bag: bool
    integers: bool
    numbers: bool
    strays: int  # cells of a column of numbers that are none

    @property
    def distinct(self) -> int:
        return pc.count_distinct(self.texts).as_py()

    @property
    def two_valued(self) -> bool:
        return self.distinct == 2 and not self.is_bag

    @property
    def is_key(self) -> bool:
        """Nearly every row has a value of its own, and it is no measurement."""
        unique = self.distinct > 0.99 * len(self.texts) > 99
        return unique and not self.is_bag and (self.integers or not self.numbers)

    @property
    def top(self) -> str:
        counted = pc.value_counts(self.texts).to_pylist()
        counted.sort(key=lambda item: (-item["counts"], item["values"]))
        return ", ".join(_short(item["values"]) for item in counted[:3])


def infer_schema(path: str, rows: int = 10_000) -> str:
    """YAML that reads `path`, with what was seen as comments; to be edited by a person.

    Labels are guessed by name (`clicked`, `label`, …) and otherwise from the last column;
    columns that look like keys are left out, in a comment.

    Args:
        path: A CSV, TSV, JSON Lines or Parquet file, compressed or not.
        rows: How many of its first rows are looked at.

    Raises:
        UserError: The file cannot be read, or is of another kind.
        DataError: It holds no rows, or fewer than two usable columns.
    """
    batches = list(_first_rows(path, rows))
    broken = [line for batch in batches for line in batch.broken]
    tables = [batch for batch in batches if batch.rows]
    seen = sum(batch.rows for batch in tables)
    if not seen and broken:
        raise DataError(
            f"{path}, line {broken[0].line}: {broken[0].reason}, and no other line can be read "
            "either; convert or repair the file"
        )
    if not seen:
        raise DataError(f"{path}: holds no rows to look at")
    missing = _missing_values(tables)
    columns = [_column(name, tables, missing) for name in tables[0].columns]
    labels = _labels(columns)
    inputs = [column for column in columns if column not in labels and len(column.texts)]
    fields = [column for column in inputs if not column.is_key]
    if not labels or not fields:
        raise DataError(f"{path}: expected at least one input and one label column")
    names = _names(columns)
    lines = [
        f"# A draft, guessed from the first {seen:,} rows of {path}: check every line.",
        *_unread(broken),
        f"name: {_identifier(os.path.basename(path).split('.')[0])}",
        "split: {eval: 0.1, test: 0.1}",
    ]
    if missing:
        lines.append(f"missing_values: {_flow(list(missing))}")
    keys = [column for column in inputs if column.is_key]
    if keys:
        lines.append(
            "# Nearly every row has its own value here, so these are no inputs. A column of"
        )
        lines.append("# users or queries makes a good `key`: its rows then stay in one split.")
        lines.append(f"# key: {_flow([column.name for column in keys])}")
    lines += ["", "tasks:"]
    lines += [_task(column, names[column.name]) for column in labels]
    lines += ["", "fields:"]
    lines += [_field(column, names[column.name], seen) for column in fields]
    text = "\n".join(lines) + "\n"
    Schema.from_json(yaml.safe_load(text), f"draft for {path}")  # or it is our own bug
    return text


def _first_rows(path: str, rows: int) -> Iterator[RawBatch]:
    (source,), pieces = plan([path], [])
    check_columns(path, source.columns, source.columns)
    left = rows
    for piece in pieces:
        for batch in read(piece, source.columns):
            yield _head(batch, left)
            left -= batch.rows
            if left <= 0:
                return


def _head(batch: RawBatch, rows: int) -> RawBatch:
    columns = {name: column.slice(0, rows) for name, column in batch.columns.items()}
    broken = batch.broken
    if rows < batch.rows:
        broken = [line for line in broken if line.line < batch.lines[rows]]
    return RawBatch(columns, min(rows, batch.rows), batch.lines[:rows], batch.text, broken)


def _unread(broken: Sequence[Broken]) -> list[str]:
    """A comment on the lines that gave no row, if there are any."""
    if not broken:
        return []
    first = f"line {broken[0].line}: {broken[0].reason}"
    return [f"# Lines that cannot be read and will be rejected: {len(broken):,} ({first})."]


def _missing_values(batches: Sequence[RawBatch]) -> list[str]:
    """Texts that often stand for nothing, where they occur; the empty text always does."""
    found = set()
    for batch in batches:
        for column in batch.columns.values():
            column = cells.plain(column)
            if pa.types.is_string(column.type):
                hits = pc.is_in(column, value_set=pa.array(MISSING_TEXTS))
                found.update(pc.unique(column.filter(hits)).to_pylist())
    return [text for text in MISSING_TEXTS if text in found]


def _column(name: str, batches: Sequence[RawBatch], missing: Sequence[str]) -> _Column:
    parts, rows, is_list = [], 0, False
    for batch in batches:
        column = cells.plain(batch.columns[name])
        rows += len(column)
        is_list |= cells.is_list(column.type)
        try:
            texts = cells.as_text(column)
        except DataError:  # a struct, a map, binary: nothing a field could read
            continue
        parts.append(texts.filter(pa.array(~cells.missing(texts, missing))))
    texts = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
    _, _, no_integer = cells.integers(texts, ())
    _, no_number = cells.numbers(texts, ())
    numbers = len(texts) > 0 and not is_list and no_number.mean() <= 1 - _ENOUGH
    return _Column(
        name=name,
        texts=texts,
        missing=rows - len(texts),
        is_bag=is_list or _separator(texts) is not None,
        integers=numbers and (no_integer == no_number).all(),
        numbers=numbers,
        strays=int(no_number.sum()) if numbers else 0,
    )


def _separator(texts: pa.Array) -> str | None:
    """What joins the values of a bag, if cells often hold several."""
    for separator in _SEPARATORS:
        several = cells.mask(pc.match_substring(texts, separator))
        if len(texts) and several.mean() > 0.2:
            return separator
    return None


def _labels(columns: Sequence[_Column]) -> list[_Column]:
    named = [
        column
        for column in columns
        if _LABEL_WORDS.search(column.name.lower())
        and (column.two_valued or (column.numbers and not column.is_bag))
        and column.distinct > 1
    ]
    if named:
        return named
    usable = [column for column in columns if column.distinct > 1 and not column.is_key]
    last = [column for column in usable if column.two_valued or column.numbers]
    return last[-1:]


def _names(columns: Sequence[_Column]) -> Mapping[str, str]:
    """Column → a field or task name: lower case, unique."""
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
    values, _ = cells.numbers(column.texts, ())
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
    if column.is_bag:
        entry["kind"] = "multivalued"
        separator = _separator(column.texts)
        if separator not in (None, "|"):
            entry["separator"] = separator
        note += " bags"
    elif column.numbers and not (column.integers and column.distinct < _FEW):
        values, _ = cells.numbers(column.texts, ())
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
        note += f"; cells that are no numbers: {column.strays} (their rows will be rejected)"
    if column.distinct == 1:
        note += "; one value only: leave it out?"
    return f"  - {_flow(entry)}  # {note}"


def _flow(value: object) -> str:
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    ).removesuffix("\n")


def _short(text: str) -> str:
    text = text.replace("\n", "|")
    return repr(text if len(text) <= 30 else text[:29] + "…")

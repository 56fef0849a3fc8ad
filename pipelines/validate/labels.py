"""Raw columns to the clean label and weight of a task."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tf.schema import Task
from pipelines.validate import parse_cells
from pipelines.validate.faults import Faults


def clean_label(
    task: Task, columns: Mapping[str, pa.Array], missing_values: Collection[str], faults: Faults
) -> dict[str, pa.Array]:
    """Return `label/<task>` and `weight/<task>`, float32; add faults to `faults`.

    Where the row is not trained on, for any reason, the label is null and the weight 0.

    Raises:
        UnsupportedType: The file's type of a column can never be converted.
    """
    label = _label(task, columns[task.label.column], missing_values, faults)
    weight = np.ones(len(label), np.float32)
    if task.weight_column is not None:
        name, column = task.weight_column, columns[task.weight_column]
        weight, bad = parse_cells.numbers(column, missing_values)
        faults.add(bad, f"column {name!r}: not a number", column)
        faults.add(weight < 0, f"column {name!r}: a weight is negative", column)
    if task.mask_column is not None:
        name, column = task.mask_column, columns[task.mask_column]
        trained, bad = parse_cells.numbers(column, missing_values)
        bad |= ~np.isnan(trained) & (trained != 0) & (trained != 1)
        faults.add(bad, f"column {name!r}: a mask must be 0 or 1", column)
        weight = np.where(trained == 1, weight, 0)
    untrained = np.isnan(label) | np.isnan(weight) | (weight == 0)
    return {
        f"label/{task.name}": pa.array(label, pa.float32(), mask=untrained),
        f"weight/{task.name}": pa.array(np.where(untrained, 0, weight), pa.float32()),
    }


def _label(
    task: Task, column: pa.Array, missing_values: Collection[str], faults: Faults
) -> np.ndarray:
    """Return the labels, (rows,) float32, NaN where missing."""
    if task.label.positives is not None:
        texts = parse_cells.as_text(column)
        positive = parse_cells.mask(pc.is_in(texts, value_set=pa.array(_positive_texts(task))))
        # `equals` may name a text that means missing elsewhere: here it is a label.
        absent = parse_cells.missing(texts, missing_values) & ~positive
        return np.where(absent, np.nan, positive).astype(np.float32)
    values, bad = parse_cells.doubles(column, missing_values)
    name = task.label.column
    faults.add(bad, f"label {name!r} of task `{task.name}`: not a number", column)
    if task.label.above is not None:
        above = values > parse_cells.limit_of(column, task.label.above)
        return np.where(np.isnan(values), np.nan, above).astype(np.float32)
    values = values.astype(np.float32)
    if task.kind == "binary":
        other = ~np.isnan(values) & (values != 0) & (values != 1)
        faults.add(other, f"label {name!r} of task `{task.name}`: expected 0 or 1", column)
    return values


def _positive_texts(task: Task) -> list[str]:
    """Return the texts that mean 1, also as columns of booleans and floats spell them."""
    texts = []
    for text in task.label.positives or ():
        texts += [text, text.lower()] if text in ("True", "False") else [text]
        if re.fullmatch(r"-?[0-9]+\.0+", text):
            texts.append(text.partition(".")[0])
    return texts

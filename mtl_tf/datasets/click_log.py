"""A generated click log whose truth is known: which field matters to which task.

Each task's score is a sum of one effect per field that it reads. All other fields have no
influence on the task, so a mask that closes them is right, and a mask that closes a field
that the task reads loses information.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from mtl_tf.files import write_json

TRUTH: Mapping[str, tuple[str, ...]] = {
    "click": ("category", "interests", "position", "device", "hour"),
    "buy": ("category", "brand", "price", "country", "seller_rating"),
    "watch": ("category", "interests", "device", "age"),
}
"""By task, the fields that its label depends on."""

NOISE = ("campaign", "browser", "ad_server", "battery")
"""Fields that no label depends on."""

_CATEGORIES = {  # field → (prefix, number of values)
    "category": ("cat", 40),
    "brand": ("brand", 200),
    "country": ("C", 30),
    "device": ("dev", 6),
    "campaign": ("cmp", 50),
    "browser": ("br", 8),
    "ad_server": ("srv", 500),
}
_INTERESTS = 60
_MALFORMED = ("price", "age", "hour")


def click_log(
    folder: str | Path,
    rows: int = 200_000,
    files: int = 4,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write CSV parts and `truth.json` into `folder`.

    Labels: `clicked` and `bought` (0/1; `bought` is empty unless clicked) and
    `watch_minutes` (a number, empty for one row in ten). About one row in 20,000
    holds a cell that cannot be read.

    Args:
        folder: created if needed.
        rows: in all parts together.
        files: the number of parts.
        seed: the same seed gives the same bytes.
        progress: called with the number of rows of each part, once it is written.

    Returns:
        `folder`.

    Example:
    >>> import tempfile
    >>> folder = click_log(tempfile.mkdtemp(), rows=1000, files=2)
    >>> sorted(path.name for path in folder.iterdir())
    ['part-00000.csv', 'part-00001.csv', 'truth.json']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    effects = _effects(np.random.default_rng(seed))
    for part in range(files):
        count = rows * (part + 1) // files - rows * part // files
        table = _table(np.random.default_rng((seed, part + 1)), count, effects)
        pyarrow.csv.write_csv(table, folder / f"part-{part:05d}.csv")
        if progress:
            progress(count)
    write_json(folder / "truth.json", {"reads": TRUTH, "noise": NOISE})
    return folder


def _effects(rng: np.random.Generator) -> dict[tuple[str, str], np.ndarray]:
    """Return by task and field an effect per value, of mean 0 and variance 1.

    The effects of a field on two tasks that both read it are correlated (0.7).
    """
    sizes = {field: size for field, (_, size) in _CATEGORIES.items()}
    sizes |= {"interests": _INTERESTS, "hour": 24, "position": 10}
    common = {field: rng.normal(size=size) for field, size in sizes.items()}
    effects = {}
    for task, fields in TRUTH.items():
        for field in fields:
            if field in sizes:
                specific = rng.normal(size=sizes[field])
                mixed = 0.7 * common[field] + np.sqrt(1 - 0.7**2) * specific
                effects[task, field] = (mixed - mixed.mean()) / mixed.std()
    return effects


class _Rows(NamedTuple):
    """The fields of some rows, before they become text."""

    ids: dict[str, np.ndarray]  # of categories, hour and position: (rows,)
    tags: np.ndarray  # of interests: (rows, 4)
    num_tags: np.ndarray  # how many of them a row has
    numbers: dict[str, np.ndarray]  # NaN where missing


def _table(
    rng: np.random.Generator, count: int, effects: dict[tuple[str, str], np.ndarray]
) -> pa.Table:
    rows = _draw(rng, count)
    click = rng.random(count) < _sigmoid(0.8 * _score("click", rows, effects) - 1.5)
    buy = rng.random(count) < _sigmoid(0.8 * _score("buy", rows, effects) - 1.0)
    watch = np.exp(0.5 * _score("watch", rows, effects) / 2 + rng.normal(0, 0.4, count)).round(2)
    columns = _field_columns(rows)
    columns["clicked"] = click.astype(int).astype(str)
    columns["bought"] = np.where(click, buy.astype(int).astype(str), "")
    columns["watch_minutes"] = np.where(rng.random(count) < 0.1, "", _text(watch))
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return _spoil(rng, table)


def _draw(rng: np.random.Generator, count: int) -> _Rows:
    ids = {field: _zipf(rng, size, count) for field, (_, size) in _CATEGORIES.items()}
    ids["hour"] = rng.integers(0, 24, count)
    ids["position"] = rng.integers(0, 10, count)
    tags = rng.integers(0, _INTERESTS, (count, 4))
    num_tags = rng.integers(0, 5, count)
    numbers = {
        "price": np.exp(rng.normal(3.0, 1.0, count)).round(2),
        "age": rng.integers(18, 80, count).astype(float),
        "seller_rating": np.where(rng.random(count) < 0.15, np.nan, rng.uniform(1, 5, count)),
        "battery": rng.uniform(0, 100, count).round(),
    }
    return _Rows(ids, tags, num_tags, numbers)


def _score(task: str, rows: _Rows, effects: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """Return the sum of the effects of all fields that a task reads, one per row."""
    shapes = _effects_of_numbers(rows.numbers)
    total = np.zeros(len(rows.num_tags))
    for field in TRUTH[task]:
        if field == "interests":
            present = np.arange(4) < rows.num_tags[:, None]
            each = np.where(present, effects[task, field][rows.tags], 0.0)
            total += each.sum(1) / np.maximum(rows.num_tags, 1) * 1.6
        elif field in shapes:
            total += shapes[field]
        else:
            total += effects[task, field][rows.ids[field]]
    return total


def _effects_of_numbers(numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Known functions, the same for every task, each of about unit variance."""
    return {
        "price": -(np.log(numbers["price"]) - 3.0),
        "age": 1.4 * np.cos((numbers["age"] - 18) / 62 * np.pi),
        "seller_rating": np.nan_to_num((numbers["seller_rating"] - 3) / 1.15, nan=-0.5),
    }


def _field_columns(rows: _Rows) -> dict[str, np.ndarray | list[str]]:
    columns: dict[str, np.ndarray | list[str]] = {
        field: np.char.add(prefix, rows.ids[field].astype(str))
        for field, (prefix, _) in _CATEGORIES.items()
    }
    columns |= {name: rows.ids[name].astype(str) for name in ("hour", "position")}
    columns["interests"] = [
        "|".join(f"tag{tag}" for tag in tags[:size])
        for tags, size in zip(rows.tags.tolist(), rows.num_tags.tolist(), strict=True)
    ]
    return columns | {name: _text(values) for name, values in rows.numbers.items()}


def _zipf(rng: np.random.Generator, size: int, rows: int) -> np.ndarray:
    """Return ids with a long tail: a few values are frequent, most are rare."""
    share = 1.0 / np.arange(1, size + 1) ** 0.7
    return rng.choice(size, size=rows, p=share / share.sum())


def _text(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), "", np.char.mod("%.6g", values))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _spoil(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    """Overwrite a few cells with text that cannot be read as a number."""
    for column in _MALFORMED:
        bad = rng.random(table.num_rows) < 1 / 60_000
        place = table.schema.get_field_index(column)
        values = pyarrow.compute.if_else(pa.array(bad), pa.scalar("n/a?"), table[column])
        table = table.set_column(place, column, values)
    return table

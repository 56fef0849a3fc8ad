"""A click log whose ground truth is known: which field matters to which task.

Each task's score is a sum of one effect per field that it reads. Fields outside
that list have no influence on the task at all, so a mask that closes there is
right and a mask that closes elsewhere loses something.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

TRUTH: Mapping[str, tuple[str, ...]] = {
    "click": ("category", "interests", "position", "device", "hour"),
    "buy": ("category", "brand", "price", "country", "seller_rating"),
    "watch": ("category", "interests", "device", "age"),
}
"""Task → the fields that its label depends on."""

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
    """Writes `files` CSV parts and `truth.json` into `folder` and returns it.

    Tasks: `clicked` and `bought` (0/1; `bought` is empty unless clicked) and
    `watch_minutes` (a number, empty for one row in ten). About one row in 20,000
    holds a cell that cannot be read. `progress` is called with the rows written.

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
        table = _part(np.random.default_rng((seed, part + 1)), count, effects)
        pyarrow.csv.write_csv(table, folder / f"part-{part:05d}.csv")
        if progress:
            progress(count)
    truth = {"reads": TRUTH, "noise": NOISE}
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return folder


def _effects(rng: np.random.Generator) -> dict[tuple[str, str], np.ndarray]:
    """(task, field) → one effect per value, mean 0 and the same strength for every field.

    What two tasks read in common they share in part: the effects are correlated (0.7).
    """
    sizes = {field: size for field, (_, size) in _CATEGORIES.items()}
    sizes |= {"interests": _INTERESTS, "hour": 24, "position": 10}
    common = {field: rng.normal(size=size) for field, size in sizes.items()}
    effects = {}
    for task, fields in TRUTH.items():
        for field in fields:
            if field in sizes:
                own = rng.normal(size=sizes[field])
                mixed = 0.7 * common[field] + np.sqrt(1 - 0.7**2) * own
                effects[task, field] = (mixed - mixed.mean()) / mixed.std()
    return effects


def _part(
    rng: np.random.Generator, rows: int, effects: dict[tuple[str, str], np.ndarray]
) -> pa.Table:
    ids = {field: _zipf(rng, size, rows) for field, (_, size) in _CATEGORIES.items()}
    ids["hour"] = rng.integers(0, 24, rows)
    ids["position"] = rng.integers(0, 10, rows)
    bags = rng.integers(0, _INTERESTS, (rows, 4))
    bag_size = rng.integers(0, 5, rows)
    in_bag = np.arange(4) < bag_size[:, None]
    numbers = {
        "price": np.exp(rng.normal(3.0, 1.0, rows)).round(2),
        "age": rng.integers(18, 80, rows).astype(float),
        "seller_rating": np.where(rng.random(rows) < 0.15, np.nan, rng.uniform(1, 5, rows)),
        "battery": rng.uniform(0, 100, rows).round(),
    }
    shapes = {  # task effects of numbers: known functions, each of about unit variance
        "price": -(np.log(numbers["price"]) - 3.0),
        "age": 1.4 * np.cos((numbers["age"] - 18) / 62 * np.pi),
        "seller_rating": np.nan_to_num((numbers["seller_rating"] - 3) / 1.15, nan=-0.5),
    }

    def score(task: str) -> np.ndarray:
        total = np.zeros(rows)
        for field in TRUTH[task]:
            if field == "interests":
                each = np.where(in_bag, effects[task, field][bags], 0.0)
                total += each.sum(1) / np.maximum(bag_size, 1) * 1.6
            elif field in shapes:
                total += shapes[field]
            else:
                total += effects[task, field][ids[field]]
        return total

    click = rng.random(rows) < _sigmoid(0.8 * score("click") - 1.5)
    buy = rng.random(rows) < _sigmoid(0.8 * score("buy") - 1.0)
    watch = np.exp(0.5 * score("watch") / 2 + rng.normal(0, 0.4, rows)).round(2)
    columns: dict[str, np.ndarray | list[str]] = {
        field: np.char.add(prefix, ids[field].astype(str))
        for field, (prefix, _) in _CATEGORIES.items()
    }
    columns |= {name: ids[name].astype(str) for name in ("hour", "position")}
    columns["interests"] = [
        "|".join(f"tag{tag}" for tag in bag[:size])
        for bag, size in zip(bags.tolist(), bag_size.tolist(), strict=True)
    ]
    columns |= {name: _text(values) for name, values in numbers.items()}
    columns["clicked"] = click.astype(int).astype(str)
    columns["bought"] = np.where(click, buy.astype(int).astype(str), "")
    columns["watch_minutes"] = np.where(rng.random(rows) < 0.1, "", _text(watch))
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return _spoil(rng, table)


def _zipf(rng: np.random.Generator, size: int, rows: int) -> np.ndarray:
    """Ids with a long tail: a few values are frequent, most are rare."""
    share = 1.0 / np.arange(1, size + 1) ** 0.7
    return rng.choice(size, size=rows, p=share / share.sum())


def _text(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), "", np.char.mod("%.6g", values))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _spoil(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    """Overwrites a few cells with text that no reader can turn into a number."""
    for column in _MALFORMED:
        bad = rng.random(table.num_rows) < 1 / 60_000
        place = table.schema.get_field_index(column)
        values = pyarrow.compute.if_else(pa.array(bad), pa.scalar("n/a?"), table[column])
        table = table.set_column(place, column, values)
    return table

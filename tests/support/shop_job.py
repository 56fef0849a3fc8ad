"""A small shop's rows, and the preprocessing job run on them."""

import csv

import numpy as np
import yaml

from pipelines import preprocess

CONFIG = {
    "name": "shop",
    "fields": [
        {"name": "country", "kind": "categorical", "min_count": 2},
        {"name": "item", "kind": "categorical", "dtype": "integer"},
        {"name": "price", "kind": "numeric", "transform": "standardize"},
        {"name": "age", "kind": "numeric", "transform": "quantile", "buckets": 4},
        {"name": "tags", "kind": "multivalued", "max_values": 3},
    ],
    "tasks": [
        {"name": "click", "label": {"column": "clicked", "equals": "yes"}},
        {"name": "watch", "label": "minutes", "kind": "regression"},
    ],
    "split": {"eval": 0.2, "test": 0.1},
}
COLUMNS = ["row", "country", "item", "price", "age", "tags", "clicked", "minutes"]


def make_rows(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        tags = "|".join(f"t{rng.integers(20)}" for _ in range(rng.integers(0, 5)))
        rows.append({
            "row": str(i),
            "country": str(rng.choice(["de", "fr", "jp", "", f"rare{i}"])),
            "item": str(rng.integers(30)),
            "price": f"{rng.lognormal():.4f}",
            "age": "" if rng.random() < 0.1 else str(rng.integers(90)),
            "tags": tags,
            "clicked": "yes" if rng.random() < 0.3 else "no",
            "minutes": "" if rng.random() < 0.5 else f"{rng.random():.3f}",
        })  # fmt: skip
    return rows


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_config(folder, **changes):
    """Write shop.yaml, the configuration above with these entries changed."""
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return path


def run(folder, *inputs, output="out", flags=(), **changes):
    """Run the job on these inputs; return the content of dataset.json."""
    argv = ["--config", str(write_config(folder, **changes)), "--output", str(folder / output)]
    for given in inputs:
        argv += ["--input", str(given)]
    return preprocess.run([*argv, *flags])


def left_in(folder):
    """Return the names of the files beside the configuration."""
    return sorted(path.name for path in folder.iterdir() if path.name != "shop.yaml")


def spoil(rows, **cells):
    """Return the rows with these cells replaced."""
    return [row | cells for row in rows]

"""Read `gates.csv`, which `mtl_tf.training.sharing_log` writes during training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from mtl_tf.errors import UserError

_MASKS = "Mask"  # the name of every architecture's mask layer
_DIMENSIONS = "Dimensions"  # and of its gates on dimensions, or what this is followed by


class SharingRow(NamedTuple):
    """A connection, a field and its reader, or a field's dimensions, after one epoch."""

    epoch: int
    layer: str
    to: str
    source: str
    open: float
    closed: float

    @property
    def is_mask(self) -> bool:
        return self.layer == _MASKS

    @property
    def is_dimensions(self) -> bool:
        return self.layer == _DIMENSIONS or self.layer.startswith(f"{_DIMENSIONS}_")


def read_sharing_log(path: Path) -> list[SharingRow]:
    """Return all rows of the file, or none if it does not exist.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                SharingRow(
                    int(row["epoch"]),
                    row["layer"],
                    row["to"],
                    row["from"],
                    float(row["open"]),
                    float(row["closed"]),
                )
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: expected the columns epoch, layer, to, from, open, closed; the file is "
            f"damaged ({error})"
        ) from None

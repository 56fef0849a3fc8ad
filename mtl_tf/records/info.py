"""`dataset.json`: what a dataset folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_tf.errors import UserError
from mtl_tf.files import read_json
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform

FORMAT = 1


@dataclass(frozen=True)
class SplitInfo:
    """One split: rows, shard files, and per task the labelled rows and the sum of labels."""

    rows: int
    files: tuple[str, ...]
    labelled: Mapping[str, int]
    positives: Mapping[str, float]


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset folder, or a run folder, which holds a copy of its `dataset.json`.

    Attributes:
        folder: Where it was read from.
        transform: The fitted transform.
        splits: What each split holds, by name.
        layout: `"block"` or `"row"`.
        raw: The whole of `dataset.json`.
    """

    folder: Path
    transform: FittedTransform
    splits: Mapping[str, SplitInfo]
    layout: str
    raw: Mapping[str, Any]

    @property
    def schema(self) -> Schema:
        """Fields and tasks."""
        return self.transform.schema

    @property
    def compression(self) -> str | None:
        """`"gzip"` or None."""
        return self.raw["compression"]

    def split(self, name: str) -> SplitInfo:
        """The split of that name; it must have rows."""
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise UserError(f"{self.folder}: no split `{name}`; choose one of: {known}")
        if not self.splits[name].rows:
            raise UserError(
                f"{self.folder}: split `{name}` has no rows; give it a share in the schema's "
                f"`split` or an input file of its own (`{name}=FILE`), and preprocess again"
            )
        return self.splits[name]


def load_info(folder: str | Path) -> DatasetInfo:
    """What the `dataset.json` in `folder` says, with the vocabularies beside it.

    Raises:
        UserError: `folder` is not there, or holds no readable `dataset.json`.
    """
    folder = Path(folder)
    raw = _read(folder)
    if raw.get("format") != FORMAT:
        raise UserError(
            f"{folder / 'dataset.json'}: expected format {FORMAT}. Received: {raw.get('format')}; "
            "preprocess the data with this version"
        )
    try:
        return DatasetInfo(
            folder=folder,
            transform=FittedTransform.from_json(raw["transform"], folder),
            splits={name: _split(entry) for name, entry in raw["splits"].items()},
            layout=raw["layout"],
            raw=raw,
        )
    except KeyError as error:
        raise UserError(
            f"{folder / 'dataset.json'}: entry {error} is missing; preprocess the data again"
        ) from None
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{folder / 'dataset.json'}: is damaged ({error}); preprocess the data again"
        ) from None


def _split(entry: Mapping[str, Any]) -> SplitInfo:
    return SplitInfo(entry["rows"], tuple(entry["files"]), entry["labelled"], entry["positives"])


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `mtl-tf preprocess` makes a dataset folder")
    if not path.exists():
        raise UserError(
            f"{folder}: expected a dataset or run folder, with a dataset.json in it; found none"
        )
    return read_json(path, fix="preprocess the data again")

"""`dataset.json`, the description of a dataset folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_tf.errors import UserError
from mtl_tf.files import read_json
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform, LabelStatistics

FORMAT = 1


@dataclass(frozen=True)
class SplitInfo:
    """One split: rows, shard files, and labelled rows and sum of labels by task."""

    rows: int
    files: tuple[str, ...]
    labelled: Mapping[str, int]
    positives: Mapping[str, float]


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset folder, or a run folder, which holds a copy of its `dataset.json`.

    Attributes:
        folder: The folder.
        transform: The fitted transform.
        splits: The splits by name.
        layout: `"block"` or `"row"`.
        labels: The distribution of the labels of regression tasks by task; empty in datasets
            that earlier versions wrote.
        raw: The whole content of `dataset.json`.
    """

    folder: Path
    transform: FittedTransform
    splits: Mapping[str, SplitInfo]
    layout: str
    labels: Mapping[str, LabelStatistics]
    raw: Mapping[str, Any]

    @property
    def schema(self) -> Schema:
        """The schema of the dataset."""
        return self.transform.schema

    @property
    def compression(self) -> str | None:
        """`"gzip"` or None."""
        return self.raw["compression"]

    def split(self, name: str) -> SplitInfo:
        """Return the split of that name; raise `UserError` if it is unknown or has no rows."""
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
    """Read the `dataset.json` in `folder`, and the vocabularies beside it.

    Raises:
        UserError: `folder` does not exist, or has no readable `dataset.json`.
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
            labels={
                task: LabelStatistics.from_json(entry)
                for task, entry in raw.get("labels", {}).items()
            },
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
        raise UserError(f"{folder}: no such folder; `mtl-tf preprocess` creates a dataset folder")
    if not path.exists():
        raise UserError(
            f"{folder}: expected a dataset or run folder, with a dataset.json in it; found none"
        )
    return read_json(path, fix="preprocess the data again")

"""What is compared on each data set: the configuration, and a variant of it per name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.training import CONFIG as CENSUS_CONFIG
from benchmarks.training import dataset_folder as census_folder
from mtl_tf.config import Config, load_config
from mtl_tf.datasets import CONFIGS
from mtl_tf.datasets.census import cache_folder
from mtl_tf.errors import UserError
from mtl_tf.schema import SPLITS
from pipelines.preprocess import preprocess

KUAIRAND_CONFIG = CONFIGS / "kuairand.yaml"


@dataclass(frozen=True)
class Variant:
    """What a run changes of the data set's configuration.

    Attributes:
        model: the whole `model` part.
        training: options that replace those of the `training` part.
        embedding_dim: of all fields; None for those of the configuration.
    """

    model: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    embedding_dim: int | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set, the variants that are compared on it, and which of them are plotted by size.

    Attributes:
        config: the configuration that comes with the package.
        folder: returns the dataset folder, made by the Beam job if needed.
        variants: by name; names without `+` are compared with `single_task`.
        sparse: by architecture that closes connections, its variants from small to large.
        dense: variants of other architectures, for comparison with `sparse` at equal size.
    """

    config: Path
    folder: Callable[[str | None], Path]
    variants: Mapping[str, Variant]
    sparse: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dense: tuple[str, ...] = ()

    def configured(self, name: str, seed: int) -> Config:
        """Return the configuration of a run."""
        variant = self.variants[name]
        parts = load_config(self.config).to_json()
        parts["model"] = dict(variant.model)
        parts["training"] |= {"seed": seed, **variant.training}
        if variant.embedding_dim:
            for each in parts["schema"]["fields"]:
                each["embedding_dim"] = variant.embedding_dim
        return Config.from_json(parts)


# Widths that give each 76 to 91 thousand parameters on Census-Income.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "single_task": {"units": [96, 64]},
    "shared_bottom": {"units": [192, 64]},
    "mmoe": {"units": [48, 32], "num_experts": 4},
    "cross_stitch": {"units": [96, 64]},
    "sluice": {"units": [88, 88]},
    "cgc": {"units": [36]},
    "ple": {"units": [32]},
    "snr_trans": {"units": [32, 32]},
    "snr_aver": {"units": [56, 56]},
    "mssm": {"units": [64, 32]},
    "mssm_a": {"units": [64, 32]},
    "mssm_b": {"units": [64, 32]},
}
_TRAININGS: dict[str, dict[str, Any]] = {
    "warm_up": {"warm_up_epochs": 1},
    "fine_tune": {"warm_up_epochs": 1, "fine_tune_epochs": 2},
}
_DENSE_DIMS = (1, 2, 3, 4, 6)  # and 8, the default
_SPARSE, _BUDGETS = ("mssm", "snr_trans"), (320, 640, 960)  # kB, of dense models 2 to 6 wide
_WIDE = {"architecture": "shared_bottom", "units": [128, 32]}


def _census() -> dict[str, Variant]:
    same_size = {
        name: Variant({"architecture": name, **options}) for name, options in ARCHITECTURES.items()
    }
    trained = {
        f"{name}+{training}": Variant(same_size[name].model, options)
        for name in ("snr_trans", "mssm")
        for training, options in _TRAININGS.items()
    }
    return same_size | trained


def _kuairand() -> dict[str, Variant]:
    defaults = {name: Variant({"architecture": name}) for name in ARCHITECTURES}
    narrow = {
        f"mmoe+dim{dim}": Variant({"architecture": "mmoe"}, embedding_dim=dim)
        for dim in _DENSE_DIMS
    }
    budgets = {
        f"{name}+{kilobytes}kB": Variant(
            {"architecture": name, "embedding_gates": {}},
            {"budget": {"bytes": 1000 * kilobytes}, "gate_learning_rate": 0.1},
        )
        for name in _SPARSE
        for kilobytes in _BUDGETS
    }
    wide = {
        f"shared_bottom+wide+dim{dim}": Variant(_WIDE, embedding_dim=dim)
        for dim in (*_DENSE_DIMS, 8)
    }
    return defaults | narrow | wide | budgets


def kuairand_folder(data: str | None) -> Path:
    """Return `data` itself if it is a dataset folder; else what the job makes of its files.

    Raises:
        UserError: `data` has neither.
    """
    if data and (Path(data) / "dataset.json").is_file():
        return Path(data)
    files = {split: Path(data or ".") / f"{split}.parquet" for split in SPLITS}
    if not data or not all(path.is_file() for path in files.values()):
        raise UserError(
            "expected a folder with train.parquet, eval.parquet and test.parquet, or a dataset "
            f"folder. Received: --data {data}; name KuaiRand's folder"
        )
    sizes = [path.stat().st_size for path in files.values()]
    version = hashlib.sha256(KUAIRAND_CONFIG.read_bytes() + repr(sizes).encode()).hexdigest()
    folder = cache_folder().parent / f"kuairand-dataset-{version[:12]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        preprocess(KUAIRAND_CONFIG, [f"{split}={path}" for split, path in files.items()], folder)
    return folder


DATA_SETS = {
    "census": DataSet(CENSUS_CONFIG, census_folder, _census()),
    "kuairand": DataSet(
        KUAIRAND_CONFIG,
        kuairand_folder,
        _kuairand(),
        sparse={name: tuple(f"{name}+{kilobytes}kB" for kilobytes in _BUDGETS) for name in _SPARSE},
        dense=(
            "mmoe",
            *(f"mmoe+dim{dim}" for dim in _DENSE_DIMS),
            *(f"shared_bottom+wide+dim{dim}" for dim in (*_DENSE_DIMS, 8)),
        ),
    ),
}

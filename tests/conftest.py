"""Fixtures of all rooms, and which tests are slow."""

import os
from fnmatch import fnmatch
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test is about time: a busy machine must not fail one.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

ROOT = Path(__file__).resolve().parent.parent

LONGEST = (
    "training/test_distribution",
    "training/test_train",
    "docs/test_readme",
    "ranker/test_ranker",
    "training/test_checkpoint",
    "ranker/test_loss_weighting_use",
    "training/test_cases",
    "ranker/test_loss_weighting",
    "training/test_gate_schedule",
    "serving/test_export",
    "pipelines/test_preprocess",
)
"""By the time they take: a long file that comes last leaves the other worker idle."""

SLOW = (
    *LONGEST,
    "benchmarks/*",
    "compiler/test_architectures",
    "compiler/test_capture",
    "compiler/test_lower",
    "compiler/test_masked_tables",
    "compiler/test_projected_tables",
    "compiler/test_quantize_tables",
    "compiler/test_split_context",
    "docs/test_docstrings",
    "layers/test_conformance",
    "models/*",
    "pipelines/test_bad_data",
    "pipelines/test_command",
    "pipelines/test_infer_schema",
    "pipelines/test_repeatable",
    "plots/test_inspect",
    "plots/test_run",
    "plots/test_sharing_log",
    "ranker/*",
    "serving/test_answers",
    "serving/test_environment",
    "serving/test_export_refusals",
    "serving/test_measurements",
    "serving/test_parity",
    "serving/test_rank",
    "serving/test_server",
    "tests/test_tfrs",
    "tests/test_wheel",
    "training/*",
)
"""Files that train, export, or start processes: each takes many seconds. Marked `slow`."""


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    for item in items:
        if any(fnmatch(_name(item), pattern) for pattern in SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place.get(_name(item), len(place)))


def _name(item):
    """`training/test_train` of a test in that file."""
    return f"{item.path.parent.name}/{item.path.stem}"


def _data(variable: str, name: str, file: str) -> Path:
    """The folder that an environment variable names, or the shared one; skips without `file`."""
    named = os.environ.get(variable)
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / name
    if not (folder / file).is_file():
        pytest.skip(f"no {file} in {folder}; set {variable} to its folder")
    return folder


@pytest.fixture(scope="session")
def census() -> Path:
    """Folder with Census-Income's train.csv.xz and test.csv.xz."""
    return _data("MTL_TF_CENSUS", "census-income", "train.csv.xz")


@pytest.fixture(scope="session")
def kuairand() -> Path:
    """Folder with KuaiRand's train.parquet, eval.parquet and test.parquet."""
    return _data("MTL_TF_KUAIRAND", "kuairand", "train.parquet")


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory) -> Path:
    """Folder with one small model, `m`, for a server."""
    from tests.support.serving_toys import save_toy

    folder = tmp_path_factory.mktemp("models")
    save_toy(folder)
    return folder

"""What tests share."""

import os
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


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(_name(item), len(place)))


def _name(item):
    """`training/test_train` of a test in that file."""
    return f"{item.path.parent.name}/{item.path.stem}"


@pytest.fixture(scope="session")
def census() -> Path:
    """Folder with Census-Income's train.csv.xz and test.csv.xz."""
    named = os.environ.get("MTL_TF_CENSUS")
    folder = Path(named) if named else ROOT.parent / "shared" / "data" / "census-income"
    if not (folder / "train.csv.xz").is_file():
        pytest.skip(f"no Census-Income in {folder}; set MTL_TF_CENSUS to its folder")
    return folder


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory) -> Path:
    """Folder with one small model, `m`, for a server."""
    from tests.support.serving_toys import save_toy

    folder = tmp_path_factory.mktemp("models")
    save_toy(folder)
    return folder

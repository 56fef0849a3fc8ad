"""TF Serving's configuration files, and the images that copy them."""

import re
from pathlib import Path

import pytest
import yaml

from mtl_tf.errors import UserError
from serving.server import config

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_of_models_as_text_and_back(tmp_path):
    for path in ("shop/1", "shop/3", "news/2", "empty", "news/.export-x", "shop/latest",
                 f"shop/{2**63}", "news/" + "9" * 200):  # fmt: skip
        (tmp_path / path).mkdir(parents=True)
    written = config.folder_config(tmp_path, base_path="/models")
    entries = written.model_config_list.config
    assert [(entry.name, entry.base_path) for entry in entries] == [
        ("news", "/models/news"),
        ("shop", "/models/shop"),
    ]
    folder = config.write(tmp_path / "etc", written)
    assert config.read_config(folder / "models.config") == written
    assert "max_batch_size { value: 512 }" in (folder / "batching.config").read_text()
    assert (folder / "monitoring.config").read_text() == config.MONITORING_TEXT
    assert sorted(config.versions_in(tmp_path / "shop")) == [1, 3]


def test_labels_name_served_versions():
    entry = config.model_config("m", "/m", versions=[3, 4], labels={"canary": 4})
    assert dict(entry.version_labels) == {"canary": 4}
    with pytest.raises(UserError, match="label `canary` is for version 5, which is not among"):
        config.model_config("m", "/m", versions=[3, 4], labels={"canary": 5})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: config.folder_config(path / "none"), "this folder of models does not exist"),
        (lambda path: config.read_config(path / "none"), "cannot be read"),
        (lambda path: config.read_config(path / "bad"), "not a model server configuration"),
        (lambda path: config.batching_text([0]), "`batch_sizes` must be positive"),
    ],
)
def test_mistakes(tmp_path, call, message):
    (tmp_path / "bad").write_text("nonsense {")
    with pytest.raises(UserError, match=message):
        call(tmp_path)


def test_the_last_batch_size_is_the_largest_request():
    text = config.batching_text([512, 64])
    assert text.index("allowed_batch_sizes: 64") < text.index("allowed_batch_sizes: 512")
    assert "max_batch_size { value: 512 }" in text


def test_images_copy_what_exists_and_is_not_ignored():
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    for service in services.values():
        dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
        assert re.search(r"^FROM \S+:\d+\.\d+\.\d+", dockerfile, re.M), "a pinned tag"
        assert re.search(r"^USER (?!root)", dockerfile, re.M)
        for sources in re.findall(r"^COPY (.+) \S+$", dockerfile, re.M):
            for source in sources.split():
                assert (ROOT / source).exists() and source in kept
    assert (ROOT / "docker/monitoring.config").read_text() == config.MONITORING_TEXT

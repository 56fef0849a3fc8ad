"""TF Serving's server configuration, as protos and as the text files of its flags.

| flag of tensorflow_model_server | written by |
|---|---|
| `--model_config_file` | `model_config`, `folder_config` |
| `--batching_parameters_file` (with `--enable_batching`) | `batching_text` |
| `--monitoring_config_file` (with `--rest_api_port`) | `MONITORING_TEXT` |

`write` writes all three. A label at start also needs
`--allow_version_labels_for_unavailable_models`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from google.protobuf import text_format

from mtl_tf.errors import UserError
from serving.protocol import LARGEST_VERSION
from serving.protocol.protos import model_server_config_pb2 as pb

MONITORING_TEXT = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'


def model_config(
    name: str,
    base_path: str | Path,
    latest: int = 1,
    versions: Sequence[int] = (),
    labels: Mapping[str, int] | None = None,
) -> pb.ModelConfig:
    """Return one model's entry: its `latest` n versions, or exactly these `versions`.

    `labels` (canary, stable) name versions for clients; each of them must be served.

    >>> print(model_config("shop", "/models/shop", labels={"stable": 3}, versions=[3]))
    name: "shop"
    base_path: "/models/shop"
    model_platform: "tensorflow"
    model_version_policy {
      specific {
        versions: 3
      }
    }
    version_labels {
      key: "stable"
      value: 3
    }
    <BLANKLINE>
    """
    config = pb.ModelConfig(name=name, base_path=str(base_path), model_platform="tensorflow")
    policy = config.model_version_policy
    if versions:
        policy.specific.versions.extend(versions)
    else:
        policy.latest.num_versions = latest
    for label, version in (labels or {}).items():
        if versions and version not in versions:
            raise UserError(
                f"label `{label}` is for version {version}, which is not among the served "
                f"versions {list(versions)}; add it to `versions`"
            )
        config.version_labels[label] = version
    return config


def server_config(models: Iterable[pb.ModelConfig]) -> pb.ModelServerConfig:
    """Return the configuration of a server with these models."""
    return pb.ModelServerConfig(model_config_list=pb.ModelConfigList(config=models))


def models_folder(named: str | Path) -> Path:
    """Return a folder of models as a `Path`.

    Raises:
        UserError: The name is empty, as from an unset shell variable; as a `Path` it would
            mean the working folder.
    """
    if named == "":
        raise UserError("expected a folder of models. Received: ''")
    return Path(named)


def folder_config(folder: str | Path, base_path: str | Path | None = None) -> pb.ModelServerConfig:
    """Return the configuration of all models in `folder`, each with its latest version.

    `base_path` is the path of `folder` for the server, if that is another (in a container).
    """
    folder = models_folder(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: this folder of models does not exist; export a model into it first"
        )
    inside = Path(base_path) if base_path else folder.absolute()
    names = sorted(path.name for path in folder.iterdir() if versions_in(path))
    return server_config(model_config(name, inside / name) for name in names)


def versions_in(folder: Path) -> dict[int, Path]:
    """Return a model's versions on disk: the subfolders that are named by integers."""
    if not folder.is_dir():
        return {}
    named = (p for p in folder.iterdir() if p.name.isascii() and p.name.isdecimal() and p.is_dir())
    return {int(p.name): p for p in named if len(p.name) < 99 and int(p.name) <= LARGEST_VERSION}


def read_config(path: str | Path) -> pb.ModelServerConfig:
    """Read the configuration in a text file of `--model_config_file`."""
    try:
        config: pb.ModelServerConfig = text_format.Parse(
            Path(path).read_text(encoding="utf-8"), pb.ModelServerConfig()
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a model server configuration ({error})") from None
    return config


def config_text(config: pb.ModelServerConfig) -> str:
    """Return the text for `--model_config_file`."""
    return text_format.MessageToString(config)


def write(folder: str | Path, config: pb.ModelServerConfig) -> Path:
    """Write `models.config`, `batching.config` and `monitoring.config` into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("models", config_text(config)),
        ("batching", batching_text()),
        ("monitoring", MONITORING_TEXT),
    ):
        (folder / f"{name}.config").write_text(text, encoding="utf-8")
    return folder


def batching_text(
    batch_sizes: Sequence[int] = (64, 512), timeout_micros: int = 1000, threads: int = 2
) -> str:
    """Return the text for `--batching_parameters_file`.

    Requests are padded to one of `batch_sizes`; one that is larger than the last is refused.
    Batching helps with many small requests; one large request per query is faster without.
    Empty requests hang under batching: `serving.client` never sends any.

    >>> print(batching_text([8]), end="")
    max_batch_size { value: 8 }
    batch_timeout_micros { value: 1000 }
    num_batch_threads { value: 2 }
    allowed_batch_sizes: 8
    """
    sizes = sorted(set(batch_sizes))
    if not sizes or sizes[0] < 1:
        raise UserError(f"`batch_sizes` must be positive numbers. Received: {list(batch_sizes)}")
    lines = [
        f"max_batch_size {{ value: {sizes[-1]} }}",
        f"batch_timeout_micros {{ value: {timeout_micros} }}",
        f"num_batch_threads {{ value: {threads} }}",
    ]
    return "\n".join(lines + [f"allowed_batch_sizes: {size}" for size in sizes]) + "\n"

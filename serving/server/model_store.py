"""The served versions of all models: load new ones, unload old ones.

The rules are TF Serving's: a new version is loaded and warmed up before the old one is
unloaded; a version that fails to load is not tried again, and the old one is kept.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import tensorflow as tf

from serving.protocol.protos import get_model_status_pb2, model_pb2, model_server_config_pb2
from serving.runtime import warmup
from serving.runtime.loaded_model import LoadedModel, RequestError
from serving.server.config import versions_in

State = get_model_status_pb2.ModelVersionStatus.State
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Version:
    """The state of one version of a model; `code` and `message` say why it failed."""

    state: int
    model: LoadedModel | None = None
    code: int = 0
    message: str = ""


class ModelStore:
    """The served versions of every model in a configuration.

    Args:
        config: called on every `poll`; returns the current configuration.
        threads: of each model, see `LoadedModel`.
    """

    def __init__(
        self, config: Callable[[], model_server_config_pb2.ModelServerConfig], threads: int = 0
    ) -> None:
        self.config = config
        self._threads = threads
        self._labels: dict[str, dict[str, int]] = {}
        self._models: dict[str, dict[int, Version]] = {}
        self._polling = threading.Lock()

    def poll(self) -> None:
        """Load the versions that are new, then unload those that are no longer configured."""
        with self._polling:
            configs = {entry.name: entry for entry in self.config().model_config_list.config}
            for name in [name for name in self._models if name not in configs]:
                self._unload_all_but(name, set())
            for name, config in configs.items():
                self._poll_model(name, config)
            self._labels = {name: dict(entry.version_labels) for name, entry in configs.items()}

    def find(self, spec: model_pb2.ModelSpec) -> tuple[int, LoadedModel]:
        """Return the number of the version that `spec` names, and its model.

        Raises:
            RequestError: It is not available; code and message are TF Serving's.
        """
        if not spec.name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        versions = dict(self._models.get(spec.name, {}))  # a copy: a poll may add to it
        available = {number: entry.model for number, entry in versions.items() if entry.model}
        wanted = self._number(spec)
        number = max(available, default=None) if wanted is None else wanted
        if number is None or number not in available:
            asked = f"Latest({spec.name})" if wanted is None else f"Specific({spec.name}, {wanted})"
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}"
            )
        return number, available[number]

    def status(self, spec: model_pb2.ModelSpec) -> dict[int, Version]:
        """Return the known versions of a model, newest first, or only the one `spec` names."""
        versions = dict(self._models.get(spec.name, {}))
        number = self._number(spec)
        if number is not None and number not in versions:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find version {number} of model {spec.name}",
            )
        if not versions:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}"
            )
        return {
            key: versions[key]
            for key in sorted(versions, reverse=True)
            if number is None or key == number
        }

    def names(self) -> list[str]:
        """Return the names of the models that are or were served."""
        return sorted(self._models)

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {spec.version_label}",
                )
            return labels[spec.version_label]
        return spec.version.value if choice == "version" else None

    def _poll_model(self, name: str, config: model_server_config_pb2.ModelConfig) -> None:
        base = Path(config.base_path)
        if not base.is_dir():
            return  # perhaps unreachable for a moment: keep the loaded versions
        found = versions_in(base)
        wanted = _aspired(config, found)
        versions = self._models.setdefault(name, {})
        for number in sorted(wanted):
            known = versions.get(number)
            if known is None or (known.state == State.END and known.code == 0):
                versions[number] = Version(State.LOADING)
                versions[number] = self._load(name, number, found[number])
        if not wanted or any(versions[number].model for number in wanted):
            self._unload_all_but(name, wanted)

    def _load(self, name: str, number: int, path: Path) -> Version:
        try:
            model = LoadedModel(path, self._threads)
            warmup.replay(model, path)
        except RequestError as error:
            failed = Version(State.END, None, error.code.value[0], error.message)
        except tf.errors.OpError as error:
            failed = Version(State.END, None, error.error_code, error.message)
        except Exception as error:  # a broken folder may cause any; the old version must be kept
            code = grpc.StatusCode.NOT_FOUND if isinstance(error, OSError) else _UNKNOWN
            failed = Version(State.END, None, code.value[0], str(error))
        else:
            _log.info("model %s: version %d is available", name, number)
            return Version(State.AVAILABLE, model)
        _log.error("model %s: version %d cannot be loaded: %s", name, number, failed.message)
        return failed

    def _unload_all_but(self, name: str, wanted: set[int]) -> None:
        # Running requests hold a reference; the session is closed after the last one.
        for number, version in self._models[name].items():
            if number not in wanted and version.model is not None:
                self._models[name][number] = Version(State.END)
                _log.info("model %s: version %d is unloaded", name, number)


_UNKNOWN = grpc.StatusCode.UNKNOWN


def _aspired(config: model_server_config_pb2.ModelConfig, found: dict[int, Path]) -> set[int]:
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return set(found)
    if choice == "specific":
        return set(policy.specific.versions) & set(found)
    return set(sorted(found)[-max(policy.latest.num_versions, 1) :])

"""Multi-task ranking that learns what to share between tasks, and serves only that.

    import mtl_tf

    mtl_tf.preprocess("shop.yaml", ["logs/*.csv.gz"], "dataset")
    config = mtl_tf.load_config("shop.yaml")
    mtl_tf.train(config, "dataset", "run")
    print(mtl_tf.evaluate("run", "dataset", "test"))
    mtl_tf.export("run", "models")
    with mtl_tf.serve("models") as server, mtl_tf.Client(server.address) as client:
        print(client.score("shop", [{"country": "CH", "price": 2.5}]))

Every name is imported on first use: `import mtl_tf` alone loads neither TensorFlow nor Beam.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_tf import layers
    from mtl_tf.config import load_config
    from mtl_tf.models import build_model
    from mtl_tf.training import evaluate, load_run, train
    from pipelines.preprocess import preprocess
    from serving.client import Client
    from serving.export import export
    from serving.server import LocalServer as serve

__all__ = [
    "Client",
    "build_model",
    "evaluate",
    "export",
    "layers",
    "load_config",
    "load_run",
    "preprocess",
    "serve",
    "train",
]
__version__ = "0.1.0"

_HOMES = {  # name → (module, name there)
    "Client": ("serving.client", "Client"),
    "build_model": ("mtl_tf.models", "build_model"),
    "evaluate": ("mtl_tf.training", "evaluate"),
    "export": ("serving.export", "export"),
    "load_config": ("mtl_tf.config", "load_config"),
    "load_run": ("mtl_tf.training", "load_run"),
    "preprocess": ("pipelines.preprocess", "preprocess"),
    "serve": ("serving.server", "LocalServer"),
    "train": ("mtl_tf.training", "train"),
}


def __getattr__(name: str) -> Any:
    if name == "layers":
        return importlib.import_module("mtl_tf.layers")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

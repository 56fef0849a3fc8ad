"""A small run for the export tests: random weights, some gates and one field closed."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from mtl_tf.backend.keras import keras
from mtl_tf.config import Config
from mtl_tf.models import build_model
from mtl_tf.schema import Schema
from mtl_tf.transform import FittedTransform, NumericTransform
from mtl_tf.transform.fitted import make_vocabulary

SCHEMA = Schema.from_json(
    {
        "name": "shop",
        "missing_values": ["?"],
        "fields": [
            {"name": "country", "kind": "categorical", "column": "Country of user"},
            {"name": "closed", "kind": "categorical"},
            {"name": "shop_id", "kind": "categorical", "dtype": "integer", "oov_buckets": 3},
            {"name": "word", "kind": "categorical", "hash_buckets": 7, "missing": "oov"},
            {"name": "price", "kind": "numeric", "transform": "log"},
            {"name": "age", "kind": "numeric", "transform": "quantile", "buckets": 4},
            {"name": "tags", "kind": "multivalued", "weights_column": "tag_w", "max_values": 3},
        ],
        "tasks": [
            {"name": "click", "label": "clicked"},
            {"name": "buy", "label": "bought"},
            {"name": "watch", "kind": "regression", "label": "seconds"},
        ],
    }
)
QUICK = {"batch_sizes": (1, 8), "latency_seconds": 0}  # arguments of `export`
MODEL = {"architecture": "mssm", "units": [12, 8], "tower_units": [4]}


def transform():
    texts = pa.array(["a", "b", "c", "d"], pa.large_string())
    tables = {
        "country": make_vocabulary(SCHEMA, "country", texts),
        "closed": make_vocabulary(SCHEMA, "closed", texts),
        "shop_id": make_vocabulary(SCHEMA, "shop_id", pa.array([7, 8, 9], pa.int64())),
        "word": make_vocabulary(SCHEMA, "word", None),
        "tags": make_vocabulary(SCHEMA, "tags", texts),
    }
    numbers = {
        "price": NumericTransform(log=True, mean=1.0, std=0.5),
        "age": NumericTransform(boundaries=(18.0, 30.0, 50.0)),
    }
    return FittedTransform(SCHEMA, tables, numbers)


def tiny_run(seed=0, context=(), tasks=SCHEMA.tasks, labels=None):
    """A run with random weights; no task reads the field `closed`.

    context: fields that the training configuration, not the dataset, puts on that side.
    tasks, labels: other tasks than those of `SCHEMA`, and statistics of their labels.
    """
    fitted = transform()
    schema = SCHEMA.to_json()
    for field in schema["fields"]:
        field["side"] = "context" if field["name"] in context else "candidate"
    schema["tasks"] = [task.model_dump(mode="json") for task in tasks]
    config = Config.from_json({"schema": schema, "model": MODEL})
    keras.utils.set_random_seed(seed)  # or a tower may be dead, as other tests' draws have it
    model = build_model(fitted, tasks, config.model, labels)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        value = np.asarray(variable) + 0.1 * rng.normal(size=variable.shape)
        name = getattr(variable, "path", variable.name)
        if "log_alpha" in name:
            value = np.where(rng.random(variable.shape) < 0.3, -5.0, value)
        elif "tables" in name:
            value = np.abs(value) + 0.01
        variable.assign(value)
    mask = model.get_layer("Mask")
    start = mask.field_dims[0]
    g = np.asarray(mask.g).copy()
    g[:, start : start + mask.field_dims[1]] = -1.0  # g·e < 0 for all ids
    mask.g.assign(g)
    return SimpleNamespace(model=model, transform=fitted, config=config, info=None)

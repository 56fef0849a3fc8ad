"""One YAML file: the schema, the model and how it is trained."""

from mtl_tf.config.config import MSSM, Config, Gates, Masks, Model, Training, load_config

__all__ = ["MSSM", "Config", "Gates", "Masks", "Model", "Training", "load_config"]

"""One YAML file: the schema, the model and how it is trained."""

from mtl_tf.config.config import Config, load_config
from mtl_tf.config.model import MSSM, Gates, Masks, Model
from mtl_tf.config.training import Training

__all__ = ["MSSM", "Config", "Gates", "Masks", "Model", "Training", "load_config"]

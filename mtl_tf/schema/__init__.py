"""The schema: which columns are read, and which tasks are learned.

It is declared once, by hand, in YAML (or in Python), validated here, and stored in every
artifact. Nothing in this package reads data.
"""

from mtl_tf.schema.fields import CategoricalField, Field, MultivaluedField, NumericField
from mtl_tf.schema.names import Name
from mtl_tf.schema.negative_sampling import NegativeSampling
from mtl_tf.schema.schema import Schema
from mtl_tf.schema.split import SPLITS, Split
from mtl_tf.schema.tasks import Label, LabelValue, Task

__all__ = [
    "SPLITS",
    "CategoricalField",
    "Field",
    "Label",
    "LabelValue",
    "MultivaluedField",
    "Name",
    "NegativeSampling",
    "NumericField",
    "Schema",
    "Split",
    "Task",
]

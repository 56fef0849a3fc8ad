"""The fitted transform: how a raw row becomes the numbers a model takes.

It is fitted once on the data (`Accumulator`), stored as plain data (`FittedTransform`), and
applied by two small interpreters that return the same ids and floats: `apply_arrow`, on
whole Arrow batches, and `mtl_tf.transform.graph.TransformModule`, in a TensorFlow graph.
This package imports without TensorFlow.
"""

from mtl_tf.schema.spelling import MISSING_INT
from mtl_tf.transform.analysis import Accumulator, fit
from mtl_tf.transform.arrow import apply_arrow, labels_arrow
from mtl_tf.transform.fitted import Feature, FittedTransform, NumericTransform, Vocabulary
from mtl_tf.transform.label_statistics import LabelStatistics, Scale

__all__ = [
    "MISSING_INT",
    "Accumulator",
    "Feature",
    "FittedTransform",
    "LabelStatistics",
    "NumericTransform",
    "Scale",
    "Vocabulary",
    "apply_arrow",
    "fit",
    "labels_arrow",
]

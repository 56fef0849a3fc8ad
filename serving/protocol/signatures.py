"""The names of an exported model's signatures."""

DEFAULT = "serving_default"
"""Raw values, one tensor per input column."""
EXAMPLES = "examples"
"""The same values as serialized tf.Examples."""
IDS = "ids"
"""Transformed values: the ids and floats of a dataset."""
RANK = "rank"
"""Many candidates in one context, which has a single row."""

ALL = (DEFAULT, EXAMPLES, IDS, RANK)

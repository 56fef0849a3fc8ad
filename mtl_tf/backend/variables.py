"""Properties of a variable, whichever Keras made it."""

from __future__ import annotations

import re
from typing import Any

import tensorflow as tf


def short_name(variable: Any) -> str:
    """Last part of the variable's name, the one its layer gave it.

    >>> short_name(tf.Variable(0.0, name="Level_2/gate/log_alpha"))
    'log_alpha'
    """
    name = re.sub(r"/replica_\d+$", "", variable.name.split(":", 1)[0])
    return name.rsplit("/", 1)[-1]


def resource(variable: Any) -> Any:
    """The `tf.Variable` of a variable; in Keras 2, the variable itself."""
    return variable if isinstance(variable, tf.Variable) else variable.value

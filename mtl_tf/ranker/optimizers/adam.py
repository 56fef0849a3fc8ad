"""`Adam` with a learning rate of its own for chosen variables, and tables row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.optimizer_slots import DuplicatesKept, adam_moments
from mtl_tf.backend.replicas import copy_beside
from mtl_tf.backend.variables import resource, short_name
from mtl_tf.ranker.optimizers.row_adagrad import add_to_rows


@keras.saving.register_keras_serializable("mtl_tf")
class Adam(DuplicatesKept, keras.optimizers.Adam):
    """Adam whose step is scaled for variables of certain names, and tables by rows.

    Adam moves every variable by about `learning_rate` a step, whatever the size of its
    gradient, and so whatever the weight of a penalty. log α has to travel some four
    units to close a gate: at the rate that suits matrices that takes thousands of steps.

    It also moves every row of a table at every step, by its momentum. So a variable in
    `row_sparse` is moved by row-wise Adagrad instead (see `add_to_rows`): a step costs
    what the batch's ids cost, whatever the table's size; a row that is not in the batch
    keeps its bits; and the state is 8 bytes a row instead of 8 a number.

    Args:
        learning_rate: of all other variables.
        multipliers: by variable name (`log_alpha`, `g`), what `learning_rate` is
            multiplied by.
        row_sparse: names of variables `(rows, width)`.

    Example:
    >>> optimizer = Adam(0.1, multipliers={"log_alpha": 10.0}, row_sparse=["table"])
    >>> slow, table = tf.Variable(0.0, name="kernel"), tf.Variable([[1.0], [1.0]], name="table")
    >>> rows = tf.IndexedSlices(tf.ones((2, 1)), tf.constant([1, 1]), tf.constant([2, 1]))
    >>> optimizer.apply_gradients([(tf.constant(1.0), slow), (rows, table)]) is None
    False
    >>> round(float(slow), 3), [round(float(row[0]), 3) for row in table]
    (-0.1, [1.0, 0.9])
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        multipliers: Mapping[str, float] | None = None,
        row_sparse: Sequence[str] = (),
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.multipliers = dict(multipliers or {})
        self.row_sparse = tuple(row_sparse)

    def add_variable_from_reference(self, *arguments, **named):
        # Adam asks for two moments of every variable; a table has two columns instead.
        variable = arguments[0] if arguments else named["model_variable"]
        moment = named.get("variable_name" if LEGACY else "name")
        if short_name(variable) in self.row_sparse and moment in _COLUMNS:
            return self._column(variable, *_COLUMNS[moment])
        return super().add_variable_from_reference(*arguments, **named)

    def _column(self, table: Any, dtype: str, name: str) -> Any:
        """One number per row, on the devices of the table."""
        name = f"{short_name(table)}_{name}"
        with tf.distribute.get_strategy().extended.colocate_vars_with(resource(table)):
            return self.add_variable(shape=(table.shape[0],), dtype=dtype, name=name)

    def update_step(self, gradient, variable, *arguments):
        name = short_name(variable)
        multiplier = self.multipliers.get(name, 1.0)
        if name in self.row_sparse:
            # Keras 3 passes the learning rate, Keras 2 reads it itself.
            rate = arguments[0] if arguments else self.learning_rate
            places, sums = (copy_beside(x, variable) for x in adam_moments(self, variable))
            return add_to_rows(variable, gradient, rate * multiplier, places, sums)
        if isinstance(gradient, tf.IndexedSlices):
            # Keras 3 would square the values of one row before it sums them.
            gradient = tf.convert_to_tensor(gradient)
        if multiplier == 1.0:
            return super().update_step(gradient, variable, *arguments)
        # Scaling the step that was made works in both Keras.
        before = tf.identity(variable)
        super().update_step(gradient, variable, *arguments)
        variable.assign(before + multiplier * (variable - before))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "multipliers": dict(self.multipliers),
            "row_sparse": list(self.row_sparse),
        }


# What a table has in place of Adam's two moments, by the names that Keras 3 and 2 give them.
_PLACES, _SUMS = ("int32", "places"), ("float32", "sums")
_COLUMNS = {"momentum": _PLACES, "m": _PLACES, "velocity": _SUMS, "v": _SUMS}

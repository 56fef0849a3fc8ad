"""`Adam` with learning rates of their own for gates and masks, and row-wise Adagrad for tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.optimizer_slots import DuplicatesKept, adam_moments, key_of
from mtl_tf.backend.replicas import copy_beside
from mtl_tf.backend.variables import GATE, MASK, ROLES, TABLE, resource, role_of
from mtl_tf.ranker.optimizers.row_adagrad import apply_row_adagrad


@keras.saving.register_keras_serializable("mtl_tf")
class Adam(DuplicatesKept, keras.optimizers.Adam):
    """Adam with other learning rates for gates and masks, and row-wise Adagrad for tables.

    Adam changes every variable by about `learning_rate` a step, whatever the size of its
    gradient, and so whatever the weight of a penalty. log α has to change by about four to
    close a gate: at the rate that suits matrices that takes thousands of steps.

    It also changes every row of a table at every step, by its momentum. So tables of a width
    in `row_sparse_widths` are updated by row-wise Adagrad instead (see `apply_row_adagrad`):
    the cost of a step depends on the batch's ids, not on the table's size; a row that is not
    in the batch keeps its bits; and the state is 8 bytes a row instead of 8 a number.

    A variable is a gate, mask or table if its layer gave it that role (see
    `mtl_tf.backend.variables.set_role`); its name does not matter.

    Args:
        learning_rate: of all other variables.
        multipliers: by role, the factor on `learning_rate`: of a `gate`, a `mask`, or a
            `table` that is updated row by row.
        row_sparse_widths: widths of the tables to update row by row.

    Example:
    >>> from mtl_tf.backend.variables import set_role
    >>> optimizer = Adam(0.1, multipliers={"gate": 10.0}, row_sparse_widths=[1])
    >>> slow, table = tf.Variable(0.0), set_role(tf.Variable([[1.0], [1.0]]), "table")
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
        row_sparse_widths: Sequence[int] = (),
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        unknown = [role for role in multipliers or {} if role not in ROLES]
        if unknown:
            raise ValueError(
                f"`multipliers` must name roles, {ROLES}. Received: multipliers={multipliers}"
            )
        self.multipliers = dict(multipliers or {})
        self.row_sparse_widths = tuple(row_sparse_widths)
        self._roles: dict[str, str | None] = {}

    def build(self, variables):
        # Here, because a step may be given copies of the variables, which have no role.
        self._roles = {
            **self._roles,
            **{key_of(self, variable): role_of(variable) for variable in variables},
        }
        super().build(variables)

    def is_row_sparse(self, variable: Any) -> bool:
        """Return True if a variable is a table that is updated row by row."""
        return self._is_row_sparse(variable, role_of(variable))

    def _is_row_sparse(self, variable: Any, role: str | None) -> bool:
        return role == TABLE and variable.shape[1] in self.row_sparse_widths

    def add_variable_from_reference(self, *arguments, **named):
        # Adam asks for two moments of every variable; a table has two columns instead.
        variable = arguments[0] if arguments else named["model_variable"]
        moment = named.get("variable_name" if LEGACY else "name")
        if self.is_row_sparse(variable) and moment in _COLUMNS:
            return self._column(variable, *_COLUMNS[moment])
        return super().add_variable_from_reference(*arguments, **named)

    def _column(self, table: Any, dtype: str, name: str) -> Any:
        """One number per row, on the devices of the table."""
        name = f"tables_{table.shape[1]}_{name}"
        with tf.distribute.get_strategy().extended.colocate_vars_with(resource(table)):
            return self.add_variable(shape=(table.shape[0],), dtype=dtype, name=name)

    def update_step(self, gradient, variable, *arguments):
        role = self._roles[key_of(self, variable)]
        multiplier = self.multipliers.get(role, 1.0)
        if self._is_row_sparse(variable, role):
            # Keras 3 passes the learning rate, Keras 2 reads it itself.
            rate = arguments[0] if arguments else self.learning_rate
            scratch, sums = (copy_beside(x, variable) for x in adam_moments(self, variable))
            return apply_row_adagrad(variable, gradient, rate * multiplier, scratch, sums)
        if isinstance(gradient, tf.IndexedSlices):
            # Keras 3 would square the values of one row before it sums them.
            gradient = tf.convert_to_tensor(gradient)
        if multiplier == 1.0 or role == TABLE:
            return super().update_step(gradient, variable, *arguments)
        # Scaling the finished step works in both Keras.
        before = tf.identity(variable)
        super().update_step(gradient, variable, *arguments)
        variable.assign(before + multiplier * (variable - before))

    def forget_rows(self, table: Any, rows: Any) -> None:
        """Set what the optimizer keeps of some rows of a table to its initial value, 0.

        To be called between steps, with the variable that the optimizer was built with.
        """
        for moment in adam_moments(self, table):
            values = np.array(moment)
            values[rows] = 0
            moment.assign(values)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "multipliers": dict(self.multipliers),
            "row_sparse_widths": list(self.row_sparse_widths),
        }

    @classmethod
    def from_config(cls, config, *arguments, **named):
        return super().from_config(_by_role(config), *arguments, **named)


def _by_role(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose variables are chosen by role: old ones name them."""
    config = dict(config)
    if "row_sparse" in config:
        config["row_sparse_widths"] = [_width(name) for name in config.pop("row_sparse")]
    if "multipliers" in config:
        named = config["multipliers"].items()
        config["multipliers"] = {_role(name): multiplier for name, multiplier in named}
    return config


def _role(name: str) -> str:
    roles = {"log_alpha": GATE, "g": MASK}
    return TABLE if name.startswith("tables_") else roles.get(name, name)


def _width(table: str) -> int:
    return int(table.removeprefix("tables_"))


# A table's columns in place of Adam's two moments, by the names of those in Keras 3 and 2.
_PLACES, _SUMS = ("int32", "places"), ("float32", "sums")
_COLUMNS = {"momentum": _PLACES, "m": _PLACES, "velocity": _SUMS, "v": _SUMS}

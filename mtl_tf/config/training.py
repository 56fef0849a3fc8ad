"""The `training` part of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field as _F

from mtl_tf.config.budget import Budget
from mtl_tf.config.loss_weighting import FixedWeights, LossWeighting
from mtl_tf.config.renamed import is_written_by_program
from mtl_tf.schema.base import StrictModel

FORMER_DEFAULTS = {
    "keep": "objective",
    "reset_tables": "never",
    "table_optimizer": "auto",
    "table_learning_rate": 0.03,
}
"""Defaults of the versions that did not have `keep` and `reset_tables`."""

_ALWAYS_WRITTEN = {"epochs", "batch_size", "learning_rate", "patience", "seed"}

TaskWeights = Annotated[
    dict[str, Annotated[float, _F(gt=0, allow_inf_nan=False)]], _F(min_length=1)
]


class Training(StrictModel):
    """How a model is trained.

    Attributes:
        epochs: the maximum number of epochs, fine-tuning included.
        batch_size: rows per step, over all devices.
        learning_rate: of Adam, for all variables without a rate of their own.
        gate_learning_rate: for the gates (log α). Like the masks' rate it is higher than
            `learning_rate`, because these variables move far, and a step of Adam is about
            as long as its rate, whatever the penalty.
        mask_learning_rate: for the field masks (g).
        table_optimizer: for the embedding tables: `row_adagrad`, row-wise Adagrad, which
            updates only the rows of a batch; `adam` as for all other variables; `auto`
            takes the former where all tables of one width together have 65,536 rows or
            more, else the latter, as earlier versions did.
        table_learning_rate: of row-wise Adagrad.
        reset_tables: give embedding tables new initial values before each epoch but the
            first, while the other layers train on: `epoch` always, `never`, or `auto` if
            most of their rows are ids that occur rarely (see `mtl_tf.training.table_reset`).
        loss_weighting: how the tasks' losses are combined (see `mtl_tf.ranker.loss_weighting`).
        keep: which epoch's weights to keep, by the validation rows: `loss`, that of the
            smallest Σ w_k L_k; `objective`, with the penalties of gates and masks added;
            `auc`, of the largest mean AUC of the binary tasks, by their weights; `gauc`, of
            that of the AUC within the groups of `evaluation.group`; or weights
            by task, such as `{like: 4}`, of the smallest Σ weight · L_k. Of epochs that
            differ by less than 0.1 % the one with the smallest objective is kept.
        patience: epochs without improvement on the validation rows before training stops.
        seed: of the initial weights, the order of the rows and the gates' samples.
        jit_compile: compile the training step with XLA.
        steps_per_execution: steps between callbacks; in Keras 3 one compiled program.
        memory_mib: training rows that take at most this much memory, 4 bytes a value, are
            read once and held; more are read from the files in every epoch.
        save_steps: steps between checkpoints, from which a killed training resumes; there
            is also one after each epoch.
        warm_up_epochs: the penalties of gates and masks rise from 0 to their full weight
            during these epochs; may be a fraction.
        budget: what the exported model may cost, such as `{bytes: 2 MiB}`: the gates that
            are worth least for what they cost are closed until it fits
            (`mtl_tf.training.budget`). In place of a `target_sparsity`.
        fine_tune_epochs: in the last epochs gates and masks are frozen, without sampling
            and penalties, and the rest is trained on from the best epoch so far.

    Warm-up and fine-tuning are off by default: on Census-Income, with three seeds, both
    together changed the metrics of MSSM and SNR-Trans by no more than the seed-to-seed
    variation.
    """

    epochs: int = _F(default=5, ge=1)
    batch_size: int = _F(default=1024, ge=1)
    learning_rate: float = _F(default=1e-3, gt=0, allow_inf_nan=False)
    gate_learning_rate: float = _F(default=0.03, gt=0, allow_inf_nan=False)
    mask_learning_rate: float = _F(default=0.03, gt=0, allow_inf_nan=False)
    table_optimizer: Literal["auto", "adam", "row_adagrad"] = "row_adagrad"
    table_learning_rate: float = _F(default=0.1, gt=0, allow_inf_nan=False)
    reset_tables: Literal["auto", "epoch", "never"] = "auto"
    loss_weighting: LossWeighting = FixedWeights()
    keep: Literal["loss", "auc", "gauc", "objective"] | TaskWeights = "loss"
    patience: int = _F(default=2, ge=1)
    seed: int = _F(default=0, ge=0, lt=2**32)
    jit_compile: bool = True
    steps_per_execution: int = _F(default=16, ge=1)
    memory_mib: int = _F(default=256, ge=0)
    save_steps: int = _F(default=2000, ge=1)
    warm_up_epochs: float = _F(default=0.0, ge=0, allow_inf_nan=False)
    fine_tune_epochs: int = _F(default=0, ge=0)
    budget: Budget | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _as_it_was_written(cls, data: Any, info: pydantic.ValidationInfo) -> Any:
        """Keep the behavior of the version that wrote a whole, older configuration."""
        if is_written_by_program(info) and isinstance(data, dict) and set(data) >= _ALWAYS_WRITTEN:
            return {**FORMER_DEFAULTS, **data}
        return data

    @pydantic.model_validator(mode="after")
    def _fine_tuning_comes_last(self) -> Training:
        if self.fine_tune_epochs >= self.epochs:
            raise ValueError(
                f"`fine_tune_epochs` must be less than `epochs`, {self.epochs}; "
                f"received {self.fine_tune_epochs}"
            )
        return self

"""The gates and masks after each epoch: a record of what is open, and closing what hardly is."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.optimizer_slots import slots
from mtl_tf.layers import CellSparseSharing, DimensionGate, FieldMask, HardConcreteGate
from mtl_tf.training.gate_schedule import dimension_gates_of


class SharingLog(keras.callbacks.Callback):
    """Appends to a CSV file, after each epoch, what is open of every connection and field.

    Columns: epoch, layer, to, from, open, closed. For a connection, `open` is the mean of
    P(z≠0) over its gates, and `closed` the share of them that are exactly 0 in
    evaluation; so it is for a field and the gates of its dimensions, where `to` is `all`.
    For a field and its reader, `open` is the mean mask over some rows, and `closed` the
    share of these rows whose mask is 0. The means of `closed`, which is the sparsity, are
    added to the logs: `gates_closed`, `masks_closed`, and `dimensions_closed`, that of a
    dimension, not of a field.

    Args:
        path: the file.
        sub_networks: names of MSSM's sub-networks; those of other models have numbers.
        fields: names of the fields.
        features: model inputs of some rows, to compute masks on.
        epochs_done: the epochs before an interruption, whose lines in the file are kept.

    Attributes:
        rows: the last epoch's lines, without the epoch, by kind: `gates`, `masks` and
            `dimensions`.
    """

    def __init__(
        self,
        path: Path,
        sub_networks: Sequence[str],
        fields: Sequence[str],
        features: Any,
        epochs_done: int = 0,
    ):
        super().__init__()
        self.path, self.epochs_done = path, epochs_done
        self.sub_networks = tuple(sub_networks)
        self.fields = tuple(fields)
        self.rows: dict[str, list[Any]] = {"gates": [], "masks": [], "dimensions": []}
        self._probe = _MaskProbe(features)

    def on_train_begin(self, logs=None):
        kept: list[Any] = [("epoch", "layer", "to", "from", "open", "closed")]
        if self.epochs_done:
            with self.path.open(newline="", encoding="utf-8") as file:
                lines = list(csv.reader(file))[1:]
            kept += [line for line in lines if int(line[0]) <= self.epochs_done]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(kept)

    def on_epoch_end(self, epoch, logs=None):
        self.rows = {
            "gates": list(self._gates()),
            "masks": list(self._masks()),
            "dimensions": list(self._dimensions()),
        }
        with self.path.open("a", newline="", encoding="utf-8") as file:
            for layer, to, source, opened, closed in chain(*self.rows.values()):
                figures = (f"{opened:.6f}", f"{closed:.6f}")
                csv.writer(file).writerow((epoch + 1, layer, to, source, *figures))
        for kind in ("gates", "masks"):
            if found := self.rows[kind]:
                logs[f"{kind}_closed"] = float(np.mean([row[-1] for row in found]))
        if gates := dimension_gates_of(self.model):
            values = np.concatenate([gate.inference_gate().numpy() for gate in gates])
            logs["dimensions_closed"] = float(np.mean(values == 0))

    def _gates(self) -> Iterator[tuple[str, str, str, float, float]]:
        for layer in self.model.layers:
            gate = getattr(layer, "gate", None)
            if not isinstance(gate, HardConcreteGate) or isinstance(layer, DimensionGate):
                continue
            opened, value = gate.open_probability().numpy(), gate.inference_gate().numpy()
            known = self.sub_networks if isinstance(layer, CellSparseSharing) else ()
            for to, source in np.ndindex(*gate.shape[:2]):
                names = (_name(known, to), _name(known, source))
                closed = np.mean(value[to, source] == 0)
                yield layer.name, *names, float(np.mean(opened[to, source])), float(closed)

    def _dimensions(self) -> Iterator[tuple[str, str, str, float, float]]:
        for layer in self.model.layers:
            if isinstance(layer, DimensionGate):
                opened = layer.of_fields(layer.gate.open_probability())
                values = layer.of_fields(layer.gate.inference_gate())
                for field, p, z in zip(self.fields, opened, values, strict=True):
                    yield layer.name, "all", field, float(p.mean()), float(np.mean(z == 0))

    def _masks(self) -> Iterator[tuple[str, str, str, float, float]]:
        for layer, masks in self._probe.masks(self.model):
            for reader, field in np.ndindex(*masks.shape[1:]):
                mask = masks[:, reader, field]
                names = (_name(self.sub_networks, reader), self.fields[field])
                yield layer.name, *names, float(mask.mean()), float(np.mean(mask == 0))


class CloseFields(keras.callbacks.Callback):
    """Closes permanently, after each epoch, the fields that readers hardly let through.

    The masks' penalty closes a field for the values that occur in training. Values in no
    batch keep their initial vector, and a few rare ones stay slightly open: if the mean
    mask over some rows is less than `below`, g is set to 0, and with it the mask of every
    value. Its gradient is 0 there; the optimizer's momentum is set to 0 too, so that it
    does not update g either.

    Args:
        below: the smallest mean mask of an open field; 0 closes nothing.
        features: model inputs of some rows.
    """

    def __init__(self, below: float, features: Any):
        super().__init__()
        self.below = below
        self._probe = _MaskProbe(features)

    def on_epoch_end(self, epoch, logs=None):
        for layer, masks in self._probe.masks(self.model):
            if not layer.frozen.numpy():
                closed = masks.mean(axis=0) < self.below
                layer.close(closed)
                kept = np.repeat(~closed, layer.field_dims, axis=1)
                for moment in slots(self.model.optimizer, layer.g):
                    moment.assign(tf.where(kept, tf.convert_to_tensor(moment), 0.0))


class _MaskProbe:
    """Computes the field masks of a model on some rows."""

    def __init__(self, features: Any):
        self.features = features
        self._vectors: dict[str, keras.Model] = {}

    def masks(self, model: keras.Model) -> Iterator[tuple[FieldMask, np.ndarray]]:
        """Yield every mask layer with its masks, (rows, readers, fields)."""
        for layer in model.layers:
            if isinstance(layer, FieldMask):
                if layer.name not in self._vectors:
                    self._vectors[layer.name] = keras.Model(model.input, layer.input)
                vectors = self._vectors[layer.name](self.features, training=False)
                yield layer, layer.masks(vectors).numpy()


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else str(index)

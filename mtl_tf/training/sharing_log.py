"""The gates and masks after each epoch: a record of what is open, and closing what hardly is."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.backend.optimizer_slots import slots
from mtl_tf.layers import CellSparseSharing, FieldMask, HardConcreteGate


class SharingLog(keras.callbacks.Callback):
    """Appends to a CSV file, after each epoch, a line per connection and per field and reader.

    Columns: epoch, layer, to, from, open, closed. For a connection, `open` is the mean of
    P(z≠0) over its gates, and `closed` the share of them that are exactly 0 in
    evaluation. For a field and its reader, `open` is the mean mask over some rows, and
    `closed` the share of these rows whose mask is 0. The means of `closed`, which is the
    sparsity, are added to the logs: `gates_closed` and `masks_closed`.

    Args:
        path: the file.
        sub_networks: names of MSSM's sub-networks; those of other models have numbers.
        fields: names of the fields.
        features: model inputs of some rows, to compute masks on.
        epochs_done: the epochs before an interruption, whose lines in the file are kept.

    Attributes:
        rows: the last epoch's lines, without the epoch, by kind: `gates` and `masks`.
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
        self.rows: dict[str, list[Any]] = {"gates": [], "masks": []}
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
        rows: dict[str, list[Any]] = {"gates": list(self._gates()), "masks": list(self._masks())}
        self.rows = rows
        with self.path.open("a", newline="", encoding="utf-8") as file:
            for layer, to, source, opened, closed in rows["gates"] + rows["masks"]:
                figures = (f"{opened:.6f}", f"{closed:.6f}")
                csv.writer(file).writerow((epoch + 1, layer, to, source, *figures))
        for kind, found in rows.items():
            if found:
                logs[f"{kind}_closed"] = float(np.mean([row[-1] for row in found]))

    def _gates(self) -> Iterator[tuple[str, str, str, float, float]]:
        for layer in self.model.layers:
            gate = getattr(layer, "gate", None)
            if not isinstance(gate, HardConcreteGate):
                continue
            opened, value = gate.open_probability().numpy(), gate.inference_gate().numpy()
            known = self.sub_networks if isinstance(layer, CellSparseSharing) else ()
            for to, source in np.ndindex(*gate.shape[:2]):
                names = (_name(known, to), _name(known, source))
                closed = np.mean(value[to, source] == 0)
                yield layer.name, *names, float(np.mean(opened[to, source])), float(closed)

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

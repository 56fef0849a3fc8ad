"""Gates and masks in TensorBoard: scalars and a heat map after each epoch."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mtl_tf.backend.keras import keras
from mtl_tf.training.sharing_log import SharingLog


class SharingBoard(keras.callbacks.Callback):
    """Writes the last epoch's lines of a `SharingLog` for TensorBoard.

    Scalars `gates/<layer>/<to> ← <from>`, the mean P(z≠0) of a connection,
    `dimensions/<field>`, that of a field's dimensions, and `masks/<reader>`, the mean mask
    over all fields; the image `masks`, the heat map of field × reader.

    Args:
        folder: of the event file.
        sharing_log: has recorded the epoch.
    """

    def __init__(self, folder: Path, sharing_log: SharingLog):
        super().__init__()
        self.folder = folder
        self.sharing_log = sharing_log

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(str(self.folder))

    def on_epoch_end(self, epoch, logs=None):
        with self._writer.as_default(step=epoch):
            for layer, to, source, opened, _ in self.sharing_log.rows["gates"]:
                tf.summary.scalar(f"gates/{layer}/{to} ← {source}", opened)
            for layer, _, field, opened, _ in self.sharing_log.rows["dimensions"]:
                tf.summary.scalar(f"dimensions/{_suffix(layer)}{field}", opened)
            if self.sharing_log.rows["masks"]:
                self._masks()

    def on_train_end(self, logs=None):
        self._writer.close()

    def _masks(self) -> None:
        from mtl_tf.plots import MaskCell, mask_heatmap  # imports matplotlib
        from mtl_tf.plots.style import png

        readers: dict[str, dict[str, MaskCell]] = {}
        for _, reader, field, opened, closed in self.sharing_log.rows["masks"]:
            readers.setdefault(reader, {})[field] = MaskCell(opened, 1 - closed)
        for reader, fields in readers.items():
            mean = sum(cell.mean for cell in fields.values()) / len(fields)
            tf.summary.scalar(f"masks/{reader}", mean)
        picture = tf.io.decode_png(png(mask_heatmap(readers, figures=False)))
        tf.summary.image("masks", picture[None])


def _suffix(layer: str) -> str:
    """Return `click/` for `Dimensions_click`: single-task models have gates per task."""
    return "".join(f"{task}/" for task in layer.split("_", 1)[1:])

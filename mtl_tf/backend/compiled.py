"""The losses and metrics that `compile` gave a model, in either Keras."""

from __future__ import annotations

from mtl_tf.backend.keras import LEGACY, keras


def build_losses(model: keras.Model) -> None:
    """Create the variables of Keras' mean losses, so that no training step creates them.

    A step that creates variables is traced a second time.
    """
    with model.distribute_strategy.scope():
        if LEGACY:
            model.compiled_loss.build(model.output)
        else:
            model._compile_loss.build(model.output, model.output)


def has_metrics(model: keras.Model) -> bool:
    """Return True if a Keras 3 model was compiled with metrics."""
    return model._compile_metrics is not None

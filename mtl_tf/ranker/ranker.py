"""`Ranker`: a functional Keras model whose training step knows its tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from mtl_tf.backend.compiled import build_losses, has_metrics
from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.replicas import num_replicas
from mtl_tf.ranker.loss_weighting import Fixed, Weighting
from mtl_tf.ranker.step import TrainStep
from mtl_tf.ranker.xla_loop import CompiledTrainLoop


@keras.saving.register_keras_serializable("mtl_tf")
class Ranker(keras.Model):
    """A functional model with an output per task, `Ranker(inputs, outputs)`.

    It is compiled, fitted, evaluated and saved as any Keras model. Where `compile` is
    given losses by task, a step is

        ∇ = Σ_k c_k ∇L_k + ∇(penalties of gates, masks and regularizers)

    with c_k from the loss-weighting strategy, by default the `loss_weights`. The logged
    `loss` is Σ_k w_k L_k + penalties with these fixed weights, whatever the strategy, so
    that runs compare; `weight_<task>` are the c_k of the last step.

    A batch without labels for a task (or a loss weight of 0) leaves that task unchanged,
    bit for bit: its tower, its slice of every variable that holds several sub-networks, such
    as the experts, gates and masks that it alone reads (see `TaskReach`), and their moments
    in the optimizer. Neither momentum nor weight decay nor a penalty updates them. With
    losses that ignore examples of weight 0, such as `MaskedMeanLoss`, missing labels may
    hold anything, NaN included.

    Example:
    >>> inputs = keras.Input((2,))
    >>> click = keras.layers.Dense(1, activation="sigmoid")(inputs)
    >>> model = Ranker(inputs, {"click": click})
    >>> model.compile("sgd", loss={"click": "binary_crossentropy"})
    >>> history = model.fit(tf.ones((4, 2)), {"click": tf.ones((4, 1))}, verbose=0).history
    >>> sorted(history)
    ['loss', 'weight_click']

    Attributes:
        unpack: function from an element of the training data to `(x, y, weights)`, called
            within the compiled step; None, the default, where an element is such a tuple.
    """

    unpack: Callable[[Any], Any] | None = None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        *args: Any,
        weighting: Weighting | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure training, as Keras does, and the loss weighting.

        Args:
            optimizer: as with Keras.
            loss: a dict by task, for the step above; anything else trains as Keras does.
            weighting: a strategy of `mtl_tf.ranker.loss_weighting`; None is `Fixed`.
            args, kwargs: as with Keras, such as `loss_weights`, by task, and `jit_compile`.

        Raises:
            ValueError: `loss` names no output, or there is a `weighting` without a dict of
                losses.
        """
        if LEGACY and isinstance(self.output, Mapping):
            # Keras 2 would log what it measures under the names of the layers.
            self.output_names = sorted(self.output)
        super().compile(optimizer, loss, *args, **kwargs)
        step = None
        if isinstance(loss, Mapping) and isinstance(self.output, Mapping):
            weights = inspect.signature(super().compile).bind(optimizer, loss, *args, **kwargs)
            weights = weights.arguments.get("loss_weights") or {}
            step = TrainStep(self, loss, weights, weighting or Fixed())
            self._build_losses(loss)
        elif weighting is not None:
            raise ValueError(
                "`weighting` needs `loss`, a dict by task, and a model whose outputs are one. "
                f"Received: loss={loss}"
            )
        # Past Keras' tracking: a strategy's variables are not weights of the model.
        object.__setattr__(self, "_step", step)

    def _build_losses(self, loss: Mapping[str, Any]) -> None:
        """Create the variables of Keras' losses now, where it does not need labels for that."""
        if all(loss.get(name) is not None for name in self.output):
            build_losses(self)

    @property
    def weighting(self) -> Weighting | None:
        """The strategy in use, with its variables; None before `compile`."""
        step = getattr(self, "_step", None)
        return step.weighting if step else None

    def train_step(self, data: Any) -> dict[str, Any]:
        data = data if self.unpack is None else self.unpack(data)
        if self._step is None:
            return super().train_step(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=self._step.weighting.persistent) as tape:
            y_pred = self(x, training=True)
            batch = self._step.batch(tape, y, y_pred, sample_weight, self.losses)
        self._step.apply(batch)
        return {**self._logs(x, y, y_pred, sample_weight), **self._step.logs()}

    def make_train_function(self, force: bool = False) -> Any:
        """Create Keras' own function, or a `CompiledTrainLoop` where one can replace it."""
        if self.train_function is not None and not force:
            return self.train_function
        made = super().make_train_function(force=True)
        if self._can_compile_loop():
            self.optimizer.build(self.trainable_variables)
            self.train_function = CompiledTrainLoop(
                self.train_step,
                lambda: {**self.get_metrics_result(), **self._step.logs()},
                self.steps_per_execution,
                fallback=self.train_function,
            )
        return made if LEGACY else self.train_function

    def _can_compile_loop(self) -> bool:
        """Keras 2 counts the steps of an execution itself; metrics are created in a step."""
        return (
            not LEGACY
            and self._step is not None
            and self.jit_compile
            and self.steps_per_execution > 1
            and not self.run_eagerly
            and not tf.distribute.has_strategy()
            and not has_metrics(self)
        )

    @property
    def losses(self) -> list[Any]:
        """The losses that the layers added on this replica.

        The replicas of one machine take turns within a step, wherever they wait for each
        other, and Keras keeps the losses of all of them in one list.
        """
        found = super().losses
        if num_replicas() == 1:
            return found
        here = tf.constant(0.0).device
        return [loss for loss in found if loss.device == here]

    def _logs(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """`loss`, `<task>_loss` and the compiled metrics, as Keras logs them."""
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        if not LEGACY:  # Keras 2 has done it
            rows = tf.shape(tf.nest.flatten(x)[0])[0]
            self.metrics[0].update_state(loss * num_replicas(), sample_weight=rows)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        if self.weighting is None or not self.weighting.by_epoch:
            return super().fit(*args, **kwargs)
        call = inspect.signature(super().fit).bind(*args, **kwargs)
        callbacks = call.arguments.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(_EndOfEpoch())
        else:
            given = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
            # First: the others may save what this one changes.
            call.arguments["callbacks"] = [_EndOfEpoch(), *(given or [])]
        return super().fit(*call.args, **call.kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config() or {}
        if config and self.weighting is not None:
            config["weighting"] = keras.saving.serialize_keras_object(self.weighting)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)


class _EndOfEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.weighting.end_epoch()

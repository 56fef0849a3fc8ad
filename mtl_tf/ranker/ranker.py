"""`Ranker`: a functional Keras model whose training step knows its tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from mtl_tf.backend.compiled import build_losses, has_metrics
from mtl_tf.backend.keras import LEGACY, keras
from mtl_tf.backend.replicas import num_replicas, sum_over_replicas
from mtl_tf.ranker.loss_weighting import Batch, Fixed, Weighting
from mtl_tf.ranker.masked_update import MaskedUpdate
from mtl_tf.ranker.task_reach import TaskReach
from mtl_tf.ranker.xla_loop import CompiledTrainLoop


@keras.saving.register_keras_serializable("mtl_tf")
class Ranker(keras.Model):
    """A functional model with an output per task, `Ranker(inputs, outputs)`.

    It is compiled, fitted, evaluated and saved as any Keras model. Where `compile` is
    given losses by task, a step is

        ∇ = Σ_k c_k ∇L_k + ∇(penalties of gates, masks and regularisers)

    with c_k from the loss-weighting strategy, by default the `loss_weights`. The logged
    `loss` is Σ_k w_k L_k + penalties with these fixed weights, whatever the strategy, so
    that runs compare; `weight_<task>` are the c_k of the last step.

    Guaranteed, for a task of which a batch holds no label (or whose loss weight is 0): it
    takes no part in the step, and what no labelled task reaches keeps its bits, and so do
    its moments in the optimizer; neither momentum nor weight decay nor a penalty moves it.
    That is the task's tower, and its own slice of whatever lies side by side in one
    variable, such as the experts, gates and masks that it alone reads (see `TaskReach`). With
    losses that ignore what has no weight, such as `MaskedMeanLoss`, nothing becomes NaN
    either, whatever stands in the place of the labels.

    Example:
    >>> inputs = keras.Input((2,))
    >>> click = keras.layers.Dense(1, activation="sigmoid")(inputs)
    >>> model = Ranker(inputs, {"click": click})
    >>> model.compile("sgd", loss={"click": "binary_crossentropy"})
    >>> history = model.fit(tf.ones((4, 2)), {"click": tf.ones((4, 1))}, verbose=0).history
    >>> sorted(history)
    ['loss', 'weight_click']

    Attributes:
        unpack: what makes `(x, y, weights)` of an element of the training data, within the
            compiled step; None, the default, where an element is that.
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
        """Keras' own, and `weighting`.

        Args:
            optimizer: as with Keras.
            loss: by task, for the step above; anything else trains as Keras does.
            weighting: a strategy of `mtl_tf.ranker.loss_weighting`; None is `Fixed`.
            args, kwargs: as with Keras, such as `loss_weights`, by task, and `jit_compile`.
        """
        if LEGACY and isinstance(self.output, Mapping):
            # Keras 2 would log what it measures under the names of the layers.
            self.output_names = sorted(self.output)
        super().compile(optimizer, loss, *args, **kwargs)
        step = None
        if isinstance(loss, Mapping) and isinstance(self.output, Mapping):
            weights = inspect.signature(super().compile).bind(optimizer, loss, *args, **kwargs)
            weights = weights.arguments.get("loss_weights") or {}
            step = _Step(self, loss, weights, weighting or Fixed())
            self._build_losses(loss)
        elif weighting is not None:
            raise ValueError(
                "`weighting` needs `loss`, a dict by task, and a model whose outputs are one. "
                f"Received: loss={loss}"
            )
        # Past Keras' tracking: what a step needs is no part of the model's weights.
        object.__setattr__(self, "_step", step)

    def _build_losses(self, loss: Mapping[str, Any]) -> None:
        """Keras' means of the losses: a step that creates variables is traced a second time."""
        if any(loss.get(name) is None for name in self.output):
            return  # Keras matches labels to losses once it sees them
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
        """Keras' own, or `CompiledTrainLoop` where it can take its place."""
        if self.train_function is not None and not force:
            return self.train_function
        made = super().make_train_function(force=True)
        if self._one_program():
            self.optimizer.build(self.trainable_variables)
            self.train_function = CompiledTrainLoop(
                self.train_step,
                lambda: {**self.get_metrics_result(), **self._step.logs()},
                self.steps_per_execution,
                fallback=self.train_function,
            )
        return made if LEGACY else self.train_function

    def _one_program(self) -> bool:
        """Keras 2 counts the steps of an execution itself; metrics come to be in a step."""
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
        """What the layers add to the loss: on this replica.

        The replicas of one machine take turns within a step, wherever they wait for each
        other, and Keras keeps what they all added in one list.
        """
        found = super().losses
        if num_replicas() == 1:
            return found
        here = tf.constant(0.0).device
        return [loss for loss in found if loss.device == here]

    def _logs(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """Keras' own: `loss`, `<task>_loss` and the compiled metrics."""
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


class _Step:
    """What a compiled `Ranker` does with a batch."""

    def __init__(
        self, model: Ranker, losses: Mapping[str, Any], weights: Any, weighting: Weighting
    ):
        unknown = [name for name in losses if name not in model.output]
        if unknown:
            raise ValueError(
                f"`loss` must name outputs of the model, {list(model.output)}. "
                f"Received: loss for `{unknown[0]}`"
            )
        self.model = model
        self.losses = {name: _loss(loss) for name, loss in losses.items() if loss is not None}
        self.weighting = weighting
        self.reach = TaskReach(model, tuple(self.losses))
        kinds = [getattr(loss, "kind", "binary") for loss in self.losses.values()]
        weighting.build(
            tuple(self.losses),
            [weights.get(name, 1.0) for name in self.losses],
            kinds,
            self.reach,
        )

    def batch(self, tape: Any, y: Any, y_pred: Any, sample_weight: Any, penalties: Any) -> Batch:
        """The losses of a batch; within the tape."""
        losses, labelled = [], []
        for name, loss in self.losses.items():
            weight = sample_weight
            if isinstance(weight, Mapping):
                weight = weight.get(name)
            value = loss(y[name], y_pred[name], sample_weight=weight)
            losses.append(value / num_replicas() if LEGACY else value)
            labelled.append(weight is None or tf.reduce_any(weight > 0))
        trained = tf.constant(self.weighting.task_weights) > 0
        penalty = tf.add_n([tf.cast(x, tf.float32) for x in penalties] or [tf.constant(0.0)])
        scaled = "get_scaled_loss" if LEGACY else "scale_loss"
        scale = getattr(self.model.optimizer, scaled, lambda loss: loss)(tf.constant(1.0))
        return Batch(
            tape,
            losses,
            sum_over_replicas(tf.stop_gradient(tf.stack(losses))),
            (sum_over_replicas(tf.cast(tf.stack(labelled), tf.float32)) > 0) & trained,
            penalty / num_replicas(),
            scale,
        )

    def apply(self, batch: Batch) -> None:
        """One application of the optimizer."""
        variables, optimizer = self.model.trainable_variables, self.model.optimizer
        gradients = self.weighting.gradients(batch, variables)
        if hasattr(optimizer, "get_unscaled_gradients"):  # in Keras 3 the optimizer does it
            gradients = optimizer.get_unscaled_gradients(gradients)
        update = MaskedUpdate(optimizer, variables, self.reach, batch.labelled)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        update.restore()

    def logs(self) -> dict[str, Any]:
        weights = tf.unstack(self.weighting.current(), len(self.losses))
        return {f"weight_{name}": x for name, x in zip(self.losses, weights, strict=True)}


class _EndOfEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.weighting.end_epoch()


class _Mean(keras.losses.Loss):
    """A loss function as a loss object: its mean."""

    def __init__(self, function: Any):
        super().__init__(name="mean")  # no scope may be called what Keras makes of `_Mean`
        self.call = function


def _loss(loss: Any) -> Any:
    found = keras.losses.get(loss)
    return found if isinstance(found, keras.losses.Loss) else _Mean(found)

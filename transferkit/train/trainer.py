"""One phase's training model: a network, or its upper part, with augmentation and draws that depend on the step."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from transferkit.model.augment import augment_batch, random_states, set_random_states


class PhaseTrainer(keras.Model):
    """Trains `network` on batches of `(inputs, labels)`; labels are class indices.

    `finite_steps` counts the steps with a finite loss. Keras' loss is the mean over the epoch so far, so the count
    stands still from an epoch's first bad step on.

    Args:
        network: from images (or stored features) to logits.
        augmentations: layers for training batches, before the network.
        trained: the variables that train. A batch-norm layer with fixed statistics hides its gamma and beta from
            Keras' own list, so the list is given.
        seed, stream: all random draws of a step follow from these two and the step.
        precision: Keras scales the loss where this is `mixed_float16`.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentations: Sequence[keras.layers.Layer],
        *,
        trained: Sequence[Any],
        num_classes: int,
        seed: int,
        stream: str,
        precision: str,
    ) -> None:
        # With autocast, mixed precision would round the pixels to 16 bits before the preprocessing.
        super().__init__(dtype=precision, autocast=False)
        self.network = network
        self.finite_steps = keras.Variable(0, trainable=False, dtype="int32", name="finite_steps")
        self._held = _Held(tuple(augmentations), tuple(trained), random_states([*augmentations, network]))
        self._num_classes, self._seed, self._stream = num_classes, seed, stream

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.network(inputs, training=training)

    @property
    def trainable_variables(self) -> list[Any]:
        return list(self._held.trained)

    @property
    def trainable_weights(self) -> list[Any]:
        return list(self._held.trained)

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, labels = data
        set_random_states(self._held.states, seed=self._seed, stream=self._stream, step=self.optimizer.iterations.value)
        labels = ops.one_hot(labels, self._num_classes, dtype="float32")
        inputs, labels = augment_batch(self._held.augmentations, ops.cast(inputs, "float32"), labels)
        logs = super().train_step((inputs, labels))
        self.finite_steps.assign_add(ops.cast(ops.isfinite(logs["loss"]), "int32"))
        return logs


class _Held:
    """Keeps Keras from tracking what is in it as the model's own state."""

    def __init__(self, augmentations: tuple, trained: tuple, states: tuple) -> None:
        self.augmentations, self.trained, self.states = augmentations, trained, states

"""What one training step computes, on any backend and for any part of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from transferkit.model.augment import augment_batch
from transferkit.model.draws import Draws
from transferkit.recipe.loss import BinaryCrossEntropy, CrossEntropy, Loss
from transferkit.train.losses import LOSSES

# The running sums of an epoch, in the order of the vector that holds them; squared gradient norms by stage follow.
COUNT, LOSS, CORRECT, FINITE_STEPS, STEPS = range(5)
_NUM_SUMS = 5


@dataclass
class PhaseTrainer:
    """One phase's network, or the upper part of it, with all that a step needs.

    Args:
        network: from pixels 0–255 or stored features to logits.
        augmentations: layers for training batches, before the network.
        trained: variables by path; a batch-norm layer with fixed statistics hides its gamma and beta from Keras' own
            list, so the list is given.
        statistics: variables by path that batch norm moves.
        stage_of: stage by path of every trained variable.
        pulled: the start of each variable that L2-SP pulls back, by path.
        draws: the random generators of all layers here.
        weighted: whether pictures have weights; see `mixed`.
        num_parts: that a batch is computed in, one after the other.
    """

    network: keras.Model
    augmentations: Sequence[keras.layers.Layer]
    trained: Mapping[str, Any]
    statistics: Mapping[str, Any]
    stage_of: Mapping[str, int]
    optimizer: keras.optimizers.Optimizer
    draws: Draws
    num_classes: int
    loss: Loss = CrossEntropy()
    weighted: bool = False
    pulled: Mapping[str, Any] | None = None
    l2_sp: float = 0.0
    num_parts: int = 1

    def __post_init__(self) -> None:
        self.stages = tuple(sorted(set(self.stage_of.values())))
        zeros = [0.0] * (_NUM_SUMS + len(self.stages))
        self.sums = keras.Variable(
            zeros, trainable=False, dtype="float32", name="sums", aggregation="only_first_replica"
        )

    @property
    def scales_loss(self) -> bool:
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)

    def mixed(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """A batch as it trains: augmented inputs, and labels `(batch, num_classes)` float32.

        With weights, `(batch, 2 x num_classes + 1)`: the labels, the labels times the weight, and the weight, all mixed
        alike. So each of two mixed pictures brings its own label with its own weight.

        Args:
            inputs: as the network takes them, of any number type.
            labels: of `batch_labels`.
        """
        weights = None
        if self.weighted:
            labels, weights = labels[:, :-1], labels[:, -1:]
        if isinstance(self.loss, BinaryCrossEntropy):
            labels = ops.cast(labels, "float32")
        else:
            classes = labels if weights is None else ops.cast(labels[:, 0], "int32")
            labels = ops.one_hot(classes, self.num_classes, dtype="float32")
        if weights is not None:
            labels = ops.concatenate([labels, labels * weights, weights], axis=-1)
        return augment_batch(self.augmentations, ops.cast(inputs, "float32"), labels)

    def objective(self, inputs: Any, labels: Any, *, share: Any) -> tuple[Any, Any]:
        """What gradients are taken of, for some rows of a batch, and these rows' sums.

        Objectives of all parts add up to that of the whole batch: the mean of its rows' losses, each times its weight,
        plus the penalties.

        Args:
            labels: of `mixed`.
            share: of the batch, for each row.

        Returns:
            A scalar, and `[rows, loss, correct]`, each times `share`. Nothing but the loss is weighted.
        """
        logits = self.network(inputs, training=True)
        losses, labels = self._losses(labels, logits), labels[:, : self.num_classes]
        rows = ops.cast(ops.shape(labels)[0], "float32")
        loss = ops.sum(losses) * share
        sums = ops.stack([rows * share, loss, ops.sum(self._correct(labels, logits)) * share])
        return loss + self._penalty() * rows * share, sums

    def _losses(self, labels: Any, logits: Any) -> Any:
        """Of each row, times its weight."""
        losses_of = LOSSES[self.loss.kind].in_training
        if not self.weighted:
            return losses_of(self.loss, labels, logits)
        weights = labels[:, -1:]
        # Every loss is linear in its targets, so this is the sum of both losses of a mixed row, each with its weight.
        targets = ops.divide_no_nan(labels[:, self.num_classes : -1], weights)
        return losses_of(self.loss, targets, logits) * weights[:, 0]

    def _correct(self, labels: Any, logits: Any) -> Any:
        """1 for each row whose class is found, or all of its classes and no other; else 0."""
        if isinstance(self.loss, BinaryCrossEntropy):
            return ops.cast(ops.all(ops.equal(logits > 0, labels > 0.5), axis=-1), "float32")
        return ops.cast(ops.equal(ops.argmax(logits, -1), ops.argmax(labels, -1)), "float32")

    def _penalty(self) -> Any:
        """The head's own, and half the squared distance from the start. https://arxiv.org/abs/1802.01483"""
        penalty = sum(self.network.losses) if self.network.losses else 0.0
        if self.pulled:
            distances = [ops.sum(ops.square(self.trained[path] - start)) for path, start in self.pulled.items()]
            penalty += 0.5 * self.l2_sp * sum(distances)
        return penalty

    def step_sums(self, sums: Any, gradients: Sequence[Any], num_rows: Any) -> Any:
        """What a step adds to the running sums.

        Args:
            sums: of `objective`, over the whole batch.
            gradients: of the trained variables, in their order, before clipping.
        """
        norms = []
        unscale = 1.0 / self.optimizer.dynamic_scale**2 if self.scales_loss else 1.0
        for stage in self.stages:
            own = [one for path, one in zip(self.trained, gradients, strict=True) if self.stage_of[path] == stage]
            norms.append(sum(ops.sum(ops.square(ops.cast(one, "float32"))) for one in own) * unscale)
        rows = ops.cast(num_rows, "float32")
        # Once a loss is no number the sum is none either, so this counts the steps before the first bad one.
        finite = ops.cast(ops.isfinite(self.sums[LOSS] + sums[1]), "float32")
        one = ops.ones((), "float32")
        return ops.stack([rows, sums[1] * rows, sums[2] * rows, finite, one, *norms])

    def own_state(self) -> dict[str, Any]:
        """What a step changes besides the weights, by a name that is the same in every process.

        Keras' names are not: some are numbered by what was built before.
        """
        numbered = {f"optimizer/{index}": one for index, one in enumerate(self.optimizer.variables)}
        return {**numbered, "sums": self.sums}

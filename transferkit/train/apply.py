"""Set what trains. The only place in transferkit that writes `trainable`."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from keras import layers

from transferkit.backbones.stages import weight_path
from transferkit.model.classifier import Classifier
from transferkit.recipe.phases import BatchNormMode


@dataclass(frozen=True, slots=True)
class Applied:
    """Variables of a network by path, in its order.

    Args:
        trained: those that gradients change.
        statistics: those that batch norm moves by itself.
    """

    trained: Mapping[str, Any]
    statistics: Mapping[str, Any]

    @property
    def moving(self) -> Mapping[str, Any]:
        """All that the phase changes."""
        return {**self.trained, **self.statistics}


def apply_trainable(classifier: Classifier, trainable: Set[str], *, batch_norm: BatchNormMode) -> Applied:
    """Set every variable's flag.

    A batch-norm layer whose own flag is off uses its stored statistics and leaves them alone, whatever its
    variables' flags are; that is how `affine` trains gamma and beta with fixed statistics.
    """
    trained, statistics = {}, {}
    for layer in classifier.network.layers:
        own = {path: variable for variable in layer.weights if (path := weight_path(layer, variable)) in trainable}
        is_norm = isinstance(layer, layers.BatchNormalization)
        layer.trainable = bool(own) and (batch_norm == "train" or not is_norm)
        # Setting a layer's flag set those of all its variables.
        for variable in layer.weights:
            path = weight_path(layer, variable)
            if not variable.name.startswith("moving_"):
                variable.trainable = path in own
            elif layer.trainable:
                statistics[path] = variable
        trained.update(own)
    return Applied(trained, statistics)

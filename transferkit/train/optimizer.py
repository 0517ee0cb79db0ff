"""A phase's optimizer: Keras' own, with a rate for every step and a share of it for every variable."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import keras
from keras import ops, optimizers

from transferkit.recipe import phases as spec

OPTIMIZERS: Final[Mapping[str, Callable[..., optimizers.Optimizer]]] = {
    "adam": optimizers.Adam,
    # AdamW is Adam with decoupled decay, which `_with_shares` does for every optimizer alike.
    "adamw": optimizers.Adam,
    "nadam": optimizers.Nadam,
    "sgd": optimizers.SGD,
    "rmsprop": optimizers.RMSprop,
    "lion": optimizers.Lion,
}


class RateTable(optimizers.schedules.LearningRateSchedule):
    """A learning rate for each optimizer step, times a factor that can be lowered between epochs.

    Args:
        rates: the rate of step 0, 1, …; after the last step the last one stays.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = ops.convert_to_tensor(rates, "float32")
        self.num_steps = len(rates)
        self.factor = keras.Variable(1.0, trainable=False, dtype="float32", name="rate_factor")

    def __call__(self, step: Any) -> Any:
        index = ops.minimum(ops.cast(step, "int32"), self.num_steps - 1)
        return ops.take(self.rates, index) * self.factor


def build_optimizer(
    phase: spec.PhaseSpec, rates: RateTable, shares: Sequence[tuple[Any, float]]
) -> optimizers.Optimizer:
    """The optimizer of one phase.

    Args:
        shares: variables whose share of the rate is not 1, with it.
    """
    settings = phase.optimizer.model_dump(exclude={"name"})
    build = _with_shares(OPTIMIZERS[phase.optimizer.name], shares, weight_decay=phase.weight_decay)
    return build(learning_rate=rates, global_clipnorm=phase.clip_norm, **settings)


def _with_shares(
    base: Any, shares: Sequence[tuple[Any, float]], *, weight_decay: float
) -> Callable[..., optimizers.Optimizer]:
    """`base` with a share of the rate for each variable, and decoupled weight decay at the same share.

    Scaling gradients instead would change nothing under Adam. Keras' own decay reads the optimizer's rate, not the
    share, so that early stages would decay too fast.

    Source:
        Loshchilov and Hutter 2017, algorithm 2, for the decay. https://arxiv.org/abs/1711.05101
    """
    # On TensorFlow `update_step` gets what is inside a Keras variable, not the Keras variable itself.
    share_of = {id(form): share for variable, share in shares for form in (variable, variable.value)}

    class WithShares(base):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            learning_rate = ops.cast(learning_rate, variable.dtype) * share_of.get(id(variable), 1.0)
            if weight_decay:
                variable.assign(variable - variable * learning_rate * weight_decay)
            super().update_step(gradient, variable, learning_rate)

    WithShares.__name__ = base.__name__
    return WithShares

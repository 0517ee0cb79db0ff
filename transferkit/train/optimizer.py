"""A phase's optimizer: Keras' own, with a share of the rate for every variable and decay where it belongs."""

from collections.abc import Callable, Iterator, Mapping
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


def build_optimizer(
    phase: spec.PhaseSpec,
    variables: Mapping[str, Any],
    *,
    shares: Mapping[str, float],
    decayed: frozenset[str],
    scale_loss: bool = False,
) -> optimizers.Optimizer:
    """The optimizer of one phase, built. Its learning rate is a variable that is set before every step.

    Args:
        variables: those that train, by path.
        shares: of the rate, by path, where it is not 1.
        decayed: paths of the variables that decay.
        scale_loss: keep small float16 gradients from vanishing, and skip steps whose gradients overflow.
    """
    settings = phase.optimizer.model_dump(exclude={"name"})
    share_of = _by_identity({path: shares.get(path, 1.0) for path in variables}, variables)
    decay_of = _by_identity({path: phase.weight_decay * (path in decayed) for path in variables}, variables)
    build = _with_shares(OPTIMIZERS[phase.optimizer.name], share_of, decay_of)
    average = {"use_ema": True, "ema_momentum": phase.ema} if phase.ema else {}
    optimizer = build(learning_rate=0.0, global_clipnorm=phase.clip_norm, **settings, **average)
    if scale_loss:
        optimizer = optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(list(variables.values()))
    inner = inner_optimizer(optimizer)
    if isinstance(inner, optimizers.Nadam) and not any(one is inner._u_product for one in inner.variables):
        # Keras loses it under loss scaling: it would not be saved, and never change on JAX.
        inner._track_variable(inner._u_product)
    return optimizer


def inner_optimizer(optimizer: optimizers.Optimizer) -> optimizers.Optimizer:
    """What updates the weights, without the loss scaling around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averages_of(optimizer: optimizers.Optimizer) -> list[Any]:
    """The moving averages of the trained variables, in their order; none if the phase keeps none."""
    inner = inner_optimizer(optimizer)
    return list(inner._model_variables_moving_average) if inner.use_ema else []


def _by_identity(values: Mapping[str, float], variables: Mapping[str, Any]) -> Mapping[int, float]:
    return {id(form): values[path] for path, variable in variables.items() for form in _forms_of(variable)}


def _forms_of(variable: Any) -> Iterator[Any]:
    """What `update_step` may get for a Keras variable: on TensorFlow what is inside it, or one replica's copy."""
    yield variable
    if keras.config.backend() == "tensorflow":
        yield variable.value
        yield from getattr(variable.value, "values", ())


def _with_shares(
    base: Any, share_of: Mapping[int, float], decay_of: Mapping[int, float]
) -> Callable[..., optimizers.Optimizer]:
    """`base` with a share of the rate for each variable, and decoupled weight decay at the same share.

    Scaling gradients instead would change nothing under Adam. Keras' own decay reads the optimizer's rate, not the
    share, so that early stages would decay too fast. Keras' MultiOptimizer, with one optimizer for each
    share, keeps averages and goes with loss scaling, but clips the gradients of each share by themselves: gradients 3
    and 4 under a global norm of 1 become 1 and 1, not 0.6 and 0.8.

    Source:
        Loshchilov and Hutter 2017, algorithm 2, for the decay. https://arxiv.org/abs/1711.05101
    """

    class WithShares(base):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            learning_rate = ops.cast(learning_rate, variable.dtype) * share_of[id(variable)]
            if decay := decay_of[id(variable)]:
                variable.assign(variable - variable * learning_rate * decay)
            super().update_step(gradient, variable, learning_rate)

        def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
            # Gradients come here summed over the replicas already, since clipping must see their sum.
            return grads_and_vars

    WithShares.__name__ = base.__name__
    return WithShares

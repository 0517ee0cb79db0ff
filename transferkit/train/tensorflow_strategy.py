"""TensorFlow on one device, on all GPUs of a machine, or on several machines.

Stock Keras is silently wrong there on clipping, uneven batches, batch-norm statistics, float16 overflow and random
draws. Here each replica's objective is divided by the rows of the whole batch, gradients are summed over the replicas
once, and everything after that (clipping, overflow, update) sees the sum, alike on every replica. So weights are those
of a single device, to rounding.

Not so with dropout and augmentation: each replica draws its own numbers, and MixUp mixes the rows of one replica.
Such a run is the same again on the same number of replicas, and only much like one on another number.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transferkit.train.batch_norm import statistics_of_whole_batches
from transferkit.train.copies import as_array
from transferkit.train.optimizer import inner_optimizer
from transferkit.train.strategy import Forward, Steps
from transferkit.train.trainer import PhaseTrainer


class TensorflowStrategy:
    """See `Strategy`.

    Args:
        distribution: TensorFlow's own.
        xla: whether steps are compiled with XLA; with one replica only.
    """

    def __init__(self, name: str, distribution: tf.distribute.Strategy, *, xla: bool = False) -> None:
        self.name, self.distribution, self.xla = name, distribution, xla
        self.num_replicas = distribution.num_replicas_in_sync
        cluster = distribution.cluster_resolver
        several = cluster is not None and bool(cluster.cluster_spec().jobs)
        self.num_processes = cluster.cluster_spec().num_tasks("worker") if several else 1
        self.process = cluster.task_id if several else 0
        self.num_local = self.num_replicas // self.num_processes
        self.own_replicas = range(self.process * self.num_local, (self.process + 1) * self.num_local)
        tf.get_logger().addFilter(_is_no_retracing)

    def scope(self) -> AbstractContextManager[Any]:
        return self.distribution.scope()

    def own_rows(self, num_rows: int) -> slice:
        own = [self.shares(num_rows)[replica] for replica in self.own_replicas]
        return slice(own[0].start, own[-1].stop)

    def steps(self, trainer: PhaseTrainer) -> Steps:
        return TensorflowSteps(trainer, self)

    def forward(self, chain: Sequence[Any], *, keep: Sequence[int] = (-1,)) -> Forward:
        compiled = [self._compiled(network) for network in chain]
        kept = {index % len(chain) for index in keep}

        def forward(rows: np.ndarray) -> Sequence[np.ndarray]:
            parts = [tf.constant(part) for part in np.split(rows, self.num_local)]
            values, outputs = self.per_replica(parts) if self.num_local > 1 else parts[0], []
            for index, compute in enumerate(compiled):
                values = compute(values)
                if index in kept:
                    outputs.append(values)
            return [np.concatenate([one.numpy() for one in self.local_values(output)]) for output in outputs]

        return forward

    def _compiled(self, network: keras.Model) -> Any:
        @tf.function(jit_compile=self.xla, autograph=False)
        def compute(rows: Any) -> Any:
            return network(tf.cast(rows, "float32"), training=False)

        if self.num_local == 1:
            return compute
        return tf.function(lambda rows: self.distribution.run(compute, args=(rows,)), autograph=False)

    def gather(self, array: np.ndarray) -> np.ndarray:
        if self.num_processes == 1:
            return array[None]

        # There is no collective for truth values.
        own = tf.constant(array.astype(np.int64) if array.dtype == bool else array)[None]
        all_rows = self._gather(self.per_replica([own] * self.num_local))
        return self.local_values(all_rows)[0].numpy()[:: self.num_local].astype(array.dtype)

    @cached_property
    def _gather(self) -> Any:
        def gather(own: Any) -> Any:
            # The identity is made on the replica's device, by which TensorFlow finds the others.
            return tf.distribute.get_replica_context().all_gather(tf.identity(own), axis=0)

        return tf.function(lambda own: self.distribution.run(gather, args=(own,)), reduce_retracing=True)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, tf.errors.ResourceExhaustedError)

    def shares(self, num_rows: int) -> list[slice]:
        """Rows of each replica, in order; all rows for each where there are fewer rows than replicas."""
        if num_rows < self.num_replicas:
            return [slice(0, num_rows)] * self.num_replicas
        ends = [num_rows * index // self.num_replicas for index in range(self.num_replicas + 1)]
        return [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]

    def per_replica(self, values: Sequence[Any]) -> Any:
        """One value for each replica of this process."""
        return self.distribution.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group - self.own_replicas.start]
        )

    def local_values(self, value: Any) -> Sequence[Any]:
        return self.distribution.experimental_local_results(value)


class TensorflowSteps:
    """See `Steps`."""

    def __init__(self, trainer: PhaseTrainer, strategy: TensorflowStrategy) -> None:
        self.trainer, self.strategy = trainer, strategy
        self._trained = list(trainer.trained.values())
        self._rate = inner_optimizer(trainer.optimizer)._learning_rate
        self._compiled: Any = None
        # Augmentation stays outside: XLA cannot compile all of it.
        self._part = (
            tf.function(self._gradients, jit_compile=True, autograph=False) if strategy.xla else self._gradients
        )

    def start_epoch(self) -> None:
        self.trainer.sums.assign(np.zeros(self.trainer.sums.shape))

    def run(self, inputs: np.ndarray, labels: np.ndarray, *, num_rows: int, step: int, rate: float) -> None:
        strategy = self.strategy
        # As tensors, so that one trace serves every step.
        numbers = tf.constant(num_rows, tf.float32), tf.constant(step, tf.int64), tf.constant(rate, tf.float32)
        if strategy.num_replicas == 1:
            batch = tf.constant(inputs), tf.constant(labels)
        else:
            shares = [strategy.shares(num_rows)[replica] for replica in strategy.own_replicas]
            first = shares[0].start
            rows = [slice(one.start - first, one.stop - first) for one in shares]
            batch = tuple(strategy.per_replica([tf.constant(array[one]) for one in rows]) for array in (inputs, labels))
        if self._compiled is None:
            # One trace for batches of every size. A trace for each size would take longer, and traces that widen from
            # size to size differ in rounding by the order of sizes, which a resumed run does not share.
            signature = [*map(self._of_any_length, batch), *map(tf.type_spec_from_value, numbers)]
            step_of_all = self._step if strategy.num_replicas == 1 else self._distributed_step
            self._compiled = tf.function(step_of_all, input_signature=signature, autograph=False)
            with statistics_of_whole_batches(self.trainer.network) if strategy.num_replicas > 1 else nullcontext():
                self._compiled.get_concrete_function()
        self._compiled(*batch, *numbers)

    def read_sums(self) -> np.ndarray:
        return as_array(self.trainer.sums)

    def sync(self) -> None:
        """Nothing to do: TensorFlow's steps change the variables themselves."""

    def load(self) -> None:
        """Nothing to do, likewise."""

    def _of_any_length(self, batch: Any) -> Any:
        """The type of a batch, or of its replicas' parts, with any number of rows."""
        spec = tf.type_spec_from_value(batch)
        if isinstance(spec, tf.TensorSpec):
            return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)
        return type(spec)(*map(self._of_any_length, self.strategy.local_values(batch)))

    def _distributed_step(self, *arguments: Any) -> None:
        self.strategy.distribution.run(self._step, args=arguments)

    def _step(self, inputs: Any, labels: Any, num_rows: Any, step: Any, rate: Any) -> None:
        trainer, context = self.trainer, tf.distribute.get_replica_context()
        num_replicas, replica = self.strategy.num_replicas, context.replica_id_in_sync_group
        # A batch too small to be divided is computed by every replica, and each counts for a part of it.
        copies = tf.where(num_rows < num_replicas, float(num_replicas), 1.0)
        share = 1.0 / (num_rows * copies)
        with trainer.draws.at(step, replica=replica):
            inputs, labels = trainer.mixed(inputs, labels)
        if trainer.num_parts == 1:
            gradients, sums = self._part(inputs, labels, share, step, 0)
        else:
            gradients, sums = self._in_parts(inputs, labels, share, step)
        if num_replicas > 1:
            *gradients, sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [*gradients, sums])
        trainer.sums.assign_add(trainer.step_sums(sums, gradients, num_rows))
        self._rate.assign(rate)
        trainer.optimizer.apply(gradients, self._trained)

    def _gradients(self, inputs: Any, labels: Any, share: Any, step: Any, part: Any) -> tuple[list[Any], Any]:
        trainer, replica = self.trainer, tf.distribute.get_replica_context().replica_id_in_sync_group
        variables = [variable.value for variable in self._trained]
        # Nothing else is watched, so that nothing of the frozen part is kept for the backward pass.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with trainer.draws.at(step, replica=replica, part=part):
                objective, sums = trainer.objective(inputs, labels, share=share)
            if trainer.scales_loss:
                objective = trainer.optimizer.scale_loss(objective)
        return tape.gradient(objective, variables, unconnected_gradients="zero"), sums

    def _in_parts(self, inputs: Any, labels: Any, share: Any, step: Any) -> tuple[list[Any], Any]:
        """The same for a batch in parts, one after the other, so that activations of one part at a time are kept."""
        num_rows = tf.shape(labels)[0]
        num_parts = tf.minimum(self.trainer.num_parts, num_rows)

        def add(part: Any, gradients: list[Any], sums: Any) -> tuple[Any, list[Any], Any]:
            rows = slice(num_rows * part // num_parts, num_rows * (part + 1) // num_parts)
            more, more_sums = self._part(inputs[rows], labels[rows], share, step, part)
            return part + 1, [a + b for a, b in zip(gradients, more, strict=True)], sums + more_sums

        start = (tf.constant(0), [tf.zeros(one.shape, one.dtype) for one in self._trained], tf.zeros(3))
        _, gradients, sums = tf.while_loop(lambda part, *_: part < num_parts, add, start, parallel_iterations=1)
        return gradients, sums


def _is_no_retracing(record: logging.LogRecord) -> bool:
    """TensorFlow takes the functions of several networks for one that is traced again and again, and warns."""
    return "triggered tf.function retracing" not in record.getMessage()

"""JAX on one device, on all devices of a machine, or on several machines; the way to TPUs.

State lies whole on every device and a batch is divided by its rows. A step is one program over all devices, written as
for one: sums over the batch (loss, batch statistics, gradients) are over all of it wherever its rows lie, and a draw
for the whole batch is the same on any number of devices.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transferkit.train.cluster import Cluster
from transferkit.train.optimizer import inner_optimizer
from transferkit.train.strategy import Forward, Steps
from transferkit.train.trainer import PhaseTrainer

_ROWS = "rows"
# JAX processes wait for each other as they end; the chief has files to write until then. See train/peers.py for those
# that never come.
_SHUTDOWN_S = 45

Groups = Mapping[str, Sequence[Any]]


class JaxStrategy:
    """See `Strategy`.

    Making it joins the other processes, which comes before JAX computes anything.

    Args:
        name: `single` for one device, else all devices of all processes.
        cluster: all processes; `None` for one alone.
    """

    def __init__(self, name: str, cluster: Cluster | None) -> None:
        if cluster and cluster.num_processes > 1:
            _join(cluster)
        devices = jax.local_devices()[:1] if name == "single" else jax.devices()
        # A process's rows of a batch lie side by side.
        devices = sorted(devices, key=lambda device: (device.process_index, device.id))
        self.name = name if name != "auto" else ("data_parallel" if len(devices) > 1 else "single")
        self.num_processes, self.process = jax.process_count(), jax.process_index()
        self.num_replicas = len(devices)
        local = [device for device in devices if device.process_index == self.process]
        self.num_local = len(local)
        self.mesh, self.local_mesh = Mesh(devices, _ROWS), Mesh(local, _ROWS)
        self.whole = NamedSharding(self.mesh, PartitionSpec())

    def scope(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def own_rows(self, num_rows: int) -> slice:
        """See `Strategy`; a batch that the devices cannot divide evenly is whole on each of them.

        Each then computes all of it and needs the memory for that. It is an epoch's last batch, or one that is smaller
        than the number of devices.
        """
        if num_rows % self.num_replicas:
            return slice(0, num_rows)
        own = num_rows // self.num_processes
        return slice(self.process * own, (self.process + 1) * own)

    def steps(self, trainer: PhaseTrainer) -> Steps:
        return JaxSteps(trainer, self)

    def forward(self, chain: Sequence[Any], *, keep: Sequence[int] = (-1,)) -> Forward:
        networks = [_Inference(network, self.local_mesh) for network in chain]
        kept = {index % len(chain) for index in keep}

        def forward(rows: np.ndarray) -> Sequence[np.ndarray]:
            values, outputs = rows, []
            for index, compute in enumerate(networks):
                values = compute(values)
                if index in kept:
                    outputs.append(values)
            return [np.asarray(output) for output in outputs]

        return forward

    def gather(self, array: np.ndarray) -> np.ndarray:
        return array[None] if self.num_processes == 1 else multihost_utils.process_allgather(array)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)

    def by_rows(self, num_rows: int, *, axis: int = 0) -> NamedSharding:
        """How an array lies whose axis `axis` is `num_rows` rows of a batch."""
        divided = num_rows % self.num_replicas == 0
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, _ROWS)) if divided else self.whole

    def place_rows(self, rows: np.ndarray, *, num_rows: int) -> jax.Array:
        """A batch over all devices, from the rows of it that this process has read."""
        shape = (num_rows, *rows.shape[1:])
        return jax.make_array_from_process_local_data(self.by_rows(num_rows), rows, shape)

    def place_whole(self, value: Any) -> jax.Array:
        """A copy of a value, which is the same in every process, on every device."""
        copy = np.array(value)
        return jax.make_array_from_process_local_data(self.whole, copy, copy.shape)


class JaxSteps:
    """See `Steps`.

    Between steps the state is here, apart from the Keras variables: a step gives its memory to the next. So what moves
    takes its room twice on the first device, the weights' and the optimizer's.
    """

    def __init__(self, trainer: PhaseTrainer, strategy: JaxStrategy) -> None:
        self.trainer, self.strategy = trainer, strategy
        self._moving: Groups = {
            "trained": list(trainer.trained.values()),
            "statistics": list(trainer.statistics.values()),
            "optimizer": list(trainer.optimizer.variables),
            "sums": [trainer.sums],
        }
        moving = {id(variable) for group in self._moving.values() for variable in group}
        fixed = [variable for variable in trainer.network.variables if id(variable) not in moving]
        self._fixed = [*fixed, *(trainer.pulled or {}).values()]
        self._rate = inner_optimizer(trainer.optimizer)._learning_rate
        self._compiled = jax.jit(self._step, donate_argnums=0, out_shardings=strategy.whole)
        # Arguments, not constants: XLA would compile them into the program and work on them there.
        self._fixed_values = [strategy.place_whole(variable.value) for variable in self._fixed]
        for variable, value in zip(self._fixed, self._fixed_values, strict=True):
            variable.assign(value.addressable_data(0))  # the same memory
        self.load()

    def start_epoch(self) -> None:
        self._state["sums"] = [self.strategy.place_whole(np.zeros(self.trainer.sums.shape, np.float32))]
        self._is_synced = False

    def run(self, inputs: np.ndarray, labels: np.ndarray, *, num_rows: int, step: int, rate: float) -> None:
        inputs, labels = (self.strategy.place_rows(one, num_rows=num_rows) for one in (inputs, labels))
        numbers = np.uint32(step), np.float32(rate)
        self._state = self._compiled(self._state, self._fixed_values, inputs, labels, *numbers)
        self._is_synced = False

    def read_sums(self) -> np.ndarray:
        return np.array(self._state["sums"][0].addressable_data(0))

    def sync(self) -> None:
        if self._is_synced:
            return
        for name, variables in self._moving.items():
            for variable, value in zip(variables, self._state[name], strict=True):
                # A copy: the next step takes the memory of the state.
                variable.assign(value.addressable_data(0).copy())
        self._is_synced = True

    def load(self) -> None:
        # Copies here as well: two Keras variables may share an array, as after one was assigned to the other, and
        # memory is given away only once.
        place = self.strategy.place_whole
        self._state = {name: [place(one.value) for one in group] for name, group in self._moving.items()}
        self._is_synced = True

    def _step(self, state: Groups, fixed: Sequence[Any], inputs: Any, labels: Any, step: Any, rate: Any) -> Groups:
        trainer = self.trainer
        with trainer.draws.at(step), warnings.catch_warnings():
            # Keras' MixUp asks for 64 bits where JAX gives 32, which do.
            warnings.filterwarnings("ignore", "Explicitly requested dtype")
            inputs, labels = trainer.mixed(inputs, labels)
        statistics, gradients, sums = self._gradients(state, fixed, inputs, labels, step)
        with self._scope(state, fixed):
            added = trainer.step_sums(sums, gradients, labels.shape[0])
        at_rate = [
            rate if variable is self._rate else value
            for variable, value in zip(self._moving["optimizer"], state["optimizer"], strict=True)
        ]
        trained, optimizer = trainer.optimizer.stateless_apply(at_rate, gradients, state["trained"])
        return {
            "trained": list(trained),
            "statistics": statistics,
            "optimizer": list(optimizer),
            "sums": [state["sums"][0] + added],
        }

    def _gradients(self, state: Groups, fixed: Sequence[Any], inputs: Any, labels: Any, step: Any) -> Any:
        """Moved statistics, gradients and sums of a batch, in parts one after the other if the recipe says so."""
        num_rows = labels.shape[0]

        def gradients_of(statistics: Any, part: Any, inputs: Any, labels: Any) -> Any:
            def objective(trained: Any) -> Any:
                with self._scope({**state, "trained": trained, "statistics": statistics}, fixed) as scope:
                    with self.trainer.draws.at(step, part=part):
                        value, sums = self.trainer.objective(inputs, labels, share=1.0 / num_rows)
                    if self.trainer.scales_loss:
                        value = self.trainer.optimizer.scale_loss(value)
                    moved = [scope.get_current_value(one) for one in self._moving["statistics"]]
                return value, (moved, sums)

            (_, (moved, sums)), gradients = jax.value_and_grad(objective, has_aux=True)(state["trained"])
            return moved, gradients, sums

        size = -(-num_rows // self.trainer.num_parts)
        if size == num_rows:
            return gradients_of(state["statistics"], 0, inputs, labels)

        def add(carry: Any, one: Any) -> Any:
            statistics, *before = carry
            statistics, *more = gradients_of(statistics, *one)
            return (statistics, *jax.tree.map(jax.numpy.add, before, more)), None

        # Parts of one size, so that the loop over them is compiled once, and what is left over.
        whole = num_rows // size
        lies = self.strategy.by_rows(size, axis=1)
        parts = [
            jax.lax.with_sharding_constraint(one[: whole * size].reshape(whole, size, *one.shape[1:]), lies)
            for one in (inputs, labels)
        ]
        zeros = jax.tree.map(jax.numpy.zeros_like, state["trained"]), jax.numpy.zeros(3)
        carry, _ = jax.lax.scan(add, (state["statistics"], *zeros), (np.arange(whole), *parts))
        if rest := num_rows - whole * size:
            carry, _ = add(carry, (whole, inputs[-rest:], labels[-rest:]))
        return carry

    def _scope(self, state: Groups, fixed: Sequence[Any]) -> keras.StatelessScope:
        """All variables have these values inside, and what is assigned to them stays inside."""
        moving = [pair for name, group in self._moving.items() for pair in zip(group, state[name], strict=True)]
        return keras.StatelessScope([*moving, *zip(self._fixed, fixed, strict=True)])


class _Inference:
    """A network as a compiled function of its variables and of rows, which the devices of a mesh share evenly.

    Each device computes its rows as if it were alone, so that their bits do not depend on how many there are.
    """

    def __init__(self, network: keras.Model, mesh: Mesh) -> None:
        self._variables = network.variables
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._taken: list[Any] = []
        self._placed: list[jax.Array] = []

        def compute(values: Sequence[Any], rows: Any) -> Any:
            with keras.StatelessScope(list(zip(self._variables, values, strict=True))):
                return network(keras.ops.cast(rows, "float32"), training=False)

        by_rows, whole = PartitionSpec(_ROWS), PartitionSpec()
        shared = jax.shard_map(compute, mesh=mesh, in_specs=(whole, by_rows), out_specs=by_rows, check_vma=False)
        self._compiled = jax.jit(shared)

    def __call__(self, rows: Any) -> jax.Array:
        values = [variable.value for variable in self._variables]
        if len(self._taken) != len(values) or any(a is not b for a, b in zip(values, self._taken, strict=True)):
            self._taken, self._placed = values, jax.device_put(values, self._whole)
        return self._compiled(self._placed, rows)


def _join(cluster: Cluster) -> None:
    """Connect to the other processes, which are known to be there."""
    # Its handler would take SIGTERM from ours, which writes a checkpoint.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address=cluster.addresses[0],
        num_processes=cluster.num_processes,
        process_id=cluster.index,
        shutdown_timeout_seconds=_SHUTDOWN_S,
    )

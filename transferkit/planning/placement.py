"""How many replicas a run would have, from the recipe, the devices and the environment; nothing is started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferkit.errors import RuntimeSetupError
from transferkit.recipe.runtime import RuntimeSpec
from transferkit.train.cluster import find_cluster
from transferkit.train.runtime import Device


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a run would compute.

    Args:
        strategy: what `auto` comes to.
        num_local: devices of this machine that are used, each with a replica; all of `kind`.
        num_processes: that the environment announces; `None` if the recipe asks for several and nothing does.
    """

    strategy: str
    kind: str
    num_local: int
    num_processes: int | None

    @property
    def num_replicas(self) -> int | None:
        return self.num_local * self.num_processes if self.num_processes else None


def plan_placement(spec: RuntimeSpec, devices: Sequence[Device], environ: Mapping[str, str]) -> Placement:
    """The placement of a run in this process.

    Args:
        devices: of this machine, at least one.
    """
    kind, strategy = devices[0].kind, spec.strategy
    if strategy == "auto" and (len(devices) == 1 or (spec.backend == "tensorflow" and kind != "GPU")):
        strategy = "single"
    elif strategy == "auto":
        strategy = "data_parallel" if spec.backend == "jax" else "mirrored"
    try:
        cluster = find_cluster(environ, strategy=spec.strategy, backend=spec.backend)
        num_processes = cluster.num_processes if cluster else 1
    except RuntimeSetupError:
        num_processes = None
    return Placement(strategy, kind, 1 if strategy == "single" else len(devices), num_processes)

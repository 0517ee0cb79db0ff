"""Which processes make up this run and which of them is this one, as the environment announces it."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from transferkit.errors import RuntimeSetupError

# Set by `--workers`, and by hand where nothing else announces the processes.
CLUSTER_VARIABLE: Final = "TRANSFERKIT_CLUSTER"
PROCESS_VARIABLE: Final = "TRANSFERKIT_PROCESS"

# What may span several processes; everything else is one process, whatever the environment says.
_MANY_PROCESSES: Final = {("tensorflow", "multi_worker"), ("jax", "data_parallel"), ("jax", "tpu")}
_NEEDS_CLUSTER: Final = "multi_worker"

# Each SLURM job gets 20 ports of 12000–31999: below 32768, where Linux begins to take ports for outgoing connections.
_FIRST_SLURM_PORT, _PORTS_PER_JOB, _PORT_RANGES = 12000, 20, 1000
_MAX_HOSTS: Final = 10_000


@dataclass(frozen=True)
class Cluster:
    """All processes of one run.

    Args:
        addresses: `host:port` by process; the port is the engine's own.
        index: this process; 0 is the chief, which alone writes the run folder.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def num_processes(self) -> int:
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def control_address(self) -> tuple[str, int]:
        """Where the chief listens for the other processes: its host, and the first port above its own that no
        process of the cluster uses (so that it is the same on every machine without being announced)."""
        host, port = split_address(self.addresses[0])
        used = {split_address(address)[1] for address in self.addresses}
        return host, next(one for one in itertools.chain(range(port, 65536), range(port, 0, -1)) if one not in used)

    def name_of(self, process: int) -> str:
        """`process 1 (node2:2222)`."""
        return f"process {process} ({self.addresses[process]})"


def find_cluster(environ: Mapping[str, str], *, strategy: str, backend: str) -> Cluster | None:
    """The processes that the environment announces, for a strategy that spans several.

    Read in this order: TF_CONFIG (set by Kubeflow's TFJob), TRANSFERKIT_CLUSTER and TRANSFERKIT_PROCESS (set by
    `--workers`), SLURM's variables (set by `srun`).

    Returns:
        None where this process is alone: for other strategies, and for JAX where nothing is announced.

    Raises:
        RuntimeSetupError: what is announced cannot be right, or nothing is and `multi_worker` asks for it.
    """
    if not spans_processes(strategy=strategy, backend=backend):
        return None
    for read in (_from_tf_config, _from_own_variables, _from_slurm):
        if cluster := read(environ):
            # JAX alone needs no cluster; TensorFlow's strategy is built with one, also of one.
            return cluster if cluster.num_processes > 1 or strategy == _NEEDS_CLUSTER else None
    if strategy == _NEEDS_CLUSTER:
        raise RuntimeSetupError(
            "runtime.strategy is multi_worker, but nothing says which processes belong to the run. One of these must:\n"
            "  --workers 2     starts two processes on this machine, to try it\n"
            "  srun            SLURM's variables (SLURM_STEP_NODELIST, SLURM_PROCID, SLURM_NTASKS)\n"
            "  TF_CONFIG       as Kubeflow's TFJob sets it\n"
            "Without them, strategy: mirrored uses all devices of this machine."
        )
    return None


def spans_processes(*, strategy: str, backend: str) -> bool:
    """Whether a run under `strategy` can consist of several processes."""
    return (backend, strategy) in _MANY_PROCESSES


def ignored_cluster(environ: Mapping[str, str]) -> str | None:
    """One line for a run that stays on this machine although the environment announces several processes."""
    found = [name for name in ("TF_CONFIG", CLUSTER_VARIABLE) if environ.get(name, "").strip() not in ("", "{}")]
    if environ.get("SLURM_NTASKS", "1") != "1" and "SLURM_PROCID" in environ:
        found.append("SLURM_NTASKS")
    if not found:
        return None
    return (
        f"{found[0]} announces a cluster, and this run does not use it: runtime.strategy multi_worker (TensorFlow) or "
        f"data_parallel (JAX) would"
    )


def tf_config_of(cluster: Cluster) -> str:
    """TF_CONFIG for TensorFlow: all processes as workers, so that process 0 is its chief."""
    task = {"type": "worker", "index": cluster.index}
    return json.dumps({"cluster": {"worker": list(cluster.addresses)}, "task": task})


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[IPv6]:port`.

    Raises:
        ValueError: no host, or no port from 1 to 65535.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _make_cluster(addresses: Sequence[str], index: int, *, source: str) -> Cluster:
    for address in addresses:
        try:
            split_address(address)
        except ValueError:
            raise RuntimeSetupError(
                f"{source} names {address!r}; expected host:port, such as node1:2222, with a port from 1 to 65535."
            ) from None
    twice = [address for address, count in Counter(addresses).items() if count > 1]
    if twice:
        raise RuntimeSetupError(f"{source} names {twice[0]!r} twice; every process needs an address of its own.")
    if not 0 <= index < len(addresses):
        raise RuntimeSetupError(
            f"{source} says that this is process {index}, but it names {len(addresses)} processes, counted from 0."
        )
    return Cluster(tuple(addresses), index)


def _whole_number(value: object, *, what: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value)):
        raise RuntimeSetupError(f"{what} must be a whole number from 0, and is {value!r}.")
    return int(str(value))


def _from_tf_config(environ: Mapping[str, str]) -> Cluster | None:
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise RuntimeSetupError(f"TF_CONFIG is not JSON ({error}): {text[:200]!r}") from None
    if not isinstance(config, dict) or not isinstance(config.get("cluster", {}), dict):
        raise RuntimeSetupError(f'TF_CONFIG must look like {{"cluster": {{…}}, "task": {{…}}}}, and is {text[:200]!r}.')
    cluster, task = config.get("cluster") or {}, config.get("task")
    if not cluster:  # as some platforms set it for a single machine
        return None
    if not isinstance(task, dict) or not {"type", "index"} <= task.keys():
        raise RuntimeSetupError(f"TF_CONFIG needs a task with type and index, to know which process this is: {task!r}")
    addresses = {role: _addresses_of(role, members) for role, members in cluster.items()}
    role = task["type"]
    for other, reason in _NO_PLACE_HERE.items():
        if addresses.get(other) or role == other:
            raise RuntimeSetupError(f"TF_CONFIG has the role {other!r}: {reason}")
    chiefs = addresses.get("chief", []) + addresses.get("master", [])
    unknown = [one for one in addresses if one not in ("chief", "master", "worker")]
    if unknown or role not in addresses or len(chiefs) > 1:
        raise RuntimeSetupError(
            f"TF_CONFIG must have at most one chief (or master), and workers, and a task that is one of them; "
            f"it has {', '.join(f'{len(members)} {one}' for one, members in addresses.items())}, and the task {role!r}."
        )
    index = _whole_number(task["index"], what="The task index of TF_CONFIG")
    if index >= len(addresses[role]):
        raise RuntimeSetupError(
            f"TF_CONFIG says that this is {role} {index}, but it has {len(addresses[role])} of them."
        )
    first = len(chiefs) if role == "worker" else 0
    return _make_cluster([*chiefs, *addresses.get("worker", [])], first + index, source="TF_CONFIG")


_NO_PLACE_HERE: Final = {
    "ps": "Keras 3 trains with no parameter servers; make them workers.",
    "evaluator": "the run evaluates by itself; leave the evaluator out of the job.",
}


def _addresses_of(role: str, members: object) -> list[str]:
    if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
        raise RuntimeSetupError(f"TF_CONFIG must list host:port texts under {role!r}, and has {members!r}.")
    return members


def _from_own_variables(environ: Mapping[str, str]) -> Cluster | None:
    addresses = environ.get(CLUSTER_VARIABLE, "").strip()
    if not addresses:
        return None
    if PROCESS_VARIABLE not in environ:
        raise RuntimeSetupError(f"{CLUSTER_VARIABLE} is set, but not {PROCESS_VARIABLE}: which process is this one?")
    index = _whole_number(environ[PROCESS_VARIABLE].strip(), what=PROCESS_VARIABLE)
    return _make_cluster([one.strip() for one in addresses.split(",")], index, source=CLUSTER_VARIABLE)


def _from_slurm(environ: Mapping[str, str]) -> Cluster | None:
    # Variables of the step (one srun) before those of the job, which may be larger.
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
    if not nodes or "SLURM_PROCID" not in environ:
        return None
    index = _whole_number(environ["SLURM_PROCID"], what="SLURM_PROCID")
    hosts = expand_nodes(nodes)
    num_tasks = _whole_number(
        environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or len(hosts), what="SLURM_NTASKS"
    )
    layout = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE")
    counts = expand_tasks(layout) if layout else [-(-num_tasks // len(hosts))] * len(hosts)
    if len(counts) != len(hosts) or sum(counts) != num_tasks:
        raise RuntimeSetupError(
            f"SLURM announces {num_tasks} tasks, {layout!r} of them per node, on the nodes {nodes!r} ({len(hosts)}): "
            f"these do not fit together. Start transferkit through `srun`, which sets them for its own step."
        )
    job = _whole_number(environ.get("SLURM_JOB_ID", "0"), what="SLURM_JOB_ID")
    first_port = _FIRST_SLURM_PORT + job % _PORT_RANGES * _PORTS_PER_JOB
    places = [(node, local) for node, count in enumerate(counts) for local in range(count)]
    addresses = [f"{hosts[node]}:{first_port + local}" for node, local in places]
    cluster = _make_cluster(addresses, index, source="SLURM")
    # Ranks that go round the nodes would be looked for where others run.
    if environ.get("SLURM_NODEID", str(places[index][0])) != str(places[index][0]):
        raise RuntimeSetupError(
            f"SLURM runs task {index} on node {environ['SLURM_NODEID']}, where tasks in blocks would put it on node "
            f"{places[index][0]}. Start with `srun --distribution=block`."
        )
    return cluster


def expand_nodes(text: str) -> list[str]:
    """Host names of SLURM's short form: `node[01-03,07],other` as node01, node02, node03, node07, other.

    Source: https://slurm.schedmd.com/scontrol.html, "hostlist expression".
    """
    hosts = []
    for item in re.split(r",(?![^\[]*\])", text):
        if not re.fullmatch(r"(?:[\w.-]+|\[[\d,-]+\])+", item):
            raise RuntimeSetupError(f"SLURM's list of nodes cannot be read at {item!r}: {text!r}")
        parts = re.findall(r"[\w.-]+|\[[\d,-]+\]", item)
        choices = [_numbers(part[1:-1], text) if part.startswith("[") else [part] for part in parts]
        hosts += ["".join(chosen) for chosen in itertools.product(*choices)]
    return hosts


def _numbers(ranges: str, text: str) -> list[str]:
    """`01-03,07` as 01, 02, 03, 07: the first number's width is kept."""
    numbers = []
    for one in ranges.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", one)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + _MAX_HOSTS:
            raise RuntimeSetupError(f"SLURM's list of nodes cannot be read at {one!r}: {text!r}")
        numbers += [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]
    return numbers


def expand_tasks(text: str) -> list[int]:
    """Tasks by node of SLURM's short form: `2(x3),1` as 2, 2, 2, 1."""
    counts = []
    for item in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:\(x(\d{1,6})\))?", item.strip())
        if not match or int(match[2] or 1) > _MAX_HOSTS:
            raise RuntimeSetupError(f"SLURM's tasks per node cannot be read at {item!r}: {text!r}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts

"""Which processes a run has, read from what Kubeflow, SLURM and `--workers` put into the environment."""

import json

import pytest

from transferkit.errors import RuntimeSetupError
from transferkit.train.cluster import (
    Cluster,
    expand_nodes,
    expand_tasks,
    find_cluster,
    ignored_cluster,
    spans_processes,
    split_address,
    tf_config_of,
)

# As Kubeflow's training operator writes it for a job "flowers" in the namespace "team".
KUBEFLOW = {
    "cluster": {
        "chief": ["flowers-chief-0.team.svc:2222"],
        "worker": ["flowers-worker-0.team.svc:2222", "flowers-worker-1.team.svc:2222"],
    },
    "task": {"type": "worker", "index": 1},
    "environment": "cloud",
}
OWN = {"TRANSFERKIT_CLUSTER": "127.0.0.1:4000,127.0.0.1:4001", "TRANSFERKIT_PROCESS": "1"}
SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_NODELIST": "node[01-03]",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
    # The job is larger than the step.
    "SLURM_JOB_NODELIST": "node[01-09]",
    "SLURM_NTASKS": "18",
    "SLURM_TASKS_PER_NODE": "2(x9)",
}


def find(environ, strategy="multi_worker", backend="tensorflow"):
    return find_cluster(environ, strategy=strategy, backend=backend)


def tf_config(**changes):
    return {"TF_CONFIG": json.dumps({**KUBEFLOW, **changes})}


def refusal_of(environ):
    with pytest.raises(RuntimeSetupError) as caught:
        find(environ)
    return str(caught.value)


@pytest.mark.parametrize("strategy", ["auto", "single", "mirrored"])
def test_strategy_of_one_machine_never_finds_a_cluster(strategy):
    environ = {**tf_config(), **OWN, **SLURM}

    assert find(environ, strategy) is None
    assert not spans_processes(strategy=strategy, backend="tensorflow")


def test_strategy_of_one_machine_reads_no_variable_that_could_be_wrong():
    assert find({"TF_CONFIG": "{", "SLURM_PROCID": "x", "SLURM_JOB_NODELIST": "["}, "auto") is None


def test_kubeflow_s_chief_is_process_0_and_its_workers_follow():
    cluster = find(tf_config())

    assert cluster.addresses == (
        "flowers-chief-0.team.svc:2222",
        "flowers-worker-0.team.svc:2222",
        "flowers-worker-1.team.svc:2222",
    )
    assert (cluster.index, cluster.num_processes, cluster.is_chief) == (2, 3, False)


def test_kubeflow_s_chief_knows_itself():
    assert find(tf_config(task={"type": "chief", "index": 0})).is_chief


def test_first_worker_is_chief_where_there_is_no_other():
    cluster = find(tf_config(cluster={"worker": ["a:1", "b:1"]}, task={"type": "worker", "index": "0"}))

    assert cluster == Cluster(("a:1", "b:1"), 0)


def test_tensorflow_s_older_name_for_the_chief_is_read():
    cluster = find(tf_config(cluster={"worker": ["w:1"], "master": ["m:1"]}, task={"type": "worker", "index": 0}))

    assert cluster == Cluster(("m:1", "w:1"), 1)


@pytest.mark.parametrize("strategy", ["data_parallel", "tpu"])
def test_jax_reads_the_same_announcements(strategy):
    assert find(tf_config(), strategy, "jax") == find(tf_config())
    assert find(OWN, strategy, "jax") == find(OWN)
    assert find(SLURM, strategy, "jax") == find(SLURM)


@pytest.mark.parametrize("strategy", ["data_parallel", "tpu"])
def test_jax_takes_this_machine_where_nothing_is_announced(strategy):
    assert find({}, strategy, "jax") is None
    assert find({"TF_CONFIG": "{}"}, strategy, "jax") is None


def test_jax_that_is_announced_alone_needs_no_cluster_but_tensorflow_has_one_of_one():
    environ = {"TRANSFERKIT_CLUSTER": "a:1", "TRANSFERKIT_PROCESS": "0"}

    assert find(environ, "data_parallel", "jax") is None
    assert find(environ) == Cluster(("a:1",), 0)


def test_multi_worker_without_any_announcement_names_the_three_ways():
    text = refusal_of({})

    assert all(way in text for way in ("--workers", "srun", "TF_CONFIG"))


def test_tf_config_is_read_before_own_variables_and_those_before_slurm():
    assert find({**SLURM, **OWN, **tf_config()}).addresses[0] == "flowers-chief-0.team.svc:2222"
    assert find({**SLURM, **OWN}).addresses[0] == "127.0.0.1:4000"
    assert find({**SLURM, **OWN, "TF_CONFIG": ""}).addresses[0] == "127.0.0.1:4000"


def test_slurm_s_step_gives_each_task_of_a_node_a_port_of_its_own():
    cluster = find(SLURM)

    hosts, ports = zip(*map(split_address, cluster.addresses), strict=True)
    assert hosts == ("node01", "node01", "node02", "node02", "node03")
    assert [port - ports[0] for port in ports] == [0, 1, 0, 1, 0]
    assert cluster.index == 3


def test_slurm_s_jobs_on_one_node_get_ports_apart():
    first = find(SLURM).addresses
    next_job = find({**SLURM, "SLURM_JOB_ID": "123457"})

    assert split_address(next_job.addresses[0])[1] - split_address(first[0])[1] >= 20
    assert all(1024 < split_address(address)[1] < 32768 for address in first)


def test_slurm_without_a_step_reads_the_job_s_variables():
    environ = {"SLURM_JOB_NODELIST": "a,b", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7"}

    assert [split_address(address)[0] for address in find(environ).addresses] == ["a", "b"]


def test_slurm_tasks_that_go_round_the_nodes_are_refused():
    text = refusal_of({**SLURM, "SLURM_NODEID": "0"})

    assert "task 3 on node 0" in text
    assert "--distribution=block" in text


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x3)"}, "5 tasks"),
        ({"SLURM_STEP_TASKS_PER_NODE": "5"}, "'node[01-03]' (3)"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(y2),1"}, "'2(y2)'"),
        ({"SLURM_STEP_NODELIST": "node[01-03"}, "'node[01-03'"),
        ({"SLURM_STEP_NODELIST": "node[03-01]"}, "'03-01'"),
        ({"SLURM_STEP_NODELIST": "node[1-99999999]"}, "'1-99999999'"),
        ({"SLURM_STEP_NODELIST": "node[01,,03]"}, "''"),
        ({"SLURM_STEP_NODELIST": "node 1"}, "'node 1'"),
        ({"SLURM_PROCID": "-1"}, "SLURM_PROCID"),
        ({"SLURM_PROCID": "5"}, "process 5"),
        ({"SLURM_STEP_NUM_TASKS": "many"}, "'many'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "=".join(*value.items()),
)
def test_slurm_variables_that_cannot_be_right_are_shown(changes, found):
    assert found in refusal_of({**SLURM, **changes})


@pytest.mark.parametrize(
    ("short", "hosts"),
    [
        ("node1", ["node1"]),
        ("node[01-03,07],other", ["node01", "node02", "node03", "node07", "other"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[098-101].cluster.org", ["n098.cluster.org", "n099.cluster.org", "n100.cluster.org", "n101.cluster.org"]),
        ("r[1-2]n[1,3]", ["r1n1", "r1n3", "r2n1", "r2n3"]),
        ("gpu-a,gpu-b[2]", ["gpu-a", "gpu-b2"]),
    ],
)
def test_slurm_s_short_form_of_nodes_is_written_out(short, hosts):
    assert expand_nodes(short) == hosts


def test_slurm_s_short_form_of_tasks_is_written_out():
    assert expand_tasks("2(x3),1,4(x1)") == [2, 2, 2, 1, 4]


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"TF_CONFIG": "{'cluster'"}, "not JSON"),
        ({"TF_CONFIG": "[1]"}, "[1]"),
        (tf_config(cluster=["a:1"]), "must look like"),
        (tf_config(cluster={"worker": "a:1"}), "'a:1'"),
        (tf_config(task={"type": "worker"}), "type and index"),
        (tf_config(task=None), "None"),
        (tf_config(task={"type": "worker", "index": 2}), "worker 2, but it has 2"),
        (tf_config(task={"type": "worker", "index": -1}), "-1"),
        (tf_config(task={"type": "worker", "index": True}), "True"),
        (tf_config(task={"type": "boss", "index": 0}), "'boss'"),
        (tf_config(cluster={"boss": ["a:1"], "worker": ["b:1", "c:1"]}), "1 boss"),
        (tf_config(cluster={"chief": ["a:1", "d:1"], "worker": ["b:1", "c:1"]}), "2 chief"),
        (tf_config(cluster={"chief": ["a:1"], "worker": ["a:1", "b:1"]}), "'a:1' twice"),
        (tf_config(cluster={"worker": ["a:1", "b"]}), "'b'"),
        (tf_config(cluster={"worker": ["a:1", "b:0"]}), "'b:0'"),
        (tf_config(cluster={"worker": ["a:1", "b:65536"]}), "'b:65536'"),
        (tf_config(cluster={"worker": ["a:1", ":2222"]}), "':2222'"),
        ({"TRANSFERKIT_CLUSTER": "a:1,b:1"}, "TRANSFERKIT_PROCESS"),
        ({**OWN, "TRANSFERKIT_PROCESS": "2"}, "process 2"),
        ({**OWN, "TRANSFERKIT_PROCESS": "one"}, "'one'"),
        ({**OWN, "TRANSFERKIT_CLUSTER": "a:1,,b:1"}, "''"),
    ],
)
def test_announcement_that_cannot_be_right_is_shown(environ, found):
    assert found in refusal_of(environ)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster": {**KUBEFLOW["cluster"], "ps": ["p:1"]}}, "no parameter servers"),
        ({"task": {"type": "evaluator", "index": 0}}, "evaluates by itself"),
    ],
)
def test_role_that_has_no_place_here_is_refused_with_the_reason(changes, reason):
    assert reason in refusal_of(tf_config(**changes))


def test_tensorflow_gets_every_process_as_a_worker():
    text = tf_config_of(Cluster(("c:1", "w:1"), 1))

    assert json.loads(text) == {"cluster": {"worker": ["c:1", "w:1"]}, "task": {"type": "worker", "index": 1}}
    assert find({"TF_CONFIG": text}) == Cluster(("c:1", "w:1"), 1)


@pytest.mark.parametrize(
    ("addresses", "control"),
    [
        (("a:2222", "b:2222"), ("a", 2223)),
        (("a:2222", "a:2223", "a:2224"), ("a", 2225)),
        (("a:65535", "b:65534"), ("a", 65533)),
        (("[fd00::1]:2222", "[fd00::2]:2222"), ("fd00::1", 2223)),
    ],
)
def test_control_port_is_one_that_no_process_uses(addresses, control):
    assert Cluster(addresses, 0).control_address == Cluster(addresses, 1).control_address == control


@pytest.mark.parametrize("environ", [tf_config(), OWN, SLURM], ids=["TF_CONFIG", "own", "SLURM"])
def test_cluster_that_is_not_used_is_said_in_one_line(environ):
    note = ignored_cluster(environ)

    assert "multi_worker" in note
    assert "\n" not in note


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": "{}"}, {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}])
def test_nothing_is_said_where_no_cluster_is_announced(environ):
    assert ignored_cluster(environ) is None

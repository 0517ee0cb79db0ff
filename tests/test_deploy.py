"""The files in deploy/, as far as they can be checked without a cluster: form, options, and scripts with stand-ins."""

import itertools
import os
import re
import shlex
import signal
import subprocess

import pytest
import typer
from ruamel.yaml import YAML

from transferkit.cli.app import app
from transferkit.train.cluster import Cluster, find_cluster

FILES = ("kubeflow-tfjob.yaml", "slurm.sbatch", "tpu-vm.sh")
# Of `man sbatch`, those used.
SBATCH = {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node", "mem", "time", "output"}
SBATCH |= {"open-mode", "requeue", "signal"}


@pytest.fixture(scope="session")
def deploy(project_root):
    return project_root / "deploy"


@pytest.fixture
def run_script(tmp_path):
    """Runs a script with stand-ins on PATH; `stand_ins`: name -> shell lines."""

    def start(script, *arguments, stand_ins, **environ):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, lines in stand_ins.items():
            (folder / name).write_text(f"#!/bin/bash\n{lines}\n")
            (folder / name).chmod(0o755)
        return subprocess.Popen(
            ["bash", "-c", script, *arguments] if "\n" in script else ["bash", script, *arguments],
            env={"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), **environ},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def end_of(process):
    output, _ = process.communicate(timeout=10)
    return process.returncode, output


def commands_in(text):
    """Arguments of every `transferkit …` command."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^[^#\n]*\btransferkit (finetune .*)$", joined, re.MULTILINE)
    return [shlex.split(re.sub(r"(\|\||&)\s*.*$", "", line), comments=True) for line in lines]


@pytest.mark.parametrize("name", [*FILES, "README.md"])
def test_commands_use_only_options_that_exist(deploy, name):
    verbs = typer.main.get_command(app).commands

    commands = commands_in((deploy / name).read_text())

    assert commands
    for verb, *arguments in commands:
        known = {option for parameter in verbs[verb].params for option in parameter.opts}
        assert {one for one in arguments if one.startswith("--")} <= known


@pytest.mark.parametrize("name", FILES)
def test_command_names_a_run_folder_so_that_it_begins_a_run_or_goes_on(deploy, name):
    (command,) = commands_in((deploy / name).read_text())

    assert "--run-dir" in command
    # It would refuse to begin one.
    assert "--resume" not in command


@pytest.mark.parametrize("name", FILES)
def test_file_says_first_how_it_is_used_and_what_was_not_tried(deploy, name):
    lines = (deploy / name).read_text().removeprefix("#!/bin/bash\n").splitlines()

    comment = list(itertools.takewhile(lambda line: line.startswith("#"), lines))

    assert any(line.startswith("# Not tried: ") for line in comment)
    assert any(name in line for line in comment)


@pytest.mark.parametrize("name", ["slurm.sbatch", "tpu-vm.sh"])
def test_script_is_well_formed(deploy, name):
    assert subprocess.run(["bash", "-n", deploy / name], capture_output=True).stderr == b""


@pytest.fixture(scope="session")
def kubeflow(deploy):
    return list(YAML(typ="safe").load_all(deploy / "kubeflow-tfjob.yaml"))


@pytest.fixture(scope="session")
def pod(kubeflow):
    return kubeflow[1]["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]


def test_kubeflow_s_job_has_what_the_operator_reads(kubeflow, pod):
    job = kubeflow[1]
    workers = job["spec"]["tfReplicaSpecs"]["Worker"]

    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert job["metadata"]["name"]
    assert list(job["spec"]["tfReplicaSpecs"]) == ["Worker"]
    assert workers["replicas"] >= 2
    assert workers["restartPolicy"] == "ExitCode"
    assert [container["name"] for container in pod["containers"]] == ["tensorflow"]


def test_kubeflow_s_pods_share_one_volume_that_many_may_write(kubeflow, pod):
    claim, container = kubeflow[0], pod["containers"][0]

    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"][:1]} == {"transferkit"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert all(item["value"].startswith("/shared") for item in container["env"])


def test_kubeflow_s_ports_are_the_engine_s_and_the_control_port(pod):
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    cluster = Cluster(tuple(f"transferkit-worker-{index}.default.svc:{ports['tfjob-port']}" for index in (0, 1)), 0)

    assert cluster.control_address[1] == ports["peers"]


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (2, 2), (1, 1), (75, 138), (143, 143)])
def test_kubeflow_s_operator_is_told_to_try_again_where_that_helps(pod, run_script, code, seen):
    (script,) = pod["containers"][0]["args"]

    process = run_script(script, stand_ins={"transferkit": f"sleep 0.1; exit {code}"})

    assert end_of(process) == (seen, "")
    assert (seen >= 128) == (code in (75, 143))


def test_kubeflow_s_stopped_pod_waits_for_the_checkpoint(pod, run_script):
    (script,) = pod["containers"][0]["args"]
    checkpoint = "trap 'sleep 0.3; echo checkpoint; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    process = run_script(script, stand_ins={"transferkit": checkpoint})
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGTERM)

    assert end_of(process) == (143, "checkpoint\n")


def test_slurm_s_directives_are_well_formed_and_stand_before_the_first_command(deploy):
    lines = (deploy / "slurm.sbatch").read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))

    directives = [line for line in lines if line.startswith("#SBATCH")]

    matches = [re.fullmatch(r"#SBATCH --([a-z-]+)(?:=\S+)?", line) for line in directives]
    assert all(matches)
    names = [match[1] for match in matches]
    assert set(names) == SBATCH
    assert len(names) == len(set(names))
    assert all(line not in directives for line in lines[first_command:])
    assert "#SBATCH --signal=TERM@60" in directives


SLURM = {"SLURM_JOB_ID": "77", "SLURM_SUBMIT_DIR": "/submit", "SLURM_CPUS_PER_TASK": "8"}


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [(0, 0, False), (2, 0, False), (1, 0, False), (75, 0, True), (143, 3, True), (75, 20, False)],
)
def test_slurm_s_job_is_queued_again_where_that_helps(deploy, run_script, code, restarts, again):
    stand_ins = {"srun": f"exit {code}", "scontrol": 'echo scontrol "$@"'}

    process = run_script(
        str(deploy / "slurm.sbatch"), "a.yaml", stand_ins=stand_ins, SLURM_RESTART_COUNT=str(restarts), **SLURM
    )

    assert end_of(process) == (code, "scontrol requeue 77\n" if again else "")


def test_slurm_s_job_goes_on_in_the_same_run_folder(deploy, run_script):
    stand_ins = {"srun": 'echo "$TRANSFERKIT_HOME" "$@"'}

    process = run_script(str(deploy / "slurm.sbatch"), "recipes/flowers.yaml", stand_ins=stand_ins, **SLURM)

    code, output = end_of(process)
    assert code == 0
    assert output.startswith("/submit/cache ")
    assert "finetune recipes/flowers.yaml" in output
    assert output.endswith("--run-dir /submit/runs/flowers-77\n")


METADATA = """
case "${@: -1}" in
  */worker-network-endpoints) echo -n "%s" ;;
  */agent-worker-number) echo -n 1 ;;
esac
"""


@pytest.mark.parametrize(
    "endpoints", ["10.0.0.1,10.0.0.2", "unknown:unknown:10.0.0.1,unknown:unknown:10.0.0.2"], ids=["names", "triples"]
)
def test_tpu_host_finds_its_place_in_the_slice(deploy, run_script, endpoints):
    stand_ins = {"curl": METADATA % endpoints, "transferkit": "env"}

    process = run_script(str(deploy / "tpu-vm.sh"), "a.yaml", stand_ins=stand_ins, ON_HOST="1")

    code, output = end_of(process)
    environ = dict(line.split("=", 1) for line in output.splitlines() if line.startswith("TRANSFERKIT_"))
    assert code == 0
    assert find_cluster(environ, strategy="tpu", backend="jax") == Cluster(("10.0.0.1:8476", "10.0.0.2:8476"), 1)
    assert environ["TRANSFERKIT_HOME"] == "/mnt/shared/cache"


@pytest.mark.parametrize(
    ("codes", "end"), [("75 75 0", 0), ("2", 2), ("143", 143)], ids=["peer died twice", "mistake", "taken away"]
)
def test_tpu_host_starts_again_where_that_helps(deploy, run_script, tmp_path, codes, end):
    (tmp_path / "codes").write_text("\n".join(codes.split()) + "\n")
    fake = 'code=$(head -n1 codes); sed -i 1d codes; echo "tried"; exit "$code"'
    stand_ins = {"curl": METADATA % "10.0.0.1", "transferkit": fake}

    process = run_script(str(deploy / "tpu-vm.sh"), "a.yaml", stand_ins=stand_ins, ON_HOST="1", RETRY_S="0")

    assert end_of(process) == (end, "tried\n" * len(codes.split()))


def test_tpu_slice_is_made_where_there_is_none_and_every_host_runs_the_recipe(deploy, run_script):
    stand_ins = {"gcloud": 'echo "$@"; [[ $4 != describe ]]'}

    process = run_script(
        str(deploy / "tpu-vm.sh"), "a.yaml", stand_ins=stand_ins, TPU="mine", ZONE="us-west4-a", NFS="10.0.0.9:/s"
    )

    code, output = end_of(process)
    assert code == 0
    create, copy, ssh = output.splitlines()
    assert create.startswith("compute tpus tpu-vm create mine --zone=us-west4-a --spot --accelerator-type=")
    assert copy.endswith("tpu-vm.sh mine:tpu-vm.sh --zone=us-west4-a --worker=all")
    assert ssh.endswith(
        "--worker=all --command=ON_HOST=1 NFS='10.0.0.9:/s' SHARED='/mnt/shared' bash tpu-vm.sh 'a.yaml'"
    )

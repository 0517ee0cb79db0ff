"""Two real processes on this machine, through the command: the same results as one, and no run lost."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.journey

RECIPE = """
name: pair
data:
  source: {{folder: {photos}}}
  image_size: 32
  batch_size: 7
  split: {{validation: 0.2, test: 0.1}}
model: {{backbone: efficientnet_lite0, weights: none, head: {{dropout: 0}}}}
phases:
  - {{name: warm-up, train: head, epochs: 2, learning_rate: 3e-3}}
  - {{name: fine-tune, train: {{from_layer: final_conv}}, epochs: 6, learning_rate: 1e-2, optimizer: sgd}}
checkpoint: {{every: 2 steps}}
"""
# A killed peer must be noticed within a minute; a machine that is busy with other tests needs longer for the rest.
NOTICED_S, PATIENCE_S = 60, 300


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def command(recipe: Path, run_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "transferkit", "finetune", str(recipe), "--run-dir", str(run_dir), *options]


def weights_in(run_dir: Path) -> dict[str, np.ndarray]:
    """The arrays of a saved model, read without Keras."""
    found: dict[str, np.ndarray] = {}

    def collect(name: str, one: object) -> None:
        if isinstance(one, h5py.Dataset):
            found[name] = np.array(one)

    with zipfile.ZipFile(run_dir / "model.keras") as archive, archive.open("model.weights.h5") as file:
        h5py.File(file).visititems(collect)
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory, session_folder_maker):
    """A folder with a recipe, and the recipe's own feature store for each run."""
    root = tmp_path_factory.mktemp("pair")
    photos = session_folder_maker(root / "photos", classes=3, each=20)
    (root / "pair.yaml").write_text(RECIPE.format(photos=photos))
    return root


@pytest.fixture(scope="module")
def start(place):
    """`start(name, *options)`: a run in the folder `name`, with a feature store of that name."""
    started = []

    def make(name: str, *options: str, **variables: str) -> subprocess.Popen:
        home = {"TRANSFERKIT_HOME": str(place / f"{name}-store"), "COLUMNS": "200"}
        environ = {**os.environ, **home, **variables}
        process = subprocess.Popen(
            command(place / "pair.yaml", place / name, *options),
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield make
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=90)


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    return output


def wait_for_checkpoint(process: subprocess.Popen, run_dir: Path, number: int) -> None:
    """Until a checkpoint of this number or a later one is there."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not any(int(path.stem[-6:]) >= number for path in run_dir.glob("checkpoints/checkpoint-*.npz")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline_s, "no checkpoint"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(place, start):
    finished(start("alone"))
    return place / "alone"


@pytest.fixture(scope="module")
def pair(place, start):
    finished(start("pair", "--workers", "2"))
    return place / "pair"


@pytest.fixture(scope="module")
def disturbed(place, start):
    """A run of two whose worker was killed, which was then told to stop, and then went on to its end."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    threads = str(max(1, os.cpu_count() // 2))  # as the launcher of `pair` has it, since sums depend on it
    chief, worker = (
        start(
            "disturbed",
            *("--set", "runtime.strategy=multi_worker"),
            TRANSFERKIT_CLUSTER=addresses,
            TRANSFERKIT_PROCESS=str(index),
            **dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), threads),
        )
        for index in range(2)
    )
    wait_for_checkpoint(chief, place / "disturbed", 7)
    worker.kill()
    killed_s = time.monotonic()
    after_kill, _ = chief.communicate(timeout=PATIENCE_S)
    noticed_s = time.monotonic() - killed_s

    stopped = start("disturbed", "--workers", "2", "--resume")
    wait_for_checkpoint(stopped, place / "disturbed", 12)
    stopped.send_signal(signal.SIGTERM)
    after_stop, _ = stopped.communicate(timeout=PATIENCE_S)

    last = finished(start("disturbed", "--workers", "2", "--resume"))
    return {
        "run_dir": place / "disturbed",
        "kill": (chief.returncode, noticed_s, after_kill),
        "stop": (stopped.returncode, after_stop),
        "last": last,
    }


def test_two_processes_end_with_the_weights_of_one(alone, pair):
    one, two = weights_in(alone), weights_in(pair)

    assert one.keys() == two.keys()
    # Sums over replicas are added in another order.
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 1e-6


def test_two_processes_write_the_history_of_one(alone, pair):
    one, two = rows_of(alone / "history.csv"), rows_of(pair / "history.csv")

    assert [row["phase"] for row in one] == [row["phase"] for row in two] == ["warm-up"] * 2 + ["fine-tune"] * 6
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose([float(a[name]) for a in one], [float(b[name]) for b in two], atol=1e-6)


def test_two_processes_predict_every_picture_once_in_order(alone, pair):
    one, two = rows_of(alone / "predictions.csv"), rows_of(pair / "predictions.csv")

    assert [row["path"] for row in one] == [row["path"] for row in two]
    assert len({row["path"] for row in two}) == len(two) == 18


def test_two_processes_share_one_feature_store(place, alone, pair):
    def sizes(name):
        return sorted(path.stat().st_size for path in (place / f"{name}-store").rglob("rows.bin"))

    assert sizes("pair") == sizes("alone") != []


def test_killed_worker_ends_the_other_process_within_a_minute_with_what_to_do(disturbed):
    code, noticed_s, output = disturbed["kill"]

    assert code == 75
    assert noticed_s < NOTICED_S
    assert "start the same command with --resume on every machine" in output


def test_sigterm_to_the_launcher_leaves_a_checkpoint_and_ends_with_143(disturbed):
    code, output = disturbed["stop"]

    assert code == 143, output
    assert "Traceback" not in output


def test_run_that_lost_a_worker_and_was_stopped_ends_bit_equal_to_one_that_was_not(pair, disturbed):
    one, two = weights_in(pair), weights_in(disturbed["run_dir"])

    assert "going on after" in disturbed["last"]
    assert all(np.array_equal(one[name], two[name]) for name in one)
    for name in ("history.csv", "predictions.csv", "results.json"):
        assert (pair / name).read_bytes() == (disturbed["run_dir"] / name).read_bytes()


@pytest.mark.parametrize("index", [0, 1], ids=["worker is missing", "chief is missing"])
def test_missing_process_ends_the_run_with_75_and_what_to_do(place, index):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    program = (
        "import functools, transferkit.train.peers as peers, transferkit.cli.app as app;"
        "peers.meet_peers = functools.partial(peers.meet_peers, timeout_s=2); app.main()"
    )
    arguments = command(place / "pair.yaml", place / "missing", "--set", "runtime.strategy=multi_worker")[3:]
    environ = {"TRANSFERKIT_CLUSTER": ",".join(addresses), "TRANSFERKIT_PROCESS": str(index)}

    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 75, done.stderr
    assert f"process {1 - index} ({addresses[1 - index]}) is missing" in done.stderr
    assert "add --resume" in done.stderr
    assert not (place / "missing").exists()


@pytest.mark.parametrize("strategy", ["single", "mirrored"])
def test_workers_with_a_strategy_for_one_process_are_refused(place, start, strategy):
    process = start("refused", "--workers", "2", "--set", f"runtime.strategy={strategy}")
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert f"runtime.strategy is {strategy}" in output
    assert "multi_worker" in output

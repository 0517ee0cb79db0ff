"""A run that is killed, told to stop or interrupted, as a user meets it. benchmarks/soak.py is the long form."""

import hashlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import pytest

from transferkit import FineTuner
from transferkit.errors import CheckpointError, RunFolderError
from transferkit.progress import Quiet

pytestmark = pytest.mark.journey

RECIPE = """
name: small
data:
  source: {folder: photos}
  split: {validation: 0.25, test: 0.25}
  image_size: 32
  batch_size: 8
model: {weights: none, backbone: efficientnet_lite0, head: {dropout: 0.3}}
augment: [{flip: horizontal}, {rotate: {degrees: 20}}]
phases:
  - {name: warm-up, train: head, epochs: 4, learning_rate: 1e-2, augment: false, ema: 0.5,
     early_stopping: {patience: 2}}
  - {name: fine-tune, train: {last_stages: 1}, epochs: 4, learning_rate: 1e-2, optimizer: {name: sgd, momentum: 0.9},
     batch_norm: train, schedule: {plateau: {patience: 1}}}
checkpoint: {every: 3 steps}
"""


def compared(run_dir):
    """SHA-256 of what must be equal; of the model the arrays, since its file holds times."""
    digests = {
        name: hashlib.sha256((run_dir / name).read_bytes()).hexdigest()
        for name in ("history.csv", "results.json", "predictions.csv")
    }
    weights = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            weights.update(f"{name} {item.shape} ".encode() + item[()].tobytes())

    with zipfile.ZipFile(run_dir / "model.keras") as archive:
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))).visititems(add)
    return {**digests, "weights": weights.hexdigest()}


class Command:
    """`transferkit …` in a folder, with a feature cache of its own."""

    def __init__(self, root, arguments):
        environment = {**os.environ, "TRANSFERKIT_HOME": str(root / "cache"), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "transferkit", *arguments],
            cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.output = ""

    def until(self, text):
        """Wait for a line that holds `text`."""
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(f"{text!r} was never said:\n{self.output}")

    def end(self, number=None):
        """The exit code and the whole output, after a signal or without one."""
        if number:
            self.process.send_signal(number)
        self.output += self.process.stdout.read()
        return self.process.wait(120), self.output


@pytest.fixture(scope="module")
def begun(tmp_path_factory, session_folder_maker):
    """`begun(name)`: a folder with pictures and a recipe of them."""

    def begin(name):
        root = tmp_path_factory.mktemp(name)
        session_folder_maker(root / "photos", classes=3, each=16)
        (root / "small.yaml").write_text(RECIPE)
        return root

    return begin


@pytest.fixture(scope="module")
def ended_run(begun):
    """A run that met SIGKILL, SIGKILL, SIGTERM and SIGKILL at different places before it came to its end."""
    root = begun("ended")
    run = root / "a run"
    arguments = ["finetune", "small.yaml", "--run-dir", "a run"]
    found = {"root": root, "run": run}

    command = Command(root, arguments)
    command.until("features of the frozen part, train")
    assert command.end(signal.SIGKILL)[0] == -signal.SIGKILL
    command = Command(root, arguments)
    command.until("epoch 2 of 8")
    assert command.end(signal.SIGKILL)[0] == -signal.SIGKILL
    command = Command(root, [*arguments, "--resume"])
    command.until("fine-tune  loss")
    start_s = time.monotonic()
    found["term"] = command.end(signal.SIGTERM)
    found["term_s"] = time.monotonic() - start_s
    found["after_term"] = sorted(path.name for path in run.rglob("*"))
    said = shlex.split(found["term"][1].splitlines()[-1])
    command = Command(root, said[1:])
    command.until("going on after")
    found["went_on"] = command.output.splitlines()[-1]
    deadline_s = time.monotonic() + 120
    while not (run / "model.keras").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert command.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (run / "results.json").exists()
    found["end"] = Command(root, arguments).end()
    return found


def test_a_killed_and_stopped_run_has_the_weights_history_and_results_of_an_undisturbed_one(ended_run, begun):
    root = begun("undisturbed")

    code, output = Command(root, ["finetune", "small.yaml", "--run-dir", "a run"]).end()

    assert code == 0, output
    assert ended_run["end"][0] == 0, ended_run["end"][1]
    assert compared(ended_run["run"]) == compared(root / "a run")


def test_sigterm_writes_a_checkpoint_within_seconds_and_says_how_to_go_on(ended_run):
    code, output = ended_run["term"]

    assert code == 143
    assert ended_run["term_s"] < 30  # one step and one file; machines in use are slow
    assert any(re.fullmatch(r"checkpoint-\d+\.npz", name) for name in ended_run["after_term"])
    assert output.endswith(
        "stopped by SIGTERM; go on with:\n  transferkit finetune small.yaml --run-dir 'a run' --resume\n"
    )
    assert "Traceback" not in output


def test_the_command_that_was_said_goes_on_after_the_epoch_that_was_told(ended_run):
    told = re.findall(r"^epoch (\d+) of 8", ended_run["term"][1], re.MULTILINE)[-1]

    epochs, steps = re.match(r"going on after (\d+) epochs and (\d+) steps", ended_run["went_on"]).groups()

    assert int(epochs) * 3 + int(steps) >= int(told) * 3


def test_a_finished_run_keeps_no_checkpoints_and_nothing_half_written(ended_run):
    names = [path.name for path in ended_run["run"].iterdir()]

    assert "results.json" in names
    assert "checkpoints" not in names
    assert not [name for name in names if "partial" in name or name.startswith(".")]


class Killed(BaseException):
    """What SIGKILL is to a process: nothing is written after it."""


class EndsAt(Quiet):
    """Progress that raises `how` at the first line or task that begins with `text`, or in its first step."""

    def __init__(self, text, how=Killed, after=1):
        self.text, self.how, self.left, self.inside = text, how, after, False

    def say(self, line):
        if line.startswith(self.text):
            raise self.how

    def task(self, what, total, unit=""):
        self.inside = what == self.text
        return super().task(what, total, unit)

    def advance(self, count=1, note=""):
        self.left -= self.inside
        if self.inside and self.left <= 0:
            raise self.how


@pytest.fixture(scope="module")
def tuner():
    """`tuner(photos)`: two epochs of a head."""

    def make(photos, **settings):
        phases = [{"name": "warm-up", "train": "head", "epochs": 2, "learning_rate": 1e-2}]
        data = {"source": {"folder": str(photos)}, "image_size": 32, "batch_size": 8,
                "split": {"validation": 0.25, "test": 0.25}}  # fmt: skip
        return FineTuner(data, name="small", model={"weights": "none"}, **{"phases": phases, **settings})

    return make


@pytest.fixture(scope="module")
def killed(begun, tuner):
    """A folder with pictures, and in runs/ one that was killed after its first epoch."""
    root = begun("killed")
    with pytest.raises(Killed):
        tuner(root / "photos").run(root / "runs" / "small-1", progress=EndsAt("epoch 2"))
    return root


def test_another_recipe_is_refused_with_the_difference(killed, tuner):
    with pytest.raises(RunFolderError, match="seed: 0 in the run, 1 asked"):
        tuner(killed / "photos", seed=1).run(killed / "runs" / "small-1", progress=Quiet())


def test_resume_without_a_folder_takes_the_newest_unfinished_run_of_the_recipe(killed, tuner, tmp_path, monkeypatch):
    shutil.copytree(killed / "runs", tmp_path / "runs")
    runs = tmp_path / "runs"
    for number, name in enumerate(["small-3", "small-2", "other"]):
        shutil.copytree(runs / "small-1", runs / name)
        os.utime(runs / name / "recipe.yaml", (2e9 - number, 2e9 - number))
    (runs / "small-3" / "results.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    result = tuner(killed / "photos").run(resume=True, progress=Quiet())

    assert result.run_dir.name == "small-2"
    assert [row.epoch for row in result.history] == [1, 2]
    assert (runs / "small-2" / "results.json").exists()


def test_resume_without_an_unfinished_run_of_the_recipe_is_refused(killed, tuner, monkeypatch):
    monkeypatch.chdir(killed)

    with pytest.raises(RunFolderError, match="no unfinished run of this recipe"):
        tuner(killed / "photos", seed=1).run(resume=True, progress=Quiet())


def test_changed_pictures_are_refused(killed, tuner, tmp_path):
    run = shutil.copytree(killed / "runs" / "small-1", tmp_path / "run")
    picture = killed / "photos" / "class_0" / "0.png"
    before = picture.read_bytes()
    shutil.copy(killed / "photos" / "class_0" / "1.png", picture)
    files = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}

    try:
        with pytest.raises(CheckpointError, match="the pictures, their classes, weights or splits"):
            tuner(killed / "photos").run(run, progress=Quiet())
    finally:
        picture.write_bytes(before)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == files


@pytest.mark.parametrize("every", ["1 steps", "1 epoch"])
def test_ctrl_c_in_the_first_epoch_keeps_the_run_if_there_is_a_checkpoint(begun, tuner, every, tmp_path):
    root = begun("interrupted")
    own = tuner(root / "photos", checkpoint={"every": every})

    result = own.run(tmp_path / "run", progress=EndsAt("warm-up", KeyboardInterrupt, after=3))

    assert result.interrupted
    assert (tmp_path / "run").exists() == (every == "1 steps")

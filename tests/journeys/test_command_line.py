"""The command line as a user meets it."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from transferkit.recipe.shipped import shipped_recipes

pytestmark = pytest.mark.journey

_NOISE = re.compile(r"^[IWEF]\d{4} |absl::InitializeLog|oneDNN|cuda", re.MULTILINE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, session_folder_maker, command):
    """`transferkit finetune` on an own folder: the shipped folder recipe with another data.source, small and short."""
    root = tmp_path_factory.mktemp("cli")
    folder = session_folder_maker(root / "my photos", classes=3, each=10)
    done = command(
        "finetune", shipped_recipes()["folder"], "--run-dir", "run",
        "--set", "data.source={folder: my photos}", "--set", "data.image_size=32",
        "--set", "phases[0].epochs=2", "--set", "phases[1].epochs=1", "--set", "phases[1].ramp_epochs=0",
        cwd=root,
    )  # fmt: skip
    return folder, root / "run", done


def test_finetune_ends_with_a_table_and_the_run_folder(ran):
    _, run_dir, done = ran

    assert done.returncode == 0, done.stderr
    assert re.search(r"^ ?test +\d+ +\d+\.\d%", done.stdout, re.MULTILINE)
    assert done.stdout.rstrip().endswith("run folder: run")
    assert (run_dir / "results.json").is_file()


def test_output_that_is_no_terminal_is_plain_lines(ran):
    _, _, done = ran

    assert "\x1b" not in done.stdout
    assert re.search(r"epoch 3 of 3  fine-tune  loss \d", done.stdout)


def test_tensorflow_s_own_lines_stay_away(ran):
    _, _, done = ran

    assert not _NOISE.search(done.stderr + done.stdout)
    assert done.stderr == ""


def test_predict_prints_json_csv_and_a_table(ran, command):
    folder, run_dir, _ = ran
    picture = folder / "class_2" / "3.png"

    as_json = command("predict", run_dir, picture, "--json")
    as_csv = command("predict", run_dir, folder / "class_2" / "*.png", "--csv")
    as_table = command("predict", run_dir, folder)

    entry = json.loads(as_json.stdout)[0]
    assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert len(rows) == 10
    own = next(row for row in rows if row["path"] == str(picture))
    assert float(own["probability class_2"]) == pytest.approx(entry["probabilities"]["class_2"], abs=1e-5)
    assert as_table.stdout.count(".png") == 30


def test_user_mistakes_are_one_plain_text_and_exit_code_2(ran, command, tmp_path):
    _, run_dir, _ = ran
    (tmp_path / "one" / "cats").mkdir(parents=True)
    cases = {
        "no such file": ("finetune", tmp_path / "nope.yaml"),
        "no such folder": ("finetune", "folder", "--set", "data.source={folder: nowhere}"),
        "not one picture": ("finetune", "folder", "--set", f"data.source={{folder: {tmp_path / 'one'}}}"),
        "--overwrite": ("finetune", "quickstart", "--run-dir", run_dir),
        "is not a known backbone": ("check", "quickstart", "--set", "model.backbone=resnet5"),
        "does not exist": ("predict", tmp_path / "nope", run_dir / "samples.png"),
        "no picture there": ("predict", run_dir, tmp_path / "nothing*.png"),
    }

    for says, arguments in cases.items():
        done = command(*arguments)
        assert done.returncode == 2, (says, done.stderr)
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) < 25


def test_our_own_mistakes_keep_their_traceback_and_exit_code_1(command, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import transferkit.check\n"
        "def broken(*_, **__): raise ZeroDivisionError\n"
        "transferkit.check.load_recipe = broken\n"
    )

    done = command("check", "quickstart", env={**os.environ, "PYTHONPATH": str(tmp_path)})

    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_ctrl_c_in_training_writes_what_is_there_and_says_how_far_it_came(tmp_path, folder_maker):
    folder = folder_maker(tmp_path / "photos", classes=2, each=30)
    changes = [f"data.source={{folder: {folder}}}", "data.image_size=32", "phases[0].epochs=5000",
               "phases[0].early_stopping=null"]  # fmt: skip
    # What runs in the background of a plain shell starts with interrupts ignored, and hands that down.
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", f"{interruptible}from transferkit.cli.app import main; main()",
         "finetune", "folder", "--run-dir", str(tmp_path / "run"),
         *(part for change in changes for part in ("--set", change))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch") and "   5 of" in line:
            break
    time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()

    assert process.wait(60) == 130, rest
    assert re.search(r"interrupted after \d+ whole epochs; the model of epoch \d+ is in", rest)
    assert "Traceback" not in rest
    assert (tmp_path / "run" / "model.keras").is_file()
    assert (tmp_path / "run" / "history.csv").is_file()


def test_another_keras_backend_is_a_clear_error(command):
    done = command("finetune", "quickstart", env={**os.environ, "KERAS_BACKEND": "jax"})

    assert done.returncode == 2
    assert "KERAS_BACKEND=tensorflow" in done.stderr


def test_weights_without_a_network_are_a_clear_error_within_15_s(command, ran, tmp_path):
    folder, _, _ = ran
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    start_s = time.monotonic()

    done = command(
        "finetune", "folder", "--set", f"data.source={{folder: {folder}}}", "--set", "model.backbone=vgg16",
        cwd=tmp_path, env={**os.environ, **nowhere, "HOME": str(tmp_path), "KERAS_HOME": str(tmp_path)},
    )  # fmt: skip

    assert done.returncode == 2
    assert "vgg16_weights" in done.stderr
    assert "--set model.weights=PATH" in done.stderr
    # The stated limit is 15 s for the network; starting TensorFlow and building the network come on top.
    assert time.monotonic() - start_s < 30
    assert not (tmp_path / "runs").exists()

"""What is wrong with a run folder is told before TensorFlow starts, which takes seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transferkit.bundle.run_folder import RESULTS
from transferkit.bundle.unfinished import open_run_dir
from transferkit.check import load_recipe
from transferkit.cli import quiet
from transferkit.cli.app import main
from transferkit.recipe.shipped import shipped_recipes

QUICKSTART = shipped_recipes()["quickstart"]
_RIGHTS = "-dac_override,-dac_read_search"
# What a command begins with so that files guard themselves from it, which they do from all but root anyway.
AS_ANYBODY = () if os.geteuid() else ("setpriv", f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}")


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """What the command says; it may not start the engine."""

    def start_engine(_):
        raise AssertionError("TensorFlow was started")

    monkeypatch.setattr(quiet, "start_engine", start_engine)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["transferkit", "finetune", "quickstart", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return run


def make_run(path, *changes, finished=False):
    with open_run_dir(path, recipe=load_recipe(QUICKSTART, changes)):
        if finished:
            (path / RESULTS).write_text("{}")


def forbid_writing(monkeypatch, name):
    """Into folders of that name; real permissions do not hold for everybody."""
    monkeypatch.setattr("os.access", lambda path, mode: not (Path(path).name == name and mode & os.W_OK))


@pytest.mark.parametrize("folds", [(), ("--kfold", "3")], ids=["one run", "folds"])
@pytest.mark.parametrize("path", ["file/deep/run", "forbidden/new"])
def test_a_folder_that_cannot_be_made(refused, tmp_path, monkeypatch, folds, path):
    (tmp_path / "file").touch()
    (tmp_path / "forbidden").mkdir()
    forbid_writing(monkeypatch, "forbidden")

    said = refused("--run-dir", path, *folds)

    reason = {"file": "is a file", "forbidden": "cannot be written to"}[path.split("/")[0]]
    assert f"cannot be made: {tmp_path / path.split('/')[0]} {reason}" in said
    assert not any((tmp_path / "forbidden").iterdir())


def test_a_folder_that_cannot_be_written_to_and_a_file(refused, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    make_run(tmp_path / "run")
    forbid_writing(monkeypatch, "run")

    assert "run cannot be read or written to" in refused("--run-dir", "run")
    assert "file is a file; it is left alone" in refused("--run-dir", "file")


@pytest.mark.skipif(AS_ANYBODY and not shutil.which("setpriv"), reason="needs setpriv, to run as less than root")
@pytest.mark.parametrize("folds", [(), ("--kfold", "3")], ids=["one run", "folds"])
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_below_one_that_is_really_forbidden(tmp_path, folds, mode):
    (tmp_path / "forbidden").mkdir(mode=mode)
    done = subprocess.run(
        [*AS_ANYBODY, sys.executable, "-m", "transferkit", "finetune", "quickstart", "--run-dir", "forbidden/run",
         *folds], cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 2
    assert f"cannot be made: {tmp_path / 'forbidden'} cannot be written to" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folds", [(), ("--kfold", "3")], ids=["one run", "folds"])
def test_a_folder_on_a_drive_that_is_not_there(refused, tmp_path, monkeypatch, folds):
    exists = os.path.exists
    drive = (tmp_path, *tmp_path.parents)
    monkeypatch.setattr("os.path.exists", lambda path: Path(path) not in drive and exists(path))

    assert f" cannot be made: there is no {tmp_path.anchor}. Name another" in refused("--run-dir", "run", *folds)


def test_a_finished_run(refused, tmp_path):
    make_run(tmp_path / "run", finished=True)

    assert "already holds a run" in refused("--run-dir", "run")
    assert "finished already" in refused("--run-dir", "run", "--resume")


def test_an_unfinished_run_of_another_recipe(refused, tmp_path):
    make_run(tmp_path / "run", "seed=7")

    assert "seed: 7 in the run, 0 asked" in refused("--run-dir", "run")


@pytest.mark.parametrize("folds", [(), ("--kfold", "3")], ids=["one run", "folds"])
def test_nothing_to_go_on_with(refused, folds):
    assert "runs/ holds no unfinished" in refused("--resume", *folds)


def test_folds_that_are_finished_or_of_another_recipe(refused, tmp_path):
    fold = ("data.split.fold=1/3", "seed=7")
    make_run(tmp_path / "folds" / "fold-1", *fold, finished=True)

    assert "holds a finished run" in refused("--kfold", "3", "--run-dir", "folds")
    assert "seed: 7 in the run, 0 asked" in refused("--kfold", "3", "--run-dir", "folds", "--resume")


@pytest.mark.parametrize(
    ("there", "found"), [("folds/fold-4", "fold-4, and so more than 3 folds"), ("folds", "a single run")]
)
def test_folds_in_a_folder_of_more_folds_or_of_a_single_run(refused, tmp_path, there, found):
    make_run(tmp_path / there)

    assert f"folds holds {found}" in refused("--kfold", "3", "--run-dir", "folds", "--overwrite")

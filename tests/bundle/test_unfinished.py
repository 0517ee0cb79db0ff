"""A run folder belongs to one process and one recipe; what a kill leaves of it goes on; nothing else is touched."""

import errno
import os
import signal
import subprocess
import sys
from datetime import datetime

import pytest

from transferkit.bundle import unfinished
from transferkit.bundle.run_folder import CHECKPOINTS, RECIPE, RESULTS, choose_run_dir, remove_run_dir, write_recipe
from transferkit.bundle.unfinished import (
    check_run_dir,
    find_unfinished,
    is_unfinished,
    open_run_dir,
    recipe_differences,
)
from transferkit.check import load_recipe
from transferkit.errors import RunFolderError
from transferkit.recipe.dump import recipe_to_yaml
from transferkit.recipe.shipped import shipped_recipes

# Opens the run folder of a recipe file, says whether the run goes on, and stays until it is killed or told to end.
HOLDER = """
import sys
from pathlib import Path
from transferkit.bundle.unfinished import open_run_dir
from transferkit.check import load_recipe
with open_run_dir(Path(sys.argv[1]), recipe=load_recipe(sys.argv[2])) as goes_on:
    print(goes_on, flush=True)
    sys.stdin.readline()
"""
# Opens the run folder and is killed in the middle of writing the recipe into it.
KILLED = """
import os, signal, sys
from pathlib import Path
from transferkit.bundle import unfinished
from transferkit.check import load_recipe
def killed(folder, recipe):
    (folder / ".recipe.yaml.partial").write_text("half a reci")
    os.kill(os.getpid(), signal.SIGKILL)
unfinished.write_recipe = killed
with unfinished.open_run_dir(Path(sys.argv[1]), recipe=load_recipe(sys.argv[2])):
    pass
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def asked(tmp_path, recipe):
    """The recipe as a file."""
    file = tmp_path / "asked.yaml"
    file.write_text(recipe_to_yaml(recipe))
    return file


@pytest.fixture
def hold(asked):
    """`hold(path)`: another process that has the run folder open, and whether the run in it goes on."""
    held = []

    def hold(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), str(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        held.append(process)
        return process, process.stdout.readline().strip()

    yield hold
    for process in held:
        process.kill()
        process.communicate()


# What a folder may be when a run asks for it.


def test_an_absent_and_an_empty_folder_begin_a_new_run(tmp_path, recipe):
    (tmp_path / "empty").mkdir()

    assert check_run_dir(tmp_path / "absent", recipe=recipe) is False
    assert check_run_dir(tmp_path / "empty", recipe=recipe) is False


def test_an_unfinished_run_of_the_same_recipe_goes_on(tmp_path, recipe, begin):
    path = begin(tmp_path / "run", recipe)

    assert check_run_dir(path, recipe=recipe) is True
    assert check_run_dir(path, recipe=recipe, resume=True) is True
    with open_run_dir(path, recipe=recipe) as goes_on:
        assert goes_on is True
        assert (path / "splits.csv").exists()


def test_an_unfinished_run_of_another_recipe_is_refused_with_the_differences(tmp_path, make_recipe, begin):
    path = begin(tmp_path / "run", make_recipe(seed=1))

    with pytest.raises(RunFolderError) as caught:
        check_run_dir(path, recipe=make_recipe(0.01), resume=True)

    assert "\n  seed: 1 in the run, 0 asked\n" in str(caught.value)
    assert "\n  phases[0].learning_rate: 0.001 in the run, 0.01 asked\n" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert "--run-dir" in str(caught.value)


def test_no_more_than_ten_differences_are_shown(tmp_path, make_recipe, begin):
    names = [{"name": f"p{number}", "train": "head", "epochs": 1, "learning_rate": 1e-3} for number in range(15)]
    path = begin(tmp_path / "run", make_recipe(phases=names))
    other = make_recipe(phases=[{**phase, "epochs": 2} for phase in names])

    with pytest.raises(RunFolderError) as caught:
        check_run_dir(path, recipe=other)

    assert str(caught.value).count("1 in the run, 2 asked") == 10
    assert "  and 5 more\n" in str(caught.value)


def test_a_finished_run_is_refused_and_resuming_it_says_that_it_is_finished(tmp_path, recipe, begin):
    path = begin(tmp_path / "run", recipe, finish=True)

    with pytest.raises(RunFolderError, match="already holds a run.*--overwrite"):
        check_run_dir(path, recipe=recipe)
    with pytest.raises(RunFolderError, match="is finished already"):
        check_run_dir(path, recipe=recipe, resume=True)


def test_resuming_where_there_is_no_run_is_refused(tmp_path, recipe):
    (tmp_path / "empty").mkdir()

    for path in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(RunFolderError, match="no run to go on with"):
            check_run_dir(path, recipe=recipe, resume=True)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("wish", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_what_is_no_run_folder_is_left_alone(wish, tmp_path, recipe):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "thesis", tmp_path / "file"):
        with pytest.raises(RunFolderError, match="left alone"), open_run_dir(path, recipe=recipe, **wish):
            pass

    assert names(tmp_path / "thesis") == ["chapter.txt"]


def test_overwrite_and_resume_exclude_each_other(tmp_path, recipe):
    with pytest.raises(RunFolderError, match="choose one"):
        check_run_dir(tmp_path / "run", recipe=recipe, overwrite=True, resume=True)


@pytest.mark.parametrize("finish", [True, False])
def test_overwrite_begins_anew_in_a_folder_without_anything_older(finish, tmp_path, make_recipe, begin):
    path = begin(tmp_path / "run", make_recipe(seed=1), finish=finish)
    (path / CHECKPOINTS).mkdir()
    (path / CHECKPOINTS / "checkpoint-000001.npz").write_bytes(b"")
    (path / "link").symlink_to(tmp_path)

    with open_run_dir(path, recipe=make_recipe(seed=2), overwrite=True) as goes_on:
        inside = names(path)

    assert goes_on is False
    assert inside == [".lock", RECIPE]
    assert recipe_differences(path, make_recipe(seed=2)) == ()
    assert tmp_path.exists()


def test_overwriting_that_is_cut_short_leaves_an_unfinished_run(tmp_path, recipe, begin, monkeypatch):
    path = begin(tmp_path / "run", recipe, finish=True)
    (path / CHECKPOINTS).mkdir()

    def cut_short(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("transferkit.bundle.run_folder.shutil.rmtree", cut_short)
    with pytest.raises(KeyboardInterrupt), open_run_dir(path, recipe=recipe, overwrite=True):
        pass

    assert is_unfinished(path)


# How a folder appears and who has it.


def test_a_new_folder_holds_its_recipe_and_its_parents_are_made(tmp_path, recipe):
    path = tmp_path / "runs" / "run"

    with open_run_dir(path, recipe=recipe) as goes_on:
        assert goes_on is False
        assert names(path) == [".lock", RECIPE]

    assert is_unfinished(path)
    assert names(path.parent) == ["run"]


def test_an_empty_folder_is_used_as_it_is(tmp_path, recipe):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "link").symlink_to(disk)

    with open_run_dir(tmp_path / "link", recipe=recipe) as goes_on:
        assert goes_on is False

    assert is_unfinished(disk)
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("exists", [True, False], ids=["empty folder", "new folder"])
def test_a_kill_while_the_folder_is_made_leaves_a_free_name(exists, tmp_path, recipe, asked):
    path = tmp_path / "runs" / "run"
    path.mkdir(parents=True) if exists else path.parent.mkdir()

    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(asked)])

    assert done.returncode == -signal.SIGKILL
    assert path.exists() == exists
    assert find_unfinished(path.parent, recipe) is None
    assert check_run_dir(path, recipe=recipe) is False
    with open_run_dir(path, recipe=recipe) as goes_on:
        assert goes_on is False
        assert names(path) == [".lock", RECIPE]


def test_a_second_process_is_kept_out_of_a_running_run(tmp_path, recipe, hold):
    path = tmp_path / "run"
    hold(path)

    with pytest.raises(RunFolderError, match="another process is at work"):
        check_run_dir(path, recipe=recipe)
    with (
        pytest.raises(RunFolderError, match="another process is at work"),
        open_run_dir(path, recipe=recipe, overwrite=True),
    ):
        pass


def test_a_killed_process_keeps_nobody_out_and_its_run_goes_on(tmp_path, recipe, hold):
    path = tmp_path / "run"
    process, first = hold(path)

    process.kill()
    process.wait()

    assert first == "False"
    with open_run_dir(path, recipe=recipe) as goes_on:
        assert goes_on is True


def test_of_processes_that_want_one_new_folder_one_gets_it(tmp_path, asked):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run"), str(asked)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    said = [process.stdout.readline() for process in processes]
    errors = [process.communicate("\n")[1] for process in processes]

    assert sorted(said)[:2] == ["", ""]
    assert sum("RunFolderError" in error for error in errors) == 2


def refuse_locks(monkeypatch, number):
    def acquire(lock, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(unfinished.FileLock, "acquire", acquire)


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, recipe, monkeypatch, caplog):
    refuse_locks(monkeypatch, errno.ENOLCK)

    with open_run_dir(tmp_path / "run", recipe=recipe):
        pass

    assert is_unfinished(tmp_path / "run")
    assert "without locks" in caplog.text


def test_a_run_that_may_not_be_written_to_is_a_clear_error(tmp_path, recipe, begin, monkeypatch):
    path = begin(tmp_path / "run", recipe)
    refuse_locks(monkeypatch, errno.EROFS)

    with pytest.raises(RunFolderError, match="run cannot be written to: Read-only file system. Allow writing"):
        check_run_dir(path, recipe=recipe)


def test_a_finished_run_keeps_no_lock(tmp_path, recipe, begin):
    path = begin(tmp_path / "run", recipe, finish=True)

    assert names(path) == [RECIPE, RESULTS, "splits.csv"]


def test_a_run_that_is_removed_frees_its_name(tmp_path, recipe):
    path = tmp_path / "run"

    with open_run_dir(path, recipe=recipe):
        (path / "samples.png").write_bytes(b"")
        remove_run_dir(path)

    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path, recipe):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(RunFolderError, match="file/run cannot be made: .*Name another --run-dir"),
        open_run_dir(tmp_path / "file" / "run", recipe=recipe),
    ):
        pass


# Finding a run again.


def test_the_run_that_began_last_with_the_same_recipe_is_found(tmp_path, make_recipe, recipe, begin):
    begun = [
        begin(tmp_path / "b", recipe),
        begin(tmp_path / "a", recipe),
        begin(tmp_path / "c", make_recipe(seed=1)),
        begin(tmp_path / "d", recipe, finish=True),
    ]
    for age, path in enumerate(begun):
        os.utime(path / RECIPE, (1000 + age, 1000 + age))
    (tmp_path / "e").mkdir()
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / RECIPE).write_text("an older kind of recipe")
    (tmp_path / "g").write_text("a file")

    assert find_unfinished(tmp_path, recipe) == tmp_path / "a"
    assert find_unfinished(tmp_path, make_recipe(seed=2)) is None
    assert find_unfinished(tmp_path / "nowhere", recipe) is None


def test_a_chosen_name_is_not_taken_yet(tmp_path, recipe, begin, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime(2024, 5, 6, 7, 8, 9)

    chosen = [begin(choose_run_dir("x", now), recipe).name for _ in range(3)]

    assert chosen == ["x-20240506-070809", "x-20240506-070809-2", "x-20240506-070809-3"]


# Comparing recipes.


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_a_shipped_recipe_differs_in_nothing_from_what_its_run_wrote(path, tmp_path):
    recipe = load_recipe(path)
    write_recipe(tmp_path, recipe)

    assert recipe_differences(tmp_path, recipe) == ()


def test_recipes_are_compared_as_values(tmp_path, recipe):
    text = recipe_to_yaml(recipe).replace("0.001", "1.0e-3").replace("seed: 0\n", "")
    (tmp_path / RECIPE).write_text(f"# written by hand\n{text}seed: 0x0\n")

    assert recipe_differences(tmp_path, recipe) == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 5}, "seed: 0 in the run, 5 asked"),
        ({"name": "other"}, "name: 'finetune' in the run, 'other' asked"),
        ({"augment": ["flip"]}, "augment[0]: not in the run, {'flip': {'direction': 'horizontal'}} asked"),
        ({"evaluate": ["validation"]}, "evaluate[1]: 'test' in the run, not asked"),
        ({"runtime": {"xla": "off"}}, "runtime.xla: 'auto' in the run, 'off' asked"),
        ({"cache": {"folder": "x"}}, "cache.folder: null in the run, 'x' asked"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_changed_value_is_one_line(changes, line, tmp_path, make_recipe, recipe):
    write_recipe(tmp_path, recipe)

    assert recipe_differences(tmp_path, make_recipe(**changes)) == (line,)


def test_a_recipe_of_another_version_says_so(tmp_path, recipe):
    text = recipe_to_yaml(recipe).replace("checkpoint:\n  every: 1 epoch\n", "")
    (tmp_path / RECIPE).write_text(text)

    found = recipe_differences(tmp_path, recipe)

    assert "another version of transferkit" in found[0]
    assert found[1:] == ("checkpoint: not in the run, {'every': '1 epoch'} asked",)


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"", b"text", b"- 1", b"a: 1\na: 2\n"], ids=repr)
def test_a_broken_recipe_is_a_difference_of_its_own(content, tmp_path, recipe):
    (tmp_path / RECIPE).write_bytes(content)

    assert recipe_differences(tmp_path, recipe)[0].startswith("recipe.yaml of the run ")

"""The command that a person reads after a run was stopped."""

import shlex

import pytest

from transferkit.bundle.unfinished import open_run_dir
from transferkit.check import load_recipe
from transferkit.cli.go_on import how_to_go_on
from transferkit.recipe.shipped import shipped_recipes

QUICKSTART = shipped_recipes()["quickstart"]
CHANGES = ("seed=3", "data.source={folder: my photos}")


@pytest.fixture
def recipe():
    return load_recipe(QUICKSTART, CHANGES)


def begin(run_dir, recipe):
    with open_run_dir(run_dir, recipe=recipe):
        pass


def test_an_unfinished_run_goes_on_with_every_change_quoted(recipe, tmp_path):
    begin(tmp_path / "my run", recipe)

    text = how_to_go_on(recipe, "quickstart", CHANGES, tmp_path / "my run")

    said, command = text.split(":\n  ")
    assert said == "go on with"
    assert shlex.split(command) == [
        "transferkit", "finetune", "quickstart", "--run-dir", str(tmp_path / "my run"), "--resume",
        "--set", CHANGES[0], "--set", CHANGES[1],
    ]  # fmt: skip


def test_without_a_folder_the_run_is_named_that_began_last(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin(tmp_path / "runs" / "one", recipe)
    begin(tmp_path / "runs" / "two", load_recipe(QUICKSTART))

    text = how_to_go_on(recipe, "quickstart", CHANGES, None)

    assert " --run-dir runs/one --resume " in text


@pytest.mark.parametrize("given", [True, False])
def test_where_nothing_is_there_the_command_begins_again(recipe, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "run" if given else None

    said, command = how_to_go_on(recipe, "quickstart", (), run_dir).split(":\n  ")

    assert said == "begin again with"
    assert "--resume" not in command
    assert ("--run-dir" in command) == given


def test_workers_of_this_machine_are_started_again_together(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CLUSTER", "127.0.0.1:12001,127.0.0.1:12002")
    monkeypatch.setenv("TRANSFERKIT_PROCESS", "0")
    changes = ("runtime.strategy=multi_worker",)

    text = how_to_go_on(load_recipe(QUICKSTART, changes), "quickstart", changes, tmp_path / "run")

    assert " --workers 2 " in text


def test_processes_on_several_machines_are_all_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CLUSTER", "node1:12001,node2:12001")
    monkeypatch.setenv("TRANSFERKIT_PROCESS", "0")
    changes = ("runtime.strategy=multi_worker",)

    text = how_to_go_on(load_recipe(QUICKSTART, changes), "quickstart", changes, tmp_path / "run")

    assert text.startswith("begin again, in every process of the run, with:\n")


def test_an_offline_run_goes_on_offline(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")

    text = how_to_go_on(recipe, "quickstart", (), None)

    assert text.endswith("transferkit finetune quickstart --offline")

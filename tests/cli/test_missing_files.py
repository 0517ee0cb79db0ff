"""What a recipe names and is not there is told before TensorFlow starts, which takes seconds."""

import sys

import pytest

from transferkit.cli import quiet
from transferkit.cli.app import main

COMMANDS = (("finetune",), ("finetune", "--kfold", "3"), ("plan",), ("doctor",), ("show",))
FAULTS = {
    "source: {folder: nowhere}": "nowhere: no such folder (looked from ",
    "source: {csv: nowhere.csv}": "nowhere.csv: no such file (looked from ",
    "source: {jsonl: .}": ".: a folder, not a table (looked from ",
    "source: sample, exclude: nowhere.txt": "data.exclude: nowhere.txt cannot be read: No such file",
    "source: sample, split: {manifest: nowhere.csv}": "data.split.manifest: nowhere.csv cannot be read: No such file",
}

# A manifest and folds exclude each other, which is told first.
CASES = [
    (command, fault) for command in COMMANDS for fault in FAULTS if not ("--kfold" in command and "manifest" in fault)
]


@pytest.mark.parametrize(("command", "fault"), CASES, ids=[f"{' '.join(one)}: {fault}" for one, fault in CASES])
def test_a_missing_file_is_told_before_the_engine_starts(monkeypatch, capsys, tmp_path, command, fault):
    def start_engine(_):
        raise AssertionError("TensorFlow was started")

    monkeypatch.setattr(quiet, "start_engine", start_engine)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(f"data: {{{fault}}}\n")
    monkeypatch.setattr(sys, "argv", ["transferkit", command[0], "recipe.yaml", *command[1:]])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert FAULTS[fault] in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.yaml"]

"""`transferkit predict`: its table, and run folders that are none."""

import re

import pytest
from rich.console import Console

from transferkit.bundle.finished import read_run_recipe
from transferkit.bundle.predictor import Prediction
from transferkit.cli.predict import _print_table
from transferkit.errors import RunFolderError

pytestmark = pytest.mark.model

PATH = "a folder/with a long name/and another one/picture 1.jpg"
GOOD = Prediction(PATH, ("a class with a name of many words",), {"a class with a name of many words": 0.9, "dog": 0.1})
BAD = Prediction("bad.jpg", (), {}, "it is no picture that can be read, since " + "this is told at length, " * 9)


@pytest.fixture
def printed(monkeypatch, capsys):
    """Lines of the table of some predictions, on a terminal or in a pipe, 80 columns wide."""

    def lines(*found, terminal=False):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(Console, "is_terminal", terminal)
        _print_table(found)
        return re.sub("\x1b[^m]*m", "", capsys.readouterr().out).splitlines()

    return lines


def test_picture_in_a_pipe_keeps_its_line_and_names(printed):
    lines = [line for line in printed(GOOD, BAD) if GOOD.class_name in line]

    assert len(lines) == 1
    assert "dog 10.0%" in lines[0]
    assert lines[0].rstrip().endswith(PATH)


def test_errors_are_told_below_the_table(printed):
    assert printed(GOOD, BAD)[-1] == f"bad.jpg: {BAD.error}"
    assert printed(BAD) == [f"bad.jpg: {BAD.error}"]


def test_long_name_on_a_terminal_leaves_room_for_the_path(printed):
    lines = printed(GOOD, terminal=True)

    assert max(map(len, lines)) <= 80
    assert any(PATH[:20] in line for line in lines)
    assert any(line.rstrip().endswith("picture 1.jpg") for line in lines)


@pytest.mark.parametrize("made", ["kfold.json", "fold-1"])
def test_folder_of_folds_is_refused_with_the_name_of_one(tmp_path, made):
    (tmp_path / made).mkdir()

    with pytest.raises(RunFolderError, match="Name one of them, such as .*fold-1"):
        read_run_recipe(tmp_path)


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="is not a finished run"):
        read_run_recipe(tmp_path)

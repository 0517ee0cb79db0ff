"""`transferkit predict`: its table, and run folders that are none."""

import csv
import io
import json
import os
import re
import sys

import pytest
from rich.console import Console

from transferkit.bundle.finished import read_run_recipe
from transferkit.bundle.predictor import Prediction
from transferkit.cli.predict import _as_text, _find_files, _print_csv, _print_json, _print_table
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


def test_name_that_would_move_the_cursor_is_printed_as_an_escape(printed):
    odd = Prediction("new\nline\x1b[31m.png", ("dog",), {"dog": 1.0})

    lines = printed(odd, Prediction("bad\n.jpg", (), {}, "empty file"))

    assert any(line.rstrip().endswith(r"new\nline\x1b[31m.png") for line in lines)
    assert lines[-1] == r"bad\n.jpg: empty file"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_is_valid_whatever_the_names_and_the_output_s_encoding(monkeypatch, encoding):
    names = [_as_text(os.fsdecode(name)) for name in (b"bad\xff.png", 'ü\n\x1b😀".png'.encode())]
    found = [Prediction(names[0], ("größe",), {"größe": 1.0}), Prediction(names[1], (), {}, "it is no „picture“")]
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", written)

    _print_json(found, multi_label=False)

    written.flush()
    assert json.loads(written.buffer.getvalue().decode(encoding)) == [
        {"path": r"bad\xff.png", "class": "größe", "probabilities": {"größe": 1.0}},
        {"path": 'ü\n\x1b😀".png', "error": "it is no „picture“"},
    ]


def test_table_of_values_keeps_one_row_for_each_picture(capsys):
    odd = Prediction('new\nline, "x".png', ("dog",), {"dog": 0.75, "cat": 0.25})

    _print_csv([BAD, odd], ["cat", "dog"])

    rows = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert rows[1:] == [[BAD.path, "", BAD.error, "", ""], [odd.path, "dog", "", "0.25", "0.75"]]


def test_files_keep_the_order_in_which_they_are_named(picture_folder, monkeypatch):
    monkeypatch.chdir(picture_folder)
    named = ["class_2/5.png", "nowhere.png", "class_1/[3].png", "class_0", "class_1/*.png", "class_2/5.png"]
    (picture_folder / "class_1" / "3.png").rename(picture_folder / "class_1" / "[3].png")

    files = [str(file) for file in _find_files(named)]

    folder = [f"class_0/{number}.png" for number in range(8)]
    matched = [f"class_1/{name}.png" for name in (0, 1, 2, 4, 5, 6, 7, "[3]")]
    assert files == ["class_2/5.png", "nowhere.png", "class_1/[3].png", *folder, *matched, "class_2/5.png"]


@pytest.mark.parametrize("made", ["kfold.json", "fold-1"])
def test_folder_of_folds_is_refused_with_the_name_of_one(tmp_path, made):
    (tmp_path / made).mkdir()

    with pytest.raises(RunFolderError, match="Name one of them, such as .*fold-1"):
        read_run_recipe(tmp_path)


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="is not a finished run"):
        read_run_recipe(tmp_path)

"""Warnings and findings of several runs, said once."""

import pytest

from transferkit.progress import Quiet
from transferkit.studies.once import OnceInAllRuns


class Told(Quiet):
    """Keeps the lines that it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def tell(*runs):
    """What passes of the lines of each run."""
    told, found = Told(), []
    once = OnceInAllRuns(told)
    for lines in runs:
        once.begin_run()
        for line in lines:
            once.say(line)
        found.append(told.lines)
        told.lines = []
    return found


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("warning: 12 of 114 pictures (11%) are left out", "warning: 9 of 114 pictures (8%) are left out"),
        ("data, blocking: leakage: 10 test pictures", "data, blocking: leakage: 7 test and 1 validation picture"),
        ("data, warning: 'a' has 9 times as many as 'b'", "data, warning: 'c' has 3 times as many as 'b'"),
        ("data, warning: 3 classes with few: a, b, c", "data, warning: 2 classes with few: a, b"),
        ("data: leakage is not looked for", "data: leakage is not looked for"),
    ],
)
def test_what_an_earlier_run_told_is_not_told_with_other_numbers(first, later):
    assert tell([first], [later]) == [[first], []]


def test_lines_that_go_on_share_the_fate_of_the_one_before():
    leak, advice = "data, blocking: leakage: 1 test picture", "  data.duplicates: group keeps them together"
    new, its_advice = "data, warning: 7 pairs look the same", "  Another seed could part them"

    assert tell([leak, advice], [leak, advice, new, its_advice]) == [[leak, advice], [new, its_advice]]


def test_a_run_tells_all_of_its_own():
    lines = [f"warning: phases[{index}]: 5 views are stored" for index in range(2)]

    assert tell(lines, lines) == [lines, []]


def test_what_is_no_warning_is_told_by_every_run():
    lines = ["data: 100 pictures in 6 classes", "phase warm-up: 2 epochs", "epoch 1 of 2  loss 4.9"]

    assert tell(lines, lines) == [lines, lines]

"""What several runs remark on alike, said once."""

import logging

import pytest

from transferkit.doctor.findings import Finding
from transferkit.doctor.quick import describe_findings
from transferkit.progress import Quiet, Remark
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


def finding(kind, title):
    return Finding(kind, "warning", title, meaning="It matters.", advice=f"Mend the {kind}.")


def log_record(name, message, *arguments):
    return logging.LogRecord(name, logging.WARNING, "", 0, message, arguments, None)


def test_what_an_earlier_run_remarked_on_is_not_told_with_other_numbers():
    first, later = (Remark(f"warning: {count} of 114 pictures are left out") for count in (12, 9))

    assert tell([first], [later]) == [[first], []]


def test_a_remark_on_something_else_is_told_by_a_later_run():
    first, later = (Remark(f"warning: {name} is left out") for name in ("roses", "tulips"))

    assert tell([first], [first, later]) == [[first], [later]]


def test_a_finding_is_told_once_with_its_advice_whatever_it_names():
    first = list(describe_findings([finding("few_pictures", "'a' has 9 pictures")]))
    later = list(describe_findings([finding("few_pictures", "'c' and 'd' have 3"), finding("leakage", "7 pairs")]))

    assert tell(first, later) == [first, later[2:]]


def test_a_run_tells_all_of_its_own():
    lines = [Remark(f"warning: phases[{index}]: 5 views are stored") for index in range(2)]

    assert tell(lines, lines) == [lines, []]


@pytest.mark.parametrize(
    "line",
    [
        "warning: validation of epoch 3 is far above training",
        "warning: frozen variables have changed: conv1",
        "data: 100 pictures in 6 classes",
        "epoch 1 of 2  loss 4.9",
    ],
)
def test_what_is_no_remark_is_told_by_every_run(line):
    assert tell([line], [line]) == [[line], [line]]


def test_log_lines_of_the_data_are_told_by_the_first_run_alone_and_others_by_all():
    once = OnceInAllRuns(Quiet())
    of_data = log_record("transferkit.data.classes", "%s: one class has no picture", "photos")
    of_training = log_record("transferkit.train.checkpoint", "checkpoint is damaged")

    shown = []
    for _ in range(2):
        once.begin_run()
        shown.append([once.filter(record) for record in (of_data, of_data, of_training)])

    assert shown == [[True, True, True], [False, False, True]]

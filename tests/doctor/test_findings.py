"""The small things that every finding needs."""

import pytest

from transferkit.doctor.findings import Finding, by_severity, counted, has_blocking, printable


def finding(kind: str, severity: str) -> Finding:
    return Finding(kind, severity, "title", "meaning", "advice")


def test_findings_are_ordered_by_severity_and_otherwise_stay():
    given = [finding("a", "note"), finding("b", "blocking"), finding("c", "note"), finding("d", "warning")]

    assert [one.kind for one in by_severity(given)] == ["b", "d", "a", "c"]


def test_leakage_stands_before_all_other_findings():
    given = [finding(kind, "blocking") for kind in ("copies_in_classes", "copies_across_splits", "leakage")]

    assert [one.kind for one in by_severity(given)] == ["leakage", "copies_across_splits", "copies_in_classes"]


def test_only_a_blocking_finding_blocks():
    assert not has_blocking([finding("a", "note"), finding("b", "warning")])
    assert has_blocking([finding("a", "note"), finding("b", "blocking")])


@pytest.mark.parametrize(("num", "text"), [(0, "0 classes"), (1, "1 class"), (1200, "1,200 classes")])
def test_counts_agree_with_their_noun(num, text):
    assert counted(num, "class", "classes") == text


def test_what_cannot_be_seen_becomes_an_escape():
    assert printable("a\nb\x1b[31m\u202e é 猫") == "a\\nb\\x1b[31m\\u202e é 猫"

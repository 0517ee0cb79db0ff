"""1,000 pictures with 60 planted problems and 25 near copies across splits."""

import html
import json
from itertools import chain

import pytest

from transferkit.check import check_draft
from transferkit.doctor.examine import Examination, examine
from transferkit.doctor.page import render_page
from transferkit.doctor.record import record_of
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values

MIN_FOUND, MAX_FALSE = 23, 5


@pytest.fixture(scope="module")
def examination(planted) -> Examination:
    recipe = check_draft(draft_values({"data": {"source": {"folder": str(planted.root)}}}, source="test"))
    return examine(recipe, quick=True, progress=Quiet())


def paths_of(examination: Examination, kind: str) -> set[str]:
    pictures = chain.from_iterable(one.pictures for one in examination.findings if one.kind == kind)
    return {path for one in pictures for path in (one.path, one.partner) if path}


def test_every_planted_problem_is_found(planted, examination):
    missing = [path for path, kind in planted.problems.items() if path not in paths_of(examination, kind)]

    assert missing == []


def test_no_sound_picture_is_called_unreadable_or_empty(planted, examination):
    for kind in ("unreadable", "constant", "tiny"):
        assert {path for path in paths_of(examination, kind) if planted.problems.get(path) != kind} <= set(
            planted.problems
        )


def test_nearly_all_copies_across_splits_are_found_and_hardly_anything_else(planted, examination):
    found = {
        frozenset((one.path, one.partner))
        for finding in examination.findings
        if finding.kind in ("leakage", "label_conflict", "alike")
        for one in finding.pictures
    }

    assert len(found & planted.pairs) >= MIN_FOUND
    assert len(found - planted.pairs) <= MAX_FALSE


def test_leakage_comes_first_and_leaves_out_the_training_side(planted, examination):
    leakage = examination.findings[0]

    assert (leakage.kind, leakage.severity) == ("leakage", "blocking")
    assert {one.path.split("/")[0] for one in leakage.exclude} <= {"train", "validation"}


def test_the_record_leaves_out_every_unreadable_picture(planted, examination):
    record = json.loads(json.dumps(record_of(examination)))

    left_out = {one["path"] for one in record["exclude"]}
    assert {path for path, kind in planted.problems.items() if kind == "unreadable"} <= left_out


def test_the_page_needs_nothing_from_elsewhere_and_is_of_moderate_size(planted, examination):
    page = render_page(examination, json_path="doctor-planted/doctor.json")

    assert len(page) < 5_000_000
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert html.escape('it\'s "odd"\\n–ü.jpg').replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page


@pytest.mark.model
def test_fine_tuning_completes_and_names_what_is_wrong(planted, tmp_path):
    from transferkit import FineTuner

    tuner = FineTuner(
        {"source": {"folder": str(planted.root)}, "image_size": 32, "batch_size": 64},
        model={"weights": "none"},
        phases=[{"name": "head", "train": "head", "epochs": 1, "learning_rate": 1e-3}],
        cache={"folder": str(tmp_path / "cache")},
    )

    result = tuner.run(tmp_path / "run", progress=Quiet())

    assert set(result.report) == {"validation", "test"}
    skipped = (tmp_path / "run" / "skipped.csv").read_text("utf-8")
    unreadable = [path for path, kind in planted.problems.items() if kind == "unreadable" and '"' not in path]
    assert [path for path in unreadable if path not in skipped] == []
    findings = json.loads((tmp_path / "run" / "data_findings.json").read_text("utf-8"))
    leaked = {frozenset((one["path"], one["partner"])) for one in findings[0]["pictures"]}
    assert findings[0]["kind"] == "leakage"
    assert len(leaked & planted.pairs) >= 20  # of 25; the middle of a picture, at 32 px, is less to go by
    assert len(leaked - planted.pairs) <= MAX_FALSE

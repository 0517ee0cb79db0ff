"""All folds as runs of their own, and what they come to."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from transferkit import FineTuner
from transferkit.bundle.run_folder import RESULTS
from transferkit.errors import DataError, RecipeError, RunFolderError
from transferkit.progress import Quiet
from transferkit.studies.kfold import _check_parts, _of_fold, run_folds
from transferkit.studies.pooled import pool_predictions

SETTINGS = {
    "model": {"backbone": "toy", "weights": "none"},
    "phases": [{"name": "warm-up", "train": "head", "epochs": 1, "learning_rate": 1e-2, "augment": False}],
    "evaluate": ["validation"],
}


def tuner_of(folder, **settings):
    data = {"source": {"folder": str(folder)}, "image_size": 32, "batch_size": 8, "split": {"validation": 0.25}}
    return FineTuner({**data, **settings.pop("data", {})}, **{**SETTINGS, **settings})


class Told(Quiet):
    """Keeps the lines that it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def done(tmp_path_factory, session_folder_maker):
    """Two folds of 3 classes of 8 pictures: (tuner, result, lines)."""
    root, told = tmp_path_factory.mktemp("folds"), Told()
    tuner = tuner_of(session_folder_maker(root / "photos"))
    return tuner, run_folds(tuner, 2, root / "out", progress=told), told.lines


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.model
def test_every_picture_is_tested_once_by_a_run_that_did_not_train_on_it(done):
    _, result, _ = done

    tested = []
    for number in (1, 2):
        splits = {row["path"]: row["split"] for row in rows_of(result.run_dir / f"fold-{number}" / "splits.csv")}
        assert len(splits) == 24
        tested += [path for path, split in splits.items() if split == "test"]
    assert len(tested) == len(set(tested)) == 24


@pytest.mark.model
def test_files_hold_each_fold_the_mean_and_all_predictions_together(done):
    _, result, _ = done

    stored = json.loads((result.run_dir / "kfold.json").read_text())
    reports = [json.loads((result.run_dir / f"fold-{n}" / RESULTS).read_text())["test"] for n in (1, 2)]
    accuracies = [report["accuracy"] for report in reports]
    assert stored["metrics"]["accuracy"]["folds"] == accuracies
    assert stored["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert stored["metrics"]["accuracy"]["standard_deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    # Parts of equal size: their mean is the accuracy of all.
    assert stored["num_images"] == [12, 12]
    assert stored["metrics"]["accuracy"]["together"] == pytest.approx(np.mean(accuracies))
    assert stored["metrics"]["log_loss"]["together"] == pytest.approx(np.mean([one["log_loss"] for one in reports]))
    table = rows_of(result.run_dir / "kfold.csv")
    assert [row["fold"] for row in table] == ["1", "2", "mean", "standard deviation", "together"]
    assert set(table[0]) == {"fold", "images", "accuracy", "balanced_accuracy", "macro_f1", "log_loss"}


@pytest.mark.model
def test_a_later_fold_prepares_nothing_and_computes_only_features_of_what_tested_before(done):
    _, _, lines = done

    second = lines[lines.index("fold 2 of 2") :]
    assert any("all 24 are stored already" in line for line in second if line.startswith("prepared"))
    train = next(line for line in second if line.startswith("features") and "train" in line)
    assert "12 pictures to compute" not in train


@pytest.mark.model
def test_what_each_fold_finds_is_said_once_and_kept_by_each(done):
    _, result, lines = done

    found = [line for line in lines if line.startswith("data, warning: ")]

    assert found
    assert not [line for line in lines[lines.index("fold 2 of 2") :] if line in found]
    kept = [json.loads((result.run_dir / f"fold-{number}" / "data_findings.json").read_text()) for number in (1, 2)]
    assert all(
        f"data, warning: {one['title']}" in found for fold in kept for one in fold if one["severity"] == "warning"
    )


@pytest.mark.model
def test_finished_folds_are_not_run_again(done):
    tuner, result, _ = done
    (result.run_dir / "kfold.json").unlink()
    before = (result.run_dir / "fold-1" / RESULTS).stat().st_mtime_ns
    told = Told()

    again = run_folds(tuner, 2, result.run_dir, resume=True, progress=told)

    assert again == result
    assert told.lines == [f"fold {n} of 2 is finished: {result.run_dir / f'fold-{n}'}" for n in (1, 2)]
    assert (result.run_dir / "fold-1" / RESULTS).stat().st_mtime_ns == before
    assert (result.run_dir / "kfold.json").is_file()


@pytest.mark.model
def test_one_fold_by_itself_gives_the_same_run(done, tmp_path):
    tuner, result, _ = done
    alone = tuner_of(
        tuner.recipe.data.source.path, data={"split": {"validation": 0.25, "fold": "2/2"}}, evaluate=["test"]
    )

    alone.run(tmp_path / "alone", progress=Quiet())

    mine = [row for row in rows_of(result.run_dir / "fold-2" / "predictions.csv") if row["split"] == "test"]
    assert rows_of(tmp_path / "alone" / "predictions.csv") == mine


@pytest.mark.model
def test_finished_folds_are_neither_replaced_nor_mixed_with_another_recipe(done):
    tuner, result, _ = done

    with pytest.raises(RunFolderError, match="--resume"):
        run_folds(tuner, 2, result.run_dir, progress=Quiet())
    with pytest.raises(RunFolderError, match="seed"):
        run_folds(tuner_of(tuner.recipe.data.source.path, seed=7), 2, result.run_dir, resume=True, progress=Quiet())


def test_a_recipe_that_cannot_be_run_in_folds_is_refused_before_the_first(picture_folder, tmp_path):
    tuner = tuner_of(picture_folder, data={"split": {"validation": 0.6}})

    with pytest.raises(RecipeError, match="fold 1 of 2"):
        run_folds(tuner, 2, tmp_path / "out", progress=Quiet())

    assert not (tmp_path / "out").exists()


def test_more_folds_than_pictures_are_refused_before_the_first(picture_folder, tmp_path):
    with pytest.raises(DataError, match=r"30 folds are too many .* 6 of them would test none. Use 24 or fewer"):
        run_folds(tuner_of(picture_folder), 30, tmp_path / "study", progress=Quiet())

    assert not (tmp_path / "study").exists()


def test_pictures_that_no_fold_tests_are_counted(folder_maker, tmp_path):
    folder = folder_maker(tmp_path / "photos")
    (folder / "alone").mkdir()
    (folder / "class_0" / "0.png").rename(folder / "alone" / "0.png")

    note = _check_parts([_of_fold(tuner_of(folder), number, 2) for number in (1, 2)])

    assert note.startswith("1 picture is in no test part")


def test_an_interrupted_fold_ends_the_study(picture_folder, tmp_path, monkeypatch):
    begun = []

    def run(self, folder, **_):
        begun.append(folder.name)
        return SimpleNamespace(interrupted=True)

    monkeypatch.setattr(FineTuner, "run", run)

    with pytest.raises(KeyboardInterrupt):
        run_folds(tuner_of(picture_folder), 3, tmp_path / "out", progress=Quiet())

    assert begun == ["fold-1"]


def write_predictions(folder, classes, rows):
    folder.mkdir()
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "label", "prediction", *(f"probability {name}" for name in classes)])
        writer.writerows([f"{n}.png", split, label, "", *values] for n, (split, label, *values) in enumerate(rows))
    return folder


def test_a_class_that_one_run_does_not_know_has_no_chance_there(tmp_path):
    first = write_predictions(tmp_path / "1", ["a", "b", "c"], [("test", "a", 0.8, 0.1, 0.1), ("train", "c", 0, 0, 1)])
    second = write_predictions(tmp_path / "2", ["a", "b"], [("test", "b", 0.4, 0.6)])

    report = pool_predictions([(one, {"majority_baseline": {"class_name": "a"}}) for one in (first, second)])

    assert report["num_images"] == 2
    assert report["accuracy"] == 1.0
    assert [row["name"] for row in report["per_class"]] == ["a", "b", "c"]


def test_thresholds_of_each_run_count_where_pictures_have_several_classes(tmp_path):
    first = write_predictions(tmp_path / "1", ["a", "b"], [("test", "a", 0.3, 0.1), ("test", "a;b", 0.4, 0.9)])
    second = write_predictions(tmp_path / "2", ["a", "b"], [("test", "b", 0.6, 0.8), ("test", "", 0.1, 0.2)])

    def report(low, high):
        thresholds = [{"name": "a", "threshold": low}, {"name": "b", "threshold": high}]
        guess = {"class_names": ["a"]}
        return {"per_class": thresholds, "mean_average_precision": 1.0, "majority_baseline": guess}

    together = pool_predictions([(first, report(0.2, 0.5)), (second, report(0.7, 0.5))])

    assert together["accuracy"] == 1.0
    # a is ranked 0.6 (wrong), 0.4, 0.3: precisions 1/2 and 2/3 where it is found; b is ranked rightly.
    assert together["mean_average_precision"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)


def test_a_class_whose_name_holds_the_separator_is_one_class(tmp_path):
    rows = [("test", "a;b;c", 0.9, 0.8), ("test", "c", 0.1, 0.9), ("test", "a;b", 0.7, 0.2)]
    run = write_predictions(tmp_path / "1", ["a;b", "c"], rows)
    thresholds = [{"name": name, "threshold": 0.5} for name in ("a;b", "c")]
    guess = {"class_names": ["a;b"]}

    report = pool_predictions(
        [(run, {"per_class": thresholds, "mean_average_precision": 1.0, "majority_baseline": guess})]
    )

    assert [one["support"] for one in report["per_class"]] == [2, 2]
    assert report["accuracy"] == 1.0

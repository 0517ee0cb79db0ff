"""All folds as runs of their own, and what they come to."""

import csv
import json
import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from transferkit import FineTuner
from transferkit.bundle.run_folder import RESULTS
from transferkit.data.source import list_source
from transferkit.errors import DataError, RecipeError, RunFolderError
from transferkit.progress import Quiet
from transferkit.studies import kfold
from transferkit.studies.kfold import _folders, _of_fold, run_folds
from transferkit.studies.parts import check_parts
from transferkit.studies.pooled import pool_predictions

SETTINGS = {
    "model": {"backbone": "toy", "weights": "none"},
    "phases": [
        {"name": "warm-up", "train": "head", "epochs": 1, "learning_rate": 1e-2, "augment": False, "l2_sp": 0.1}
    ],
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
    """Two folds of 3 classes of 8 pictures and 3 broken ones: (tuner, result, lines)."""
    root, told = tmp_path_factory.mktemp("folds"), Told()
    photos = session_folder_maker(root / "photos")
    for number in range(3):
        (photos / "class_0" / f"broken-{number}.png").write_text("no picture")
    tuner = tuner_of(photos)
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
def test_a_later_fold_prepares_only_what_is_broken_and_computes_only_features_of_what_tested_before(done):
    _, _, lines = done

    second = lines[lines.index("fold 2 of 2") :]
    assert any("24 are stored already, 3 to prepare" in line for line in second if line.startswith("prepared"))
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
@pytest.mark.parametrize("about", ["l2_sp has nothing to pull back", "of the source are left out"])
def test_warnings_of_the_recipe_and_of_left_out_pictures_are_said_once(done, about):
    _, _, lines = done

    assert [line.startswith("warning: ") for line in lines if about in line] == [True]


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


def begun_copy(done, root):
    """The second fold is yet to be run."""
    shutil.copytree(done.run_dir, root)
    shutil.rmtree(root / "fold-2")
    return root


def divide_otherwise(predictions):
    """As if one picture, which another fold tests today, had been tested in place of the first."""
    text = predictions.read_text()
    rows = rows_of(predictions)
    here, elsewhere = (next(row["path"] for row in rows if (row["split"] == "test") is test) for test in (True, False))
    predictions.write_text(text.replace(f"{here},test", f"{elsewhere},test"))


@pytest.mark.model
def test_finished_folds_that_tested_other_pictures_than_today_are_not_joined_by_new_ones(done, tmp_path, monkeypatch):
    tuner, result, _ = done
    root = begun_copy(result, tmp_path / "out")
    divide_otherwise(root / "fold-1" / "predictions.csv")
    monkeypatch.setattr(FineTuner, "run", lambda *_, **__: pytest.fail("a fold was run"))

    with pytest.raises(RunFolderError, match="fold-1 tested other pictures than it would today"):
        run_folds(tuner, 2, root, resume=True, progress=Quiet())

    assert (root / "kfold.json").is_file()


@pytest.mark.model
def test_finished_folds_of_today_are_joined_by_new_ones(done, tmp_path, monkeypatch):
    tuner, result, _ = done
    root = begun_copy(result, tmp_path / "out")
    monkeypatch.setattr(FineTuner, "run", lambda *_, **__: SimpleNamespace(interrupted=True))
    told = Told()

    with pytest.raises(KeyboardInterrupt):
        run_folds(tuner, 2, root, resume=True, progress=told)

    assert told.lines[0] == f"fold 1 of 2 is finished: {root / 'fold-1'}"
    assert told.lines[-1] == "fold 2 of 2"


@pytest.mark.model
def test_finished_folds_that_tested_one_picture_twice_are_not_pooled(done, tmp_path):
    tuner, result, _ = done
    root = shutil.copytree(result.run_dir, tmp_path / "out")
    shutil.copy(root / "fold-1" / "predictions.csv", root / "fold-2")

    with pytest.raises(RunFolderError, match="fold-1 and .*fold-2 both tested"):
        run_folds(tuner, 2, root, resume=True, progress=Quiet())


def test_only_folders_of_whole_numbers_are_folds(tmp_path):
    for name in ("fold-1", "fold-1-old", "fold-x"):
        (tmp_path / name).mkdir()

    assert _folders(tmp_path, 2) == [tmp_path / "fold-1", tmp_path / "fold-2"]

    (tmp_path / "fold-12").mkdir()
    with pytest.raises(RunFolderError, match="holds fold-12, and so more than 2 folds"):
        _folders(tmp_path, 2)


def test_log_lines_of_the_data_are_told_once_in_all_folds(picture_folder, tmp_path, monkeypatch, caplog):
    (picture_folder / "empty").mkdir()

    def run(self, *_, **__):
        list_source(self.recipe.data, multi_label=False)
        logging.getLogger("transferkit.train.forward").warning("as each fold finds")
        return SimpleNamespace(interrupted=False)

    monkeypatch.setattr(FineTuner, "run", run)
    monkeypatch.setattr(kfold, "_let_go_of_the_network", lambda: None)
    monkeypatch.setattr(kfold, "_collect", lambda run_dir, folders: None)
    monkeypatch.setattr(kfold, "_write", lambda result: None)

    for study in ("one", "two"):  # what one study has told, another tells again
        caplog.clear()
        run_folds(tuner_of(picture_folder), 2, tmp_path / study, progress=Quiet())

        assert sum("no picture" in line for line in caplog.messages) == 1
        assert caplog.messages.count("as each fold finds") == 2


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

    tuner = tuner_of(folder)
    listing = list_source(tuner.recipe.data, multi_label=False)

    note = check_parts([_of_fold(tuner, number, 2) for number in (1, 2)], listing)

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

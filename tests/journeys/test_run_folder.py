"""What a run leaves behind explains itself, agrees with itself and can be made again."""

import csv
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import transferkit
from transferkit import FineTuner, load_recipe
from transferkit.errors import RunFolderError
from transferkit.progress import Quiet

pytestmark = pytest.mark.model

FILES = {
    "recipe.yaml", "versions.json", "splits.csv", "skipped.csv", "classes.txt", "history.csv", "results.json",
    "data_findings.json", "predictions.csv", "watch.csv", "curves.png", "confusion.png", "roc.png", "samples.png",
    "model.keras",
}  # fmt: skip


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_run_folder_holds_these_files_and_no_others(finished):
    _, result = finished

    assert {path.name for path in result.run_dir.iterdir()} == FILES


def test_results_agree_with_the_predictions_file(finished):
    _, result = finished
    results = json.loads((result.run_dir / "results.json").read_text())
    rows = read_csv(result.run_dir / "predictions.csv")

    for split in ("validation", "test"):
        own = [row for row in rows if row["split"] == split]
        right = sum(row["label"] == row["prediction"] for row in own)
        assert results[split]["num_images"] == len(own) == 9
        assert results[split]["accuracy"] == pytest.approx(right / len(own))
        assert results[split]["accuracy"] == result.report[split].accuracy


def test_every_picture_is_in_the_manifest_once_or_among_the_skipped(finished):
    folder, result = finished
    manifest = [row["path"] for row in read_csv(result.run_dir / "splits.csv")]
    skipped = [row["path"] for row in read_csv(result.run_dir / "skipped.csv")]

    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert Counter([*manifest, *skipped]) == Counter(on_disk)
    assert skipped == ["class_0/broken.jpg"]


def test_history_has_a_row_per_epoch_with_its_phase_and_rate(finished):
    _, result = finished
    rows = read_csv(result.run_dir / "history.csv")

    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["phase"] for row in rows] == ["warm-up"] * 3 + ["fine-tune"] * 2
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([1e-2] * 3 + [1e-4] * 2)


def test_watch_file_has_a_row_per_epoch_and_norms_for_the_stages_that_train(finished):
    _, result = finished
    rows = read_csv(result.run_dir / "watch.csv")

    assert list(rows[0]) == [
        "epoch", "phase", "seconds", "images_per_s", "wait_fraction", "memory_mb",
        "gradient_norms head", "gradient_norms stage 4", "update_norms head", "update_norms stage 4",
    ]  # fmt: skip
    assert [(row["epoch"], row["phase"]) for row in rows] == [(str(one.epoch), one.phase) for one in result.history]
    assert all(0 < float(row["seconds"]) < 600 and float(row["images_per_s"]) > 0 for row in rows)
    assert all(0 <= float(row["wait_fraction"]) <= 1 and float(row["memory_mb"]) > 50 for row in rows)
    assert all(float(row["gradient_norms head"]) > 0 and float(row["update_norms head"]) > 0 for row in rows)
    assert [row["update_norms stage 4"] != "" for row in rows] == [False] * 3 + [True] * 2


def test_pictures_open_and_are_not_blank(finished):
    _, result = finished

    for name in (name for name in FILES if name.endswith(".png")):
        pixels = np.asarray(Image.open(result.run_dir / name).convert("L"))
        assert min(pixels.shape) > 200, name
        assert pixels.std() > 5, name


def test_predicting_the_run_s_files_gives_its_probabilities_also_one_at_a_time(finished):
    folder, result = finished
    rows = read_csv(result.run_dir / "predictions.csv")
    classifier = transferkit.load(result.run_dir)

    together = classifier.predict([folder / row["path"] for row in rows])
    alone = [classifier.predict(folder / row["path"])[0] for row in rows]

    for row, one, other in zip(rows, together, alone, strict=True):
        written = [float(row[f"probability {name}"]) for name in classifier.class_names]
        assert list(one.probabilities.values()) == pytest.approx(written, abs=1e-5)
        assert list(other.probabilities.values()) == pytest.approx(written, abs=1e-5)
        assert one.class_name == other.class_name == row["prediction"]


def test_prediction_of_a_bad_file_is_an_error_in_its_place(finished):
    folder, result = finished

    good, bad = result.predict([folder / "class_1" / "0.png", folder / "class_0" / "broken.jpg"])

    assert good.error is None
    assert bad.class_name is None
    assert bad.error


def test_model_file_takes_pixels_and_gives_probabilities_with_keras_alone(finished):
    import keras

    folder, result = finished
    model = keras.saving.load_model(result.run_dir / "model.keras")
    pixels = np.asarray(Image.open(folder / "class_0" / "0.png").resize((32, 32)), np.float32)

    probabilities = keras.ops.convert_to_numpy(model(pixels[None]))

    assert probabilities.shape == (1, 3)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert not any("random" in layer.name for layer in model.layers)


@pytest.fixture(scope="module")
def again(finished, listener, tmp_path_factory):
    """The written recipe, run a second time: (run result, lines)."""
    _, result = finished
    progress = listener()
    run_dir = tmp_path_factory.mktemp("again") / "run"
    return FineTuner.from_recipe(result.run_dir / "recipe.yaml").run(run_dir, progress=progress), progress.lines


def test_running_the_written_recipe_again_gives_the_same_weights(finished, again):
    _, result = finished

    for old, new in zip(result.model.get_weights(), again[0].model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "name", ["history.csv", "results.json", "predictions.csv", "splits.csv", "skipped.csv", "recipe.yaml"]
)
def test_running_the_written_recipe_again_gives_the_same_bytes(finished, again, name):
    _, result = finished

    assert (result.run_dir / name).read_bytes() == (again[0].run_dir / name).read_bytes()


def test_running_the_written_recipe_again_computes_no_feature(finished_and_told, again):
    _, _, first = finished_and_told
    _, second = again

    def computed(lines):
        return [line for line in lines if "pictures to compute" in line]

    # Training pictures for the warm-up alone; validation pictures for both phases, in one pass.
    assert [int(re.search(r"(\d+) pictures", line)[1]) for line in computed(first)] == [9, 18]
    assert computed(second) == []


def test_another_seed_gives_another_run(finished, tmp_path):
    _, result = finished
    quick = {"name": "quick", "train": "head", "epochs": 1, "learning_rate": 1e-2, "augment": False}

    other = FineTuner.from_recipe(result.run_dir / "recipe.yaml", seed=1, phases=[quick])

    manifest = other.run(tmp_path / "other", progress=Quiet()).run_dir / "splits.csv"
    assert manifest.read_bytes() != (result.run_dir / "splits.csv").read_bytes()


def test_written_recipe_is_the_checked_recipe(finished):
    _, result = finished

    recipe = load_recipe(result.run_dir / "recipe.yaml")

    assert recipe.name == "small"
    assert recipe.data.image_size == 32


def test_versions_name_packages_seed_and_hardware(finished):
    _, result = finished
    versions = json.loads((result.run_dir / "versions.json").read_text())

    assert versions["seed"] == 0
    assert versions["transferkit"] == transferkit.__version__
    assert {"python", "keras", "tensorflow", "cores", "devices", "precision", "started"} <= set(versions)
    assert (versions["strategy"], versions["replicas"], versions["processes"]) == ("single", 1, 1)


def test_an_existing_run_is_not_overwritten_unless_told_to(finished, small_settings, tmp_path):
    folder, result = finished
    before = (result.run_dir / "results.json").read_bytes()

    with pytest.raises(RunFolderError, match="--overwrite"):
        FineTuner(**small_settings(folder)).run(result.run_dir, progress=Quiet())

    assert (result.run_dir / "results.json").read_bytes() == before


def test_overwrite_replaces_a_run_but_no_other_folder(finished, small_settings, tmp_path):
    folder, _ = finished
    settings = small_settings(folder)
    settings["phases"] = settings["phases"][:1]
    run_dir, other = tmp_path / "run", tmp_path / "thesis"
    run_dir.mkdir()
    (run_dir / "recipe.yaml").write_text("an older run")
    (run_dir / "old.txt").write_text("of the older run")
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")

    FineTuner(**settings).run(run_dir, overwrite=True, progress=Quiet())
    with pytest.raises(RunFolderError, match="left alone"):
        FineTuner(**settings).run(other, overwrite=True, progress=Quiet())

    assert not (run_dir / "old.txt").exists()
    assert (other / "chapter.txt").read_text() == "years of work"


def test_loading_what_is_no_run_says_so(tmp_path):
    with pytest.raises(RunFolderError, match="does not exist"):
        transferkit.load(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"has no recipe\.yaml"):
        transferkit.load(tmp_path)


def test_notebook_table_shows_the_results_and_escapes_names(finished):
    _, result = finished

    text = result._repr_html_()

    assert f"{result.report['test'].accuracy:.1%}" in text
    assert "<script" not in text

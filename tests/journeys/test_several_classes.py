"""From a table of pictures with any number of classes to predictions, and a run with balanced classes."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.model

NAMES = ("bee", "ant", "cat")
SETTINGS = {"image_size": 32, "batch_size": 8, "resize": "stretch", "split": {"validation": 0.25, "test": 0.25}}
PHASE = {"name": "warm-up", "train": "head", "epochs": 3, "learning_rate": 0.01}
MODEL = {"backbone": "vgg16", "weights": "none"}


@pytest.fixture(scope="module")
def several(tmp_path_factory, listener):
    """A finished run over 40 pictures: (folder, its table as rows, run result)."""
    from transferkit import FineTuner

    root, draw = tmp_path_factory.mktemp("several"), np.random.default_rng(0)
    table = [("path", "label", "weight")]
    for number in range(40):
        own = draw.random(3) < (0.3, 0.5, 0.6)
        pixels = draw.integers(0, 150, (36, 36, 3)) + 100 * own
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{number}.png")
        classes = ";".join(name for name, is_there in zip(NAMES, own, strict=True) if is_there)
        table.append((f"{number}.png", classes, 1 + number % 2))
    with open(root / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(table)
    tuner = FineTuner(
        {"source": {"csv": str(root / "labels.csv")}, **SETTINGS},
        model=MODEL, phases=[PHASE], loss="binary_cross_entropy", monitor="val_map",
        cache={"folder": str(root / "cache")},
    )  # fmt: skip
    return root, table[1:], tuner.run(root / "run", progress=listener())


def read(run_dir, name) -> list[dict[str, str]]:
    return list(csv.DictReader((run_dir / name).open(encoding="utf-8", newline="")))


@pytest.fixture
def run_command():
    from typer.testing import CliRunner

    from transferkit.cli.app import app

    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


def test_model_gives_each_class_a_probability_of_its_own(several):
    root, _, result = several
    images = np.stack([np.asarray(Image.open(root / f"{number}.png").resize((32, 32))) for number in range(8)])

    probabilities = np.asarray(result.model(images.astype(np.float32)))

    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.05


def test_run_folder_tells_the_classes_of_every_picture(several):
    _, table, result = several

    classes = {row["path"]: row["label"] for row in read(result.run_dir, "splits.csv")}

    assert classes == {path: ";".join(sorted(filter(None, names.split(";")))) for path, names, _ in table}
    assert {path.name for path in result.run_dir.iterdir()} >= {"average_precision.png", "class_weights.csv"}
    assert not (result.run_dir / "confusion.png").exists()


def test_results_follow_from_the_predictions_and_the_thresholds(several):
    _, _, result = several
    thresholds = {row["class"]: float(row["threshold"]) for row in read(result.run_dir, "thresholds.csv")}
    results = json.loads((result.run_dir / "results.json").read_text())

    rows = read(result.run_dir, "predictions.csv")

    assert list(thresholds) == sorted(NAMES)
    for row in rows:
        found = [name for name in thresholds if float(row[f"probability {name}"]) >= thresholds[name]]
        assert row["prediction"] == ";".join(found)
    for split in ("validation", "test"):
        right = [row["prediction"] == row["label"] for row in rows if row["split"] == split]
        assert results[split]["accuracy"] == pytest.approx(np.mean(right))
        assert [one["threshold"] for one in results[split]["per_class"]] == list(thresholds.values())
    assert result.best.val_map == pytest.approx(results["validation"]["mean_average_precision"])


def test_predictions_are_those_of_the_run(several):
    root, _, result = several
    expected = {row["path"]: row for row in read(result.run_dir, "predictions.csv")}

    found = result.predict([root / name for name in expected])

    for one, row in zip(found, expected.values(), strict=True):
        assert set(one.class_names) == set(filter(None, row["prediction"].split(";")))
        values = [one.probabilities[name] for name in one.class_names]
        assert values == sorted(values, reverse=True)
        assert one.class_name == (one.class_names[0] if one.class_names else None)


def test_predictions_without_thresholds_are_made_at_one_half(several, monkeypatch):
    root, _, result = several
    from transferkit.bundle import predictor

    monkeypatch.setattr(predictor, "read_thresholds", lambda _: None)

    for one in result.predict([root / f"{number}.png" for number in range(10)]):
        assert set(one.class_names) == {name for name, value in one.probabilities.items() if value >= 0.5}


def test_command_line_shows_all_classes_found(several, run_command, monkeypatch):
    root, _, result = several

    def predict(*how, threshold: float) -> str:
        monkeypatch.setattr("transferkit.bundle.predictor.read_thresholds", lambda _: [threshold] * 3)
        return run_command("predict", result.run_dir, root / "3.png", root / "nowhere.png", *how).stdout

    table, first_json, first_csv = (predict(*how, threshold=0.0) for how in ((), ("--json",), ("--csv",)))
    nothing, (no_class, error) = predict(threshold=1.0), json.loads(predict("--json", threshold=1.0))

    names = json.loads(first_json)[0]["classes"]
    assert sorted(names) == sorted(NAMES)
    assert ", ".join(names) in table
    assert [row["prediction"] for row in csv.DictReader(io.StringIO(first_csv))] == [";".join(names), ""]
    assert "none" in nothing
    assert no_class["classes"] == []
    assert "error" in error


def test_balanced_run_prints_and_keeps_what_classes_count(tmp_path, session_folder_maker, listener):
    from transferkit import FineTuner

    folder = session_folder_maker(tmp_path / "photos", classes=2, each=12)
    for path in sorted((folder / "class_1").iterdir())[4:]:
        path.unlink()
    tuner = FineTuner(
        {"source": {"folder": str(folder)}, **SETTINGS, "imbalance": "class_weight"},
        model=MODEL, phases=[{**PHASE, "epochs": 1}], loss={"focal": {"gamma": 1.0}}, evaluate=["validation"],
        cache={"folder": str(tmp_path / "cache")},
    )  # fmt: skip
    progress = listener()

    result = tuner.run(tmp_path / "run", progress=progress)

    # Half of 12 and of 4 train.
    rows = read(result.run_dir, "class_weights.csv")
    assert [(row["class"], row["pictures"], row["times per epoch"]) for row in rows] == [
        ("class_0", "6", "1"),
        ("class_1", "2", "1"),
    ]
    assert [float(row["weight"]) for row in rows] == pytest.approx([8 / 12, 8 / 4], rel=1e-6)
    assert any(
        line.startswith("imbalance: class_weight: ") and "2 (class_1, 2 pictures)" in line for line in progress.lines
    )
    assert (result.run_dir / "confusion.png").exists()

"""What is frozen is computed once, the same bits wherever they come from, and nothing out of date is used."""

from dataclasses import replace

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.store.index import HEADER_BYTES
from transferkit.train.features import Computed

pytestmark = pytest.mark.model

# 24 + 10 pictures do not fill one batch of features; 40 + 10 need two for training.
PHASES = ({"epochs": 2}, {"name": "two", "epochs": 2, "train": {"last_stages": 1}, "stage_decay": 0.5})
# A float32 sum in another order is off by some 1e-7 of its size; a few steps at these rates carry that into weights
# of size 0.1 to 1. (Measured: below 1e-7.)
ROUNDING = 2e-6


def assert_same_bits(found, expected):
    for path in expected:
        np.testing.assert_array_equal(found[path], expected[path], err_msg=path)


def trained(toy, progress=None) -> dict:
    """All weights after training."""
    training = toy.train(progress)
    assert training.error is None
    return toy.weights()


def part_of(data, split, count):
    """The same data with fewer pictures in one split."""
    return replace(data, rows={**data.rows, split: data.rows[split][:count]})


# One result, wherever features come from


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("state", ["cold", "warm", "rows lost", "part stored by another run"])
def test_training_ends_with_the_same_bits_as_without_a_store(
    make_toy, make_data, own_home, cut_off_stores, state, precision
):
    data, cache = make_data(train=40), {"precision": precision}
    expected = trained(make_toy(*PHASES, data=data, cache={**cache, "features": "none"}))
    assert not own_home.exists()
    if state in ("warm", "rows lost"):
        trained(make_toy(*PHASES, data=data, cache=cache))
    if state == "rows lost":
        assert cut_off_stores(own_home, keep_rows=7) == 2
    if state == "part stored by another run":
        trained(make_toy(*PHASES, data=part_of(data, "train", 17), cache=cache))

    found = trained(make_toy(*PHASES, data=data, cache=cache))

    assert_same_bits(found, expected)
    assert not np.array_equal(expected["third_conv/kernel"], make_toy(*PHASES).weights()["third_conv/kernel"])


def test_features_kept_in_16_bits_are_the_others_rounded(make_toy):
    full, half = (make_toy({}, cache={"precision": precision}) for precision in ("float32", "float16"))
    for toy in (full, half):
        toy.phase_run()

    for split in ("train", "validation"):
        rows = np.arange(len(full.data.rows[split]))
        exact, rounded = (toy_rows(toy, split)[rows] for toy in (full, half))
        assert rounded.dtype == np.float16
        np.testing.assert_array_equal(rounded, exact.astype(np.float16))


def toy_rows(toy, split):
    features = toy.features()
    features.prepare([3], split)
    return features.rows(3, split)


@pytest.mark.parametrize(
    "phase",
    [
        {"train": "head"},
        {"train": {"last_stages": 1}},
        {"train": {"last_stages": 2}, "batch_norm": "train", "stage_decay": 0.5},
    ],
    ids=["head", "last stage", "last two stages"],
)
def test_phase_on_stored_features_trains_the_same_weights_as_the_undivided_network(make_toy, monkeypatch, phase):
    from transferkit.train import phase_run

    settings = {"optimizer": {"name": "sgd"}, "epochs": 2, **phase}
    divided, undivided = make_toy(settings), make_toy(settings)
    stored = divided.train()
    monkeypatch.setattr(phase_run.Features, "prepare", lambda *_: None)
    # A cut of 0 is the whole network; nothing else of the phase depends on it.
    undivided.schedule = tuple(replace(one, cut=0) for one in undivided.schedule)
    whole = undivided.train()

    start, expected = make_toy(settings).weights(), undivided.weights()
    assert max(np.abs(expected[path] - start[path]).max() for path in start) > 1e-3
    for path, weights in divided.weights().items():
        np.testing.assert_allclose(weights, expected[path], rtol=0, atol=ROUNDING, err_msg=path)
    assert stored.epochs[-1].val_loss == pytest.approx(whole.epochs[-1].val_loss, abs=ROUNDING)


# What is computed, and when


def computed_by(toy, progress, index=0) -> list:
    toy.phase_run(index, progress=progress)
    return progress.computed


NEW = [("validation", 10), ("train", 24)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"learning_rate": 0.3, "epochs": 3, "optimizer": "sgd", "weight_decay": 0.0},
        {"schedule": "cosine", "ema": 0.9},
    ],
    ids=["the same", "another rate", "another schedule"],
)
def test_second_run_computes_nothing(make_toy, make_told, change):
    first, second = make_told(), make_told()

    for toy, progress in ((make_toy({}), first), (make_toy(change), second)):
        computed_by(toy, progress)

    assert first.computed == NEW
    assert second.computed == []


def test_other_head_splits_and_augmentation_elsewhere_compute_nothing_new(make_toy, make_told):
    computed_by(make_toy({}), make_told())
    head = {"hidden": [4], "dropout": 0.3}

    toy = make_toy({"augment": False}, augment=["flip"], model={"weights": "none", "head": head})
    found = computed_by(toy, make_told())

    assert found == []


def test_added_pictures_are_the_only_ones_computed(make_toy, make_data, make_told):
    data = make_data()
    computed_by(make_toy({}, data=part_of(part_of(data, "train", 21), "validation", 9)), make_told())

    found = computed_by(make_toy({}, data=data), make_told())

    assert found == [("validation", 1), ("train", 3)]


def test_picture_that_moves_to_another_split_is_not_computed_again(make_toy, make_data, make_told):
    data = make_data()
    computed_by(make_toy({}, data=data), make_told())
    moved = {"train": data.rows["validation"], "validation": data.rows["train"], "test": data.rows["test"]}

    found = computed_by(make_toy({}, data=replace(data, rows=moved)), make_told())

    assert found == []


@pytest.mark.parametrize(
    ("phase", "options"),
    [
        ({}, {"pictures": {"image_size": 40}}),
        ({}, {"pictures": {"resize": "stretch"}}),
        ({}, {"seed": 1}),  # the backbone's random start
        ({}, {"model": {"weights": "none", "backbone": "vgg16", "head": {"dropout": 0.0}}}),
        ({}, {"model": {"weights": "none", "head": {"dropout": 0.0, "pooling": "max"}}}),
        ({"train": {"last_stages": 1}}, {}),
        ({}, {"precision": "mixed_bfloat16"}),
        ({}, {"cache": {"precision": "float16"}}),
        ({}, {"runtime": {"xla": "on"}}),
    ],
    ids=["size", "resize", "weights", "backbone", "pooling", "cut", "precision", "kept precision", "xla"],
)
def test_features_of_anything_else_are_computed_anew(make_toy, make_data, make_told, phase, options):
    data = make_data()
    computed_by(make_toy({}, data=data), make_told())
    wider = options.get("pictures", {}).get("image_size", 32) - 32
    same_files = replace(data, images=np.pad(data.images, ((0, 0), (0, wider), (0, wider), (0, 0))))

    found = computed_by(make_toy(phase, data=same_files, **options), make_told())

    assert found == NEW


def test_one_pass_computes_what_all_phases_need(make_toy, told):
    toy = make_toy({}, {}, {"train": {"last_stages": 1}}, {"train": {"last_stages": 2}, "batch_norm": "train"})

    toy.train(told)

    assert told.computed == NEW


def test_training_below_a_cut_makes_features_above_it_be_computed_anew(make_toy, told):
    toy = make_toy({}, {"train": {"last_stages": 2}, "batch_norm": "train"}, {})
    features = toy.features(told)
    toy.phase_run(0, features=features)
    old = features.rows(3, "train")[np.arange(24)]
    toy.phase_run(1, features=features).fit_epoch(0, [], Quiet())
    assert told.computed == NEW * 2  # `phase_run` knows of no later phases

    toy.phase_run(2, features=features)

    assert told.computed == NEW * 3
    for cut in (1, 3):
        for split, count in (("train", 24), ("validation", 10)):
            rows = np.arange(count)
            np.testing.assert_array_equal(features.rows(cut, split)[rows], toy.features().computed(cut, split)[rows])
    assert np.abs(features.rows(3, "train")[np.arange(24)] - old).max() > 1e-3


def test_features_are_those_of_the_split_s_pictures_in_order_bit_for_bit(make_toy):
    toy = make_toy({})
    features = toy.features()
    features.prepare([1, 2, 3], "train")

    for cut in (1, 2, 3):
        network, pictures = toy.classifier.stage_networks(cut), toy.data.images[toy.data.rows["train"]]
        expected = np.zeros((32, 32, 32, 3), np.float32)
        expected[:24] = pictures
        for stage in network:
            expected = stage(expected)
        # Eager here, compiled there.
        np.testing.assert_allclose(features.rows(cut, "train")[np.arange(24)], expected[:24], atol=1e-5)
        np.testing.assert_array_equal(
            features.rows(cut, "train")[np.arange(24)], features.computed(cut, "train")[np.arange(24)]
        )


# Room


def test_need_is_told_before_anything_is_computed(make_toy, told, own_home):
    # Each picture's features are 4 x 4 x 16 numbers of 4 bytes, and 36 bytes for finding them.
    toy = make_toy({"train": {"last_stages": 1}})

    computed_by(toy, told)

    line = f"features of the frozen part, train: 24 pictures to compute, 0.0 MB on disk in {own_home}"
    assert told.events.index(line) < told.events.index(("features of the frozen part, train", 24))


def test_without_room_it_says_so_and_ends_with_the_same_bits(make_toy, make_data, told, own_home):
    data = make_data(train=40)
    expected = trained(make_toy(*PHASES, data=data))
    used = sum(path.stat().st_size for path in own_home.rglob("rows.bin"))

    found = trained(make_toy(*PHASES, data=data, cache={"max_gb": 1e-9, "folder": str(own_home / "other")}), told)

    assert used > 0
    assert_same_bits(found, expected)
    assert told.computed == []
    (line,) = {line for line in told.lines if "have no room" in line and "train" in line}
    assert line == (
        f"features of the frozen part, train: 0.0 MB have no room in {own_home / 'other'} (cache.max_gb: 1e-09); "
        "they are computed in every epoch"
    )
    assert {path.stat().st_size for path in (own_home / "other").rglob("rows.bin")} == {HEADER_BYTES}


def test_folder_that_cannot_be_written_to_is_told_and_training_ends_with_the_same_bits(
    make_toy, make_data, told, tmp_path
):
    data = make_data(train=40)
    expected = trained(make_toy(*PHASES, data=data))
    (tmp_path / "file").touch()

    found = trained(make_toy(*PHASES, data=data, cache={"folder": str(tmp_path / "file" / "home")}), told)

    assert_same_bits(found, expected)
    assert told.computed == []
    (line,) = {line for line in told.lines if "cannot be kept" in line and "train" in line}
    assert line.endswith("they are computed in every epoch")
    assert "\n" not in line


@pytest.mark.parametrize(("cache", "computes"), [({}, False), ({"features": "none"}, True), ({"max_gb": 1e-9}, True)])
def test_phase_knows_whether_it_computes_features_in_every_epoch(make_toy, cache, computes):
    assert make_toy({}, cache=cache).phase_run().computes_features == computes


def test_no_store_is_made_where_none_is_wanted(make_toy, told, own_home):
    make_toy({}, cache={"features": "none"}).train(told)

    assert told.computed == []
    assert not own_home.exists()


def test_cache_folder_of_the_recipe_is_where_features_lie(make_toy, tmp_path, own_home):
    make_toy({}, cache={"folder": str(tmp_path / "mine")}).phase_run()

    assert len(list((tmp_path / "mine").rglob("rows.bin"))) == 1
    assert not own_home.exists()


# What is stored


@pytest.mark.parametrize(
    ("augment", "phase", "stored"),
    [
        ([], {}, True),
        (["flip"], {}, False),
        (["flip"], {"augment": False}, True),
        ([], {"train": "all"}, False),
    ],
    ids=["no augmentation", "augmentation", "augmentation switched off", "nothing is frozen"],
)
def test_training_pictures_are_stored_as_features_only_without_random_augmentation(
    make_toy, told, record_batches, augment, phase, stored
):
    toy, batches = make_toy(phase, augment=augment), record_batches()

    toy.phase_run(progress=told).fit_epoch(0, [], Quiet())

    assert (("train", 24) in told.computed) == stored
    assert batches[0][0].shape == ((8, 24) if stored else (8, 32, 32, 3))


def test_validation_pictures_are_stored_as_features_also_under_augmentation(make_toy, told):
    toy = make_toy({"train": {"last_stages": 1}}, augment=["flip"])

    assert computed_by(toy, told) == [("validation", 10)]


def test_features_computed_when_asked_for_look_like_stored_ones(make_toy):
    toy = make_toy({}, cache={"precision": "float16"})
    stored, computed = toy_rows(toy, "train"), toy.features().computed(3, "train")

    assert isinstance(computed, Computed)
    assert (computed.shape, computed.dtype) == (stored.shape, stored.dtype) == ((24, 24), np.float16)
    chosen = np.array([5, 0, 23, 5])
    np.testing.assert_array_equal(computed[chosen], stored[chosen])

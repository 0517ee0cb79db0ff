"""Stored features of augmented pictures: some versions of each, which take turns by epoch."""

import numpy as np
import pytest

from transferkit.progress import Quiet
from transferkit.train.batches import epoch_order

pytestmark = pytest.mark.model

AUGMENT = ["flip", {"brightness": 0.3}]
MIXUP = {"mixup": {"alpha": 1.0}}
# float32 sums of numbers of size 1, in another order.
FLOAT32 = 1e-5
VIEWS = [("train, view 1", 24), ("train, view 2", 24)]


def fit(run, epochs) -> None:
    for epoch in range(epochs):
        run.fit_epoch(epoch, [], Quiet())


def view(toy, number, cut=3) -> np.ndarray:
    """The features of one view, in the order of the split."""
    return toy.features().views(cut, number, toy.phase_run()._for_views)[np.arange(len(toy.data.rows["train"]))]


def test_epochs_take_the_views_in_turn(make_toy, record_batches):
    toy, batches = make_toy({"epochs": 5, "views": 2}, augment=AUGMENT), record_batches()

    fit(toy.phase_run(), 5)

    for epoch in range(5):
        order = epoch_order(24, seed=0, epoch=epoch)
        found = np.concatenate([inputs for inputs, _ in batches[3 * epoch : 3 * epoch + 3]])
        labels = np.concatenate([labels for _, labels in batches[3 * epoch : 3 * epoch + 3]])
        np.testing.assert_array_equal(found, view(toy, epoch % 2)[order])
        np.testing.assert_array_equal(labels.argmax(axis=1), toy.data.labels[toy.data.rows["train"]][order])


def test_views_differ_from_each_other_and_from_the_plain_pictures_picture_by_picture(make_toy):
    toy = make_toy({"views": 2}, augment=AUGMENT)
    plain = toy.features().computed(3, "train")[np.arange(24)]

    versions = [plain, view(toy, 0), view(toy, 1)]

    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (np.abs(versions[one] - versions[other]).max(axis=1) > 1e-4).all()


def test_views_are_computed_once_and_not_again_by_another_run(make_toy, make_told):
    first, second = make_told(), make_told()

    for progress, rate in ((first, 1e-2), (second, 1e-3)):
        fit(make_toy({"epochs": 4, "views": 2, "learning_rate": rate}, augment=AUGMENT).phase_run(progress=progress), 4)

    assert first.computed == [("validation", 10), *VIEWS]
    assert second.computed == []


@pytest.mark.parametrize(
    ("changed", "computed"),
    [
        ({"augment": ["flip"]}, VIEWS[:1]),
        ({"pictures": {"resize": "stretch"}}, [("validation", 10), VIEWS[0]]),
    ],
    ids=["augmentation", "resize"],
)
def test_views_of_anything_else_are_computed_anew(make_toy, make_told, told, changed, computed):
    fit(make_toy({"views": 1}, augment=AUGMENT).phase_run(), 1)

    fit(make_toy({"views": 1}, **{"augment": AUGMENT, **changed}).phase_run(progress=told), 1)

    assert told.computed == computed


@pytest.mark.parametrize("kept", [0, 7, 33])
def test_half_written_view_is_completed_with_the_same_bits(make_toy, make_data, own_home, cut_off_stores, kept):
    data, settings = make_data(train=40), ({"epochs": 4, "views": 2, "train": {"last_stages": 1}},)
    whole = make_toy(*settings, data=data, augment=AUGMENT)
    whole.train()
    versions = [view(whole, number, cut=2) for number in range(2)]
    cut_off_stores(own_home, keep_rows=kept)

    again = make_toy(*settings, data=data, augment=AUGMENT)
    again.train()

    expected = whole.weights()
    for path, weights in again.weights().items():
        np.testing.assert_array_equal(weights, expected[path], err_msg=path)
    for number in range(2):
        np.testing.assert_array_equal(view(again, number, cut=2), versions[number])


@pytest.mark.parametrize(("train", "cut"), [("head", 3), ({"last_stages": 1}, 2)], ids=["pooled", "feature maps"])
def test_mixup_blends_stored_features_and_their_labels_alike(make_toy, record_batches, train, cut):
    toy, batches = make_toy({"views": 1, "train": train}, augment=[*AUGMENT, MIXUP]), record_batches()

    fit(toy.phase_run(), 1)

    stored = view(toy, 0, cut)[epoch_order(24, seed=0, epoch=0)]
    classes = toy.data.labels[toy.data.rows["train"]][epoch_order(24, seed=0, epoch=0)]
    num_mixed = 0
    for number, (inputs, labels) in enumerate(batches):
        own, own_classes = stored[8 * number :][:8], classes[8 * number :][:8]
        assert inputs.shape == own.shape
        for row in range(8):
            partners = [index for index in range(8) if own_classes[index] != own_classes[row]]
            share = labels[row, own_classes[row]]
            if share < 1:  # the partner is of another class, so the label tells the shares
                blends = [share * own[row] + (1 - share) * own[index] for index in partners]
                distances = [np.abs(blend - inputs[row]).max() for blend in blends]
                nearest = partners[int(np.argmin(distances))]
                assert min(distances) < FLOAT32
                assert labels[row, own_classes[nearest]] == pytest.approx(1 - share, abs=1e-6)
                num_mixed += 1
    assert num_mixed > 5


def test_mixup_and_label_smoothing_reach_the_loss_of_stored_features(make_toy, make_data, record_batches):
    toy = make_toy(
        {"views": 1, "learning_rate": 1e-30},
        data=make_data(train=8),
        augment=["flip", MIXUP],
        loss={"cross_entropy": {"label_smoothing": 0.3}},
    )
    batches, run = record_batches(), toy.phase_run()

    row, _ = run.fit_epoch(0, [], Quiet())

    ((inputs, labels),) = batches
    logits = np.asarray(run.trainer.network(inputs, training=False), np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert ((labels > 0) & (labels < 1)).any()
    assert row.loss == pytest.approx(-((labels * 0.7 + 0.1) * logs).sum(axis=1).mean(), abs=FLOAT32)


def test_mixing_is_drawn_anew_in_every_epoch(make_toy, make_data, record_batches):
    toy = make_toy({"epochs": 2, "views": 1}, data=make_data(train=8), augment=["flip", MIXUP])
    batches = record_batches()

    fit(toy.phase_run(), 2)

    (_, first), (_, second) = batches
    assert not np.array_equal(np.sort(first, axis=None), np.sort(second, axis=None))

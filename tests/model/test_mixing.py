import numpy as np
import pytest

from transferkit.recipe import augment as spec

pytestmark = pytest.mark.model

MIXING = ("mixup", "cutmix")


def mixing(kind, alpha):
    return {"mixup": spec.MixUp, "cutmix": spec.CutMix}[kind](alpha=alpha)


@pytest.fixture
def classes():
    """Pictures of one colour each, the colour being the label: what is mixed can be read off."""
    labels = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    return np.broadcast_to(255 * labels[:, None, None, :], (60, 20, 20, 3)).copy(), labels


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0, 4.0])
def test_mixed_labels_are_the_shares_of_what_is_in_the_picture(kind, alpha, classes, augment):
    images, labels = augment(mixing(kind, alpha), *classes)

    np.testing.assert_allclose(images.mean(axis=(1, 2)) / 255, labels, atol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert not np.array_equal(labels, classes[1])


@pytest.mark.parametrize("kind", MIXING)
def test_alpha_says_how_evenly_is_mixed(kind, classes, augment):
    def evenness(alpha):
        labels = np.concatenate([augment(mixing(kind, alpha), *classes, step=step)[1] for step in range(5)])
        return labels.max(axis=1)[labels.max(axis=1) < 1].mean()

    assert evenness(0.2) > evenness(1.0) > evenness(8.0) > 0.5


def test_mixup_blends_whole_pictures(classes, augment):
    images, _ = augment(spec.MixUp(alpha=1.0), *classes)

    assert np.ptp(images, axis=(1, 2)).max() < 1e-3


def test_cutmix_pastes_one_rectangle(classes, augment):
    images, labels = augment(spec.CutMix(alpha=1.0), *classes)

    assert set(np.unique(images)) == {0.0, 255.0}
    pasted = (images != classes[0]).any(axis=-1)
    height, width = pasted.any(axis=2).sum(axis=1), pasted.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(pasted.sum(axis=(1, 2)), height * width)
    assert ((labels > 0).sum(axis=1) == 2).sum() > 20


@pytest.mark.parametrize("kind", MIXING)
def test_mixing_a_single_picture_changes_nothing(kind, augment):
    picture = np.random.default_rng(0).uniform(0, 255, (1, 20, 20, 3)).astype(np.float32)

    changed, labels = augment(mixing(kind, 1.0), picture, [[0, 1, 0]])

    np.testing.assert_allclose(changed, picture, rtol=1e-5)
    np.testing.assert_allclose(labels, [[0, 1, 0]])


def test_both_mixings_after_each_other_keep_labels_true(classes, augment):
    images, labels = augment([spec.MixUp(alpha=1.0), spec.CutMix(alpha=1.0)], *classes)

    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert (labels > 0).all(axis=1).any()
    np.testing.assert_allclose(images.mean(axis=(1, 2)) / 255, labels, atol=1e-5)

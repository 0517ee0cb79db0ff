"""Features of every backbone are a function of the picture alone; the network above them gives what the whole does."""

import numpy as np
import pytest

from transferkit.backbones.table import BACKBONES
from transferkit.model.classifier import build_classifier
from transferkit.recipe.model import HeadSpec, ModelSpec
from transferkit.recipe.runtime import RuntimeSpec
from transferkit.train.forward import BATCH_SIZE, compute_outputs
from transferkit.train.placement import open_strategy

pytestmark = pytest.mark.backbones

# One more than a batch, so that pictures meet others and the second batch is filled up.
NUM_IMAGES = BATCH_SIZE + 1
# Largest difference of a logit as a share of the logits' standard deviation: rounding of float32 (6e-8) that passes
# through up to 152 layers, with room. (Measured on a CPU: 0, of all nine.)
TOLERANCE = 1e-4


@pytest.mark.parametrize("spec", BACKBONES.values(), ids=lambda spec: spec.name)
def test_features_are_the_same_bits_at_any_place_and_lead_to_the_undivided_network_s_logits(spec):
    strategy, last = open_strategy(RuntimeSpec(strategy="single")), spec.num_stages
    model = ModelSpec(backbone=spec.name, weights="none", head=HeadSpec(dropout=0.0))
    classifier = build_classifier(model, spec, image_size_px=spec.min_size_px, num_classes=3, seed=0)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (NUM_IMAGES, spec.min_size_px, spec.min_size_px, 3)).astype(np.uint8)
    cuts = sorted({1, (last + 1) // 2, last})
    forward = strategy.forward(classifier.stage_networks(last), keep=[cut - 1 for cut in cuts])

    stored = compute_outputs(forward, images, np.arange(NUM_IMAGES), strategy=strategy)

    for rows in (draw.permutation(NUM_IMAGES), np.array([32, 4, 5])):
        for expected, found in zip(stored, compute_outputs(forward, images, rows, strategy=strategy), strict=True):
            np.testing.assert_array_equal(found, expected[rows])
    whole = np.asarray(classifier.network(images.astype(np.float32), training=False))
    assert whole.std() > 0
    for cut, features in zip(cuts, stored, strict=True):
        logits = np.asarray(classifier.upper(cut)(features, training=False))
        np.testing.assert_allclose(logits, whole, rtol=0, atol=TOLERANCE * whole.std(axis=0).min(), err_msg=str(cut))

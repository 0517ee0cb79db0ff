"""Samples per second of training a head on stored features: 2048 numbers each, 10 classes.

    python benchmarks/head.py [--batch-sizes 32 128] [--samples 40000]

From rows on disk (pages in memory) through the reading thread and one compiled step per batch, AdamW, with and without
dropout on the features. The first epoch, which builds the graph, does not count.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from common import NUM_CLASSES, write_results

from transferkit.model.draws import Draws
from transferkit.recipe.phases import Head, PhaseSpec
from transferkit.store.rows import RowStore
from transferkit.train.batches import epoch_order, training_batches
from transferkit.train.optimizer import build_optimizer
from transferkit.train.placement import local_strategy
from transferkit.train.trainer import PhaseTrainer

WIDTH, EPOCHS = 2048, 4


def measure(stored: object, labels: np.ndarray, batch_size: int, dropout: float) -> float:
    """Median samples per second over epochs."""
    strategy = local_strategy()
    features = keras.Input((WIDTH,))
    x = keras.layers.Dropout(dropout, seed=0)(features) if dropout else features
    network = keras.Model(features, keras.layers.Dense(NUM_CLASSES, name="logits")(x))
    trained = {variable.path: variable for variable in network.trainable_variables}
    phase = PhaseSpec(name="head", train=Head(), epochs=1, learning_rate=1e-3)
    trainer = PhaseTrainer(
        network=network,
        augmentations=(),
        trained=trained,
        statistics={},
        stage_of=dict.fromkeys(trained, 0),
        optimizer=build_optimizer(phase, trained, shares={}, decayed=frozenset()),
        draws=Draws([network], seed=0, stream="head"),
        num_classes=NUM_CLASSES,
    )
    steps, rates = strategy.steps(trainer), []
    for epoch in range(EPOCHS + 1):
        rows, start_s = epoch_order(len(labels), seed=0, epoch=epoch), time.perf_counter()
        batches = training_batches(stored, rows, labels[rows], batch_size=batch_size, strategy=strategy)
        for step, (inputs, their_labels, num_rows) in enumerate(batches):
            steps.run(inputs, their_labels, num_rows=num_rows, step=step, rate=1e-3)
        steps.read_sums()
        rates.append(len(labels) / (time.perf_counter() - start_s))
    return float(np.median(rates[1:]))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--samples", type=int, default=40_000)
    given = parser.parse_args(arguments)
    draw = np.random.default_rng(0)
    labels = draw.integers(0, NUM_CLASSES, given.samples).astype(np.int32)
    digests = [row.to_bytes(32) for row in range(given.samples)]
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore(Path(folder), {"made for": "benchmark"}, shape=(WIDTH,), dtype="float32")
        with store.writer() as writer:
            writer.append(digests, draw.random((given.samples, WIDTH), np.float32))
        stored = store.read(digests)
        speeds = [
            {"batch size": size, "dropout": dropout, "samples per s": round(measure(stored, labels, size, dropout))}
            for size in given.batch_sizes
            for dropout in (0.0, 0.2)
        ]
    write_results("head", " ".join(["python benchmarks/head.py", *arguments]), {"speed": speeds})


if __name__ == "__main__":
    main(sys.argv[1:])
